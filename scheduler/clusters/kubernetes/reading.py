"""One launch, one node, one namespace, read from the API server itself: for what must not come from a copy."""

from collections.abc import Iterable
from datetime import datetime

from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.failures import ClusterForbade, ObjectMissing
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.observing import Seen, is_ours
from scheduler.clusters.kubernetes.pod_life import moment
from scheduler.clusters.kubernetes.resources import JOBS, LEASES, NAMESPACES, PODS, KubernetesObject, Resource

NODE_LEASES = "kube-node-lease"


async def read_launch(api: KubernetesApi, installation: Installation, name: str) -> Seen | None:
    """The Job and the pods of this launch, in whichever namespace; None where there is neither."""
    jobs = await _listed(api, JOBS, installation, name)
    pods = [pod for pod in await _listed(api, PODS, installation, name) if is_ours(pod)]
    return Seen(job=jobs[0] if jobs else None, pods=pods) if jobs or pods else None


async def last_heard(api: KubernetesApi, nodes: Iterable[str]) -> dict[str, datetime]:
    """When these nodes last renewed their leases. One that is gone, or that we may not ask about, is left out."""
    heard: dict[str, datetime] = {}
    for node in sorted(nodes):
        try:
            lease = await api.get(LEASES, node, namespace=NODE_LEASES)
        except (ObjectMissing, ClusterForbade):
            continue
        renewed_at = moment(lease["spec"].get("renewTime"))
        if renewed_at is not None:
            heard[node] = renewed_at
    return heard


async def namespace_ends(api: KubernetesApi, namespace: str) -> bool:
    """Whether the namespace is gone, or on its way."""
    try:
        found = await api.get(NAMESPACES, namespace)
    except ObjectMissing:
        return True
    return "deletionTimestamp" in found["metadata"]


async def _listed(
    api: KubernetesApi, resource: Resource, installation: Installation, name: str
) -> list[KubernetesObject]:
    selector = f"{installation.selector},{naming.LAUNCH}={name}"
    return [item async for page in api.list_pages(resource, label_selector=selector) for item in page.items]
