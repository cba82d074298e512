"""Fixtures that give tests a real Kubernetes; `tests/cluster/README.md` says how to use them.

`cluster` and `control_plane` are shared by all processes of a test run. `own_cluster` and `own_control_plane` belong
to one module, which may kill, freeze and starve them.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.handle import RealCluster
from tests.cluster.images import Images
from tests.cluster.joining import join
from tests.cluster.unavailable import ClusterUnavailable

# Read when pytest starts: tests do not see variables of our name.
_REQUIRED = os.environ.get("GUILDHALL_REQUIRE_CLUSTER") == "1"
_EXISTING = os.environ.get("GUILDHALL_TEST_KUBECONFIG")
_EXISTING_HOST = os.environ.get("GUILDHALL_TEST_HOST_FOR_PODS", "127.0.0.1")
_EXISTING_IMAGE = os.environ.get("GUILDHALL_TEST_PYTHON_IMAGE", "python:3.13-slim")
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid():x}")[:8]
_WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture(scope="session")
def cluster() -> Iterator[RealCluster]:
    """A real node `node-1` with eight GPUs, and what kwok pretends beside it."""
    if _EXISTING is not None:
        images = Images(python=_EXISTING_IMAGE)
        yield RealCluster(Path(_EXISTING), None, images=images, host_for_pods=_EXISTING_HOST)
        return
    yield from _standing(f"run-{_RUN}", real_node=True)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[RealCluster]:
    """No real node, only those that kwok pretends; needs no root."""
    yield from _standing(f"plane-{_RUN}", real_node=False)


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[RealCluster]:
    """A cluster with a real node, which this module may break."""
    yield from _standing(f"own-{_RUN}-{_WORKER}", real_node=True)


@pytest.fixture(scope="module")
def own_control_plane() -> Iterator[RealCluster]:
    """A control plane with kwok, which this module may break."""
    yield from _standing(f"ownplane-{_RUN}-{_WORKER}", real_node=False)


def _standing(name: str, *, real_node: bool) -> Iterator[RealCluster]:
    try:
        joined = join(name, real_node=real_node)
    except ClusterUnavailable as error:
        if _REQUIRED:
            pytest.fail(f"GUILDHALL_REQUIRE_CLUSTER=1, and yet: {error}", pytrace=False)
        pytest.skip(str(error))
    with joined:
        yield RealCluster(joined.kubeconfig, joined)
