import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.credentials import ClusterCredentials
from tests.cluster.joining import Joined, join
from tests.cluster.unavailable import ClusterUnavailable
from tests.scheduler.clusters.kubernetes.disturbed import Disturbed, disturbed
from tests.scheduler.clusters.kubernetes.faulty_proxy import FaultyProxy, faulty_proxy


@pytest.fixture(scope="session")
def own_control_plane() -> Iterator[Joined]:
    """A control plane that only this process uses, so that it may be killed."""
    try:
        joined = join(f"disturbed-{os.getpid()}", real_node=False)
    except ClusterUnavailable as error:
        if os.environ.get("GUILDHALL_REQUIRE_CLUSTER") == "1":
            raise
        pytest.skip(str(error))
    with joined:
        yield joined


@pytest.fixture
async def cluster(own_control_plane: Joined) -> AsyncIterator[Disturbed]:
    async with disturbed(own_control_plane) as cluster:
        yield cluster


@pytest.fixture
async def api(cluster: Disturbed) -> AsyncIterator[KubernetesApi]:
    """Straight to the API server, with all rights."""
    api = connect(cluster.kubeconfig)
    yield api
    await api.close()


@pytest.fixture
async def relayed_api(cluster: Disturbed) -> AsyncIterator[KubernetesApi]:
    """Over the relay that can be cut."""
    api = connect(cluster.relayed)
    yield api
    await api.close()


@pytest.fixture
async def proxy(cluster: Disturbed, tmp_path: Path) -> AsyncIterator[FaultyProxy]:
    async with faulty_proxy(cluster.kubeconfig, tmp_path) as proxy:
        yield proxy


@pytest.fixture
async def proxied_api(proxy: FaultyProxy) -> AsyncIterator[KubernetesApi]:
    """Over the proxy that can lie."""
    api = connect(proxy.kubeconfig)
    yield api
    await api.close()


def connect(kubeconfig: str) -> KubernetesApi:
    return KubernetesApi.connect(ClusterCredentials(kubeconfig), requests_per_second=1_000, clock=time.monotonic)
