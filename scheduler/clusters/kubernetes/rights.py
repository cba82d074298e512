"""What the service's account must be allowed to do on a cluster: the one list.

`docs/kubernetes/cluster-role.yaml` grants it, and a test holds the two together; the probe asks for it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.resources import SELF_SUBJECT_ACCESS_REVIEWS

CLUSTER_ROLE = "guildhall"


@dataclass(frozen=True)
class Right:
    """Verbs on one resource, in all namespaces, because each team's namespace is made when its first job starts."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    reason: str

    @property
    def name(self) -> str:
        """As kubectl says it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


RIGHTS = (
    Right("batch", "jobs", ("create", "get", "list", "watch", "patch", "delete"), "a launch is a Job"),
    Right("", "pods", ("get", "list", "watch", "patch", "delete"), "what is billed, and what machines are used for"),
    Right("", "pods/log", ("get",), "what the runner printed"),
    Right("", "secrets", ("create",), "the token of an attempt"),
    Right("", "services", ("create",), "how the nodes of one job find each other"),
    Right("networking.k8s.io", "networkpolicies", ("create", "patch"), "jobs reach our API and nothing else"),
    Right("", "namespaces", ("create", "get"), "one for each team, and which cluster this is"),
    Right("", "nodes", ("list",), "capacity"),
    Right("coordination.k8s.io", "leases", ("get",), "when a node was last alive"),
)


async def missing_rights(api: KubernetesApi, rights: Sequence[Right] = RIGHTS) -> list[str]:
    """What the account may not do, as `create jobs.batch`: the cluster is asked about each verb by itself."""
    wanted = [(right, verb) for right in rights for verb in right.verbs]
    answers = await asyncio.gather(*(_may(api, right, verb) for right, verb in wanted))
    return [f"{verb} {right.name}" for (right, verb), may in zip(wanted, answers, strict=True) if not may]


async def _may(api: KubernetesApi, right: Right, verb: str) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes = {"group": right.group, "resource": resource, "subresource": subresource, "verb": verb}
    review = await api.create(SELF_SUBJECT_ACCESS_REVIEWS, {"spec": {"resourceAttributes": attributes}})
    return bool(review.get("status", {}).get("allowed"))
