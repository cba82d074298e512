"""Why nothing may start at a cluster for now: what its executor raised, as a state with a code and a sentence."""

from dataclasses import dataclass

from scheduler.clusters.executor import ClusterAway, ClusterRefuses
from scheduler.clusters.tables import Cluster, ClusterState

SENTENCE_CHARACTERS_MAX = 1_000


@dataclass(frozen=True)
class Trouble:
    """A cluster that is not READY, and why."""

    state: ClusterState
    code: str
    message: str

    def columns(self) -> dict[str, object]:
        """As the cluster's row has it."""
        return {"state": self.state.value, "state_code": self.code, "state_message": self.message}


def trouble_of(cluster: Cluster, error: ClusterAway | ClusterRefuses) -> Trouble:
    """What the cluster's executor raised; its own code, where it has one."""
    told = str(error).partition("\n")[0].rstrip(".")
    if isinstance(error, ClusterRefuses):
        state, code, message = ClusterState.REFUSING, "CLUSTER_REFUSES", f"it refuses us: {told}"
    else:
        since = "" if cluster.seen_at is None else f" since {cluster.seen_at:%Y-%m-%d %H:%M} UTC"
        state, code, message = ClusterState.UNREACHABLE, "CLUSTER_UNREACHABLE", f"it has not answered{since}: {told}"
    return Trouble(state, getattr(error, "code", code), message[:SENTENCE_CHARACTERS_MAX])
