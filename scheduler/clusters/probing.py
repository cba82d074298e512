"""What registration asks of a cluster before anything is written, whatever kind of cluster it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from guildhall.errors import Invalid


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
