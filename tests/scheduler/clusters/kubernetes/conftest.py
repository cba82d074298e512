"""Clients of an API server: the one that all tests share, unless a module has a fixture `plane` of its own."""

import os
import time
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from scheduler.clusters.kubernetes import reflector
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.credentials import ClusterCredentials
from scheduler.clusters.kubernetes.naming import Installation
from tests.cluster.handle import RealCluster
from tests.cluster.relay import Relay
from tests.scheduler.clusters.kubernetes.accounts import new_namespace
from tests.scheduler.clusters.kubernetes.faulty_proxy import FaultyProxy, faulty_proxy

_numbers = count(1)
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture(scope="session")
def plane(control_plane: RealCluster) -> RealCluster:
    """It must not be broken."""
    return control_plane


@pytest.fixture
def installation() -> Installation:
    """Of this test alone, so that its namespaces are."""
    return Installation(f"{_WORKER}{next(_numbers):05x}")


@pytest.fixture
async def api(plane: RealCluster) -> AsyncIterator[KubernetesApi]:
    """Straight to the API server, with all rights."""
    api = connect(plane.kubeconfig_text)
    yield api
    await api.close()


@pytest.fixture
async def relay(plane: RealCluster) -> AsyncIterator[Relay]:
    async with plane.relay() as relay:
        yield relay


@pytest.fixture
async def relayed_api(plane: RealCluster, relay: Relay) -> AsyncIterator[KubernetesApi]:
    """Over the relay that can be cut."""
    api = connect(plane.kubeconfig_through(relay))
    yield api
    await api.close()


@pytest.fixture
async def proxy(plane: RealCluster, tmp_path: Path) -> AsyncIterator[FaultyProxy]:
    async with faulty_proxy(plane.kubeconfig_text, tmp_path) as proxy:
        yield proxy


@pytest.fixture
async def proxied_api(proxy: FaultyProxy) -> AsyncIterator[KubernetesApi]:
    """Over the proxy that can lie."""
    api = connect(proxy.kubeconfig)
    yield api
    await api.close()


@pytest.fixture
async def namespace(api: KubernetesApi) -> str:
    """Of the test alone."""
    return await new_namespace(api, f"test-{next(_numbers)}")


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reflector that has failed tries again soon."""
    monkeypatch.setattr(reflector, "BACKOFF_SECONDS_MIN", 0.02)
    monkeypatch.setattr(reflector, "BACKOFF_SECONDS_MAX", 0.2)


def connect(kubeconfig: str) -> KubernetesApi:
    return KubernetesApi.connect(ClusterCredentials(kubeconfig), requests_per_second=1_000, clock=time.monotonic)
