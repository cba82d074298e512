"""What can go wrong between us and an API server: one tree, each with a stable code and one sentence for people.

    ClusterFailure
    ├── ClusterUnreachable          CLUSTER_UNREACHABLE    no answer, or none that a Kubernetes API server gives
    │   ├── ClusterUntrusted        CLUSTER_UNTRUSTED      its certificate is not one that the credentials vouch for
    │   ├── ClusterSilent           CLUSTER_SILENT         nothing came in time; it may be frozen, or its network gone
    │   └── AnswerUnintelligible    CLUSTER_UNINTELLIGIBLE something answers, but not as Kubernetes does
    ├── ClusterRefusedCredentials   CREDENTIALS_REFUSED    401: expired, revoked, or of another cluster
    ├── ClusterForbade              CLUSTER_FORBADE        403: the account lacks a right; names verb and resource
    ├── AdmissionRefused            ADMISSION_REFUSED      the right is there, but a quota, policy or webhook says no
    ├── ClusterBusy                 CLUSTER_BUSY           429 again and again; says after how long to come back
    ├── VersionExpired              VERSION_EXPIRED        410: the version or page asked for is compacted away
    ├── ObjectMissing               OBJECT_MISSING         404
    ├── ObjectExists                OBJECT_EXISTS          409 AlreadyExists
    ├── ObjectConflict              OBJECT_CONFLICT        409: stale version, another field manager, wrong UID
    │   └── NamespaceTerminating    NAMESPACE_TERMINATING  nothing new may be made in it
    └── ObjectInvalid               OBJECT_INVALID         400 or 422: the object, or a field of it, is not understood
        └── NameInvalid             NAME_INVALID           a name that none can have; it was not sent

`ClusterUnreachable` says nothing about whether a request was carried out; all others say that it was not.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from guildhall.errors import shortened
from scheduler.clusters.executor import ClusterAway, ClusterRefuses

# “jobs.batch is forbidden: User "x" cannot create resource "jobs" in API group "batch" in the namespace "y"”
LACKING_RIGHT = re.compile(r"cannot (?P<verb>[a-z]+) resource \"(?P<resource>[^\"]+)\"")


class ClusterFailure(Exception):
    """A call that did not do what was asked; `message` is one sentence."""

    code: ClassVar[str] = "CLUSTER_FAILURE"

    def __init__(self, message: str) -> None:
        self.message = shortened(" ".join(message.split()))
        super().__init__(self.message)


class ClusterUnreachable(ClusterFailure, ClusterAway):
    """No answer, or none that a Kubernetes API server gives; whether the request was carried out is not known."""

    code = "CLUSTER_UNREACHABLE"


class ClusterUntrusted(ClusterUnreachable):
    """The server's certificate does not hold before the credentials' authority; nothing was sent."""

    code = "CLUSTER_UNTRUSTED"


class ClusterSilent(ClusterUnreachable):
    """Nothing came in time; the server may be frozen, or its network gone."""

    code = "CLUSTER_SILENT"


class AnswerUnintelligible(ClusterUnreachable):
    """Something answers there, but not as an API server of Kubernetes does."""

    code = "CLUSTER_UNINTELLIGIBLE"


class ClusterRefusedCredentials(ClusterFailure, ClusterRefuses):
    """The server does not know who is calling."""

    code = "CREDENTIALS_REFUSED"


class ClusterForbade(ClusterFailure, ClusterRefuses):
    """The account may not do this: `verb` on `resource`, in `namespace` or in all of the cluster (None)."""

    code = "CLUSTER_FORBADE"

    def __init__(self, message: str, *, verb: str, resource: str, namespace: str | None) -> None:
        super().__init__(message)
        self.verb = verb
        self.resource = resource
        self.namespace = namespace


class AdmissionRefused(ClusterFailure):
    """The account has the right, but something in the cluster refuses this object."""

    code = "ADMISSION_REFUSED"


class ClusterBusy(ClusterFailure):
    """The server sheds load and did nothing; `retry_after` is in seconds."""

    code = "CLUSTER_BUSY"

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class VersionExpired(ClusterFailure):
    """What was asked for is older than what the server still remembers: list again."""

    code = "VERSION_EXPIRED"


class ObjectMissing(ClusterFailure):
    """No such object, or no such kind of object."""

    code = "OBJECT_MISSING"


class ObjectExists(ClusterFailure):
    """The name is taken."""

    code = "OBJECT_EXISTS"


class ObjectConflict(ClusterFailure):
    """The object is not, or no longer, what the request takes it for."""

    code = "OBJECT_CONFLICT"


class NamespaceTerminating(ObjectConflict):
    """The namespace is being deleted."""

    code = "NAMESPACE_TERMINATING"


class ObjectInvalid(ClusterFailure):
    """The server does not accept the object as it is written; the sentence is the server's."""

    code = "OBJECT_INVALID"


class NameInvalid(ObjectInvalid):
    """A name that no object or namespace of Kubernetes can have, and that could lead to another place in a URL."""

    code = "NAME_INVALID"


def failure_of_answer(
    http_status: int, answer: Mapping[str, Any], *, server: str, retry_after: float | None
) -> ClusterFailure:
    """The failure that an answer outside 200 to 299 stands for; `answer` is the server's ``Status``, or empty."""
    said = str(answer.get("message") or "")
    reason = answer.get("reason")
    match http_status:
        case 401:
            return ClusterRefusedCredentials(
                f"{server} does not accept these credentials (401): "
                "they have expired, were revoked, or belong to another cluster."
            )
        case 403:
            return _failure_of_refusal(said, answer, server=server)
        case 404:
            return ObjectMissing(said or f"{server} knows nothing under this address (404).")
        case 409:
            kind = ObjectExists if reason == "AlreadyExists" else ObjectConflict
            return kind(said or f"{server} says that this does not fit what is there (409).")
        case 410:
            return VersionExpired(said or "The version asked for is compacted away (410).")
        case 400 | 413 | 415 | 422:
            return ObjectInvalid(said or f"{server} does not understand the request ({http_status}).")
        case 429:
            waiting = 1.0 if retry_after is None else retry_after
            return ClusterBusy(f"{server} is busy; again in {waiting:g} s.", retry_after=waiting)
    return ClusterUnreachable(f"{server} answered {http_status}{': ' + said if said else '.'}")


def _failure_of_refusal(said: str, answer: Mapping[str, Any], *, server: str) -> ClusterFailure:
    """A 403 means one of three things, told apart by its causes and by the authoriser's own wording."""
    details = answer.get("details")
    details = details if isinstance(details, dict) else {}
    causes = details.get("causes")
    causes = [cause for cause in causes if isinstance(cause, dict)] if isinstance(causes, list) else []
    if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
        return NamespaceTerminating(said)
    right = LACKING_RIGHT.search(said)
    if right is None:
        return AdmissionRefused(said or f"{server} forbids this (403).")
    namespace = re.search(r"in the namespace \"([^\"]*)\"", said)
    where = f"in the namespace {namespace[1]}" if namespace else "in all of the cluster"
    group = details.get("group")
    resource = f"{right['resource']}.{group}" if group else right["resource"]
    return ClusterForbade(
        f"The cluster's account may not {right['verb']} {resource} {where}.",
        verb=right["verb"],
        resource=resource,
        namespace=namespace[1] if namespace else None,
    )
