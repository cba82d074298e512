"""Benches for executors: what one suite asks of all of them runs on each."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scheduler.clusters.local_isolation import isolation_available
from tests.cluster.handle import RealCluster
from tests.scheduler.clusters.benches import (
    Bench,
    KubernetesBench,
    LocalBench,
    cleared,
    opened_bench,
    opened_local_bench,
)


@pytest.fixture(scope="module")
async def kubernetes(cluster: RealCluster) -> AsyncIterator[KubernetesBench]:
    """Kubernetes, for all tests of a module."""
    async with opened_bench(cluster) as bench:
        yield bench


@pytest.fixture
async def isolated_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalBench]:
    """This machine, jobs apart from each other and from us."""
    if not isolation_available():
        pytest.skip("needs root and the right to make namespaces")
    async with opened_local_bench(tmp_path, monkeypatch, isolated=True) as bench:
        yield bench


@pytest.fixture
async def caller_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalBench]:
    """This machine, jobs as whoever runs the tests."""
    async with opened_local_bench(tmp_path, monkeypatch, isolated=False) as bench:
        yield bench


@pytest.fixture
async def kubernetes_bench(kubernetes: KubernetesBench) -> AsyncIterator[KubernetesBench]:
    """Kubernetes, with a launch of the test's own."""
    kubernetes.launch = kubernetes.new_launch()
    yield kubernetes
    await cleared(kubernetes.executor, kubernetes.launch.name)


@pytest.fixture(params=["isolated_bench", "caller_bench", "kubernetes_bench"])
def bench(request: pytest.FixtureRequest) -> Bench:
    """Each cluster in turn."""
    found: Bench = request.getfixturevalue(request.param)
    return found
