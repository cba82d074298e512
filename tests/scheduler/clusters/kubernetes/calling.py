"""How tests call an API server, as whom, and what they expect of a refusal."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.credentials import ClusterCredentials, parse_kubeconfig
from scheduler.clusters.kubernetes.failures import ClusterFailure
from scheduler.clusters.kubernetes.resources import KubernetesObject
from tests.cluster.handle import RealCluster
from tests.scheduler.clusters.kubernetes.faulty_proxy import kubeconfig


@asynccontextmanager
async def connected(text: str, **how: Any) -> AsyncIterator[KubernetesApi]:
    how = {"requests_per_second": 1_000, "clock": time.monotonic, **how}
    api = KubernetesApi.connect(ClusterCredentials(text), **how)
    try:
        yield api
    finally:
        await api.close()


async def refusal_of(call: Awaitable[object], kind: type[ClusterFailure], sentence: str) -> ClusterFailure:
    with pytest.raises(kind) as refusal:
        await call
    assert type(refusal.value) is kind
    assert sentence in refusal.value.message
    assert "\n" not in refusal.value.message
    return refusal.value


def suspended_job(name: str, **spec: object) -> KubernetesObject:
    container = {"name": "main", "image": "none"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"metadata": {"name": name}, "spec": {"suspend": True, "template": template, **spec}}


def certificates_of(plane: RealCluster) -> Path:
    """Where the cluster's authority lies, with its keys."""
    assert plane.joined is not None
    return plane.joined.state / "certificates"


def server_of(plane: RealCluster) -> str:
    return parse_kubeconfig(plane.kubeconfig_text).server


def as_user(plane: RealCluster, user: dict[str, str]) -> str:
    return kubeconfig(server_of(plane), certificates_of(plane) / "ca.crt", user)


async def until_changed(look: Callable[[], Awaitable[object]], before: object) -> None:
    for _ in range(600):
        if await look() != before:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"it is {before} for too long")
