"""What the platform kept of a launch's containers: the runner's own words. The script's came through our API."""

import logging
from collections.abc import Sequence
from contextlib import aclosing

from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.failures import ClusterFailure
from scheduler.clusters.kubernetes.observing import Manifest
from scheduler.clusters.kubernetes.pods import BRING_RUNNER, MAIN

NO_LOG = b"unable to retrieve container logs for "
"""How a kubelet says that it has none, in the place of a line and without a line's time."""
LINES_MAX = 1_000
"""Of each container: the last ones, where how it ended stands."""
PODS_MAX = 16

logger = logging.getLogger(__name__)


async def read_platform_log(api: KubernetesApi, pods: Sequence[Manifest]) -> list[str]:
    """The lines of each pod in the order of their nodes. A node that does not answer any more has none."""
    lines: list[str] = []
    for pod in sorted(pods, key=naming.node_index_of)[:PODS_MAX]:
        for container in _that_ran(pod):
            try:
                lines += await _container_lines(api, pod, container)
            except ClusterFailure as failure:
                logger.info("No log of %s in %s: %s", container, pod["metadata"]["name"], failure.message)
    return lines


async def _container_lines(api: KubernetesApi, pod: Manifest, container: str) -> list[str]:
    name, namespace = naming.key_of(pod)
    found = api.pod_log(name, namespace=namespace, container=container, tail_lines=LINES_MAX)
    async with aclosing(found):
        return [_without_time(line) async for line in found if not line.startswith(NO_LOG)]


def _that_ran(pod: Manifest) -> list[str]:
    """The main container if it started, else the one that should have brought the runner."""
    statuses = {each["name"]: each.get("state", {}) for each in pod["status"].get("containerStatuses") or ()}
    started = {"running", "terminated"} & set(statuses.get(MAIN, {}))
    return [MAIN] if started else [BRING_RUNNER]


def _without_time(line: bytes) -> str:
    return line.decode("utf-8", errors="replace").partition(" ")[2]
