"""What registration asks of a cluster before anything is written, whatever kind of cluster it is."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from guildhall.errors import Invalid


class JobsUrlUnreachable(Invalid):
    """Jobs would be told an address of our API that leads a pod to itself."""

    code = "JOBS_URL_UNREACHABLE"


class ClusterUnfit(Invalid):
    """Jobs could not run on the cluster as it is; `code` says which of many reasons, the message what to mend."""

    code = "CLUSTER_UNFIT"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message, field="kubeconfig")
        self.code = code  # type: ignore[misc]  # one class for all that a probe finds, each with its own code


@dataclass(frozen=True, kw_only=True)
class ProbedCluster:
    """What a cluster said of itself: which one it is, and its version."""

    uid: str
    version: str


class ClusterProber(Protocol):
    """Looks at clusters; may use the network, and so is asked before a transaction."""

    async def probe(
        self, kubeconfig: str | None, *, requests_per_second: int, installation_id: str, teams: Sequence[str]
    ) -> ProbedCluster:
        """Look at the cluster; without a kubeconfig at the one that we run in. Raises Invalid with one sentence."""


def require_reachable_by_pods(jobs_url: str) -> None:
    """Raises JobsUrlUnreachable for a loopback address: pods would try for minutes, and only within themselves."""
    host = (urlsplit(jobs_url).hostname or "").rstrip(".")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost" or host.endswith(".localhost")
    if loopback:
        raise JobsUrlUnreachable(
            f"Jobs would look for Guildhall at {jobs_url}, which leads a pod to itself: set GUILDHALL_JOBS_URL, for "
            "the API and the workers, to an address under which pods of the cluster reach the API."
        )
