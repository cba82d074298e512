"""The kinds of object that we deal with, and where the API server keeps them."""

import re
from dataclasses import dataclass
from typing import Any

from scheduler.clusters.kubernetes.failures import NameInvalid

KubernetesObject = dict[str, Any]
"""As the server reads and writes it; nothing is left out."""

NAME_CHARACTERS_MAX = 253
LABEL_CHARACTERS_MAX = 63

# RFC 1123, as the API server wants it; RBAC alone also allows colons, and we have no business there.
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Resource:
    """A kind of object; `group` is empty for the core."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As an object's own ``apiVersion`` says it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, *, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The path on the server. A name that is none would lead elsewhere, so it never gets there: `NameInvalid`."""
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace is not None:
            assert self.namespaced, f"{self.plural} are not in namespaces"
            path += f"/namespaces/{_valid_namespace(namespace)}"
        path += f"/{self.plural}"
        if name is not None:
            assert (namespace is not None) == self.namespaced, f"{self.plural}/{name} needs a namespace, or has none"
            path += f"/{_valid_name(name)}"
        return f"{path}/{subresource}" if subresource else path


def _valid_name(name: str) -> str:
    if len(name) > NAME_CHARACTERS_MAX or not _NAME.fullmatch(name) or ".." in name:
        raise NameInvalid(f"{name!r} is not a name that an object of Kubernetes can have.")
    return name


def _valid_namespace(namespace: str) -> str:
    if len(namespace) > LABEL_CHARACTERS_MAX or not _NAMESPACE.fullmatch(namespace):
        raise NameInvalid(f"{namespace!r} is not a name that a namespace of Kubernetes can have.")
    return namespace


JOBS = Resource("batch", "v1", "jobs", "Job")
PODS = Resource("", "v1", "pods", "Pod")
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICES = Resource("", "v1", "services", "Service")
NODES = Resource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
SELF_SUBJECT_ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False
)
SELF_SUBJECT_REVIEWS = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False
)
