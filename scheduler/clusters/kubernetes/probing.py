"""Looking at a cluster before it is registered: whether jobs could run there, or in one sentence why not."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.credentials import ClusterCredentials
from scheduler.clusters.kubernetes.failures import AnswerUnintelligible, ClusterFailure, ObjectMissing
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.resources import NAMESPACES, SELF_SUBJECT_REVIEWS
from scheduler.clusters.kubernetes.rights import CLUSTER_ROLE, missing_rights
from scheduler.clusters.kubernetes.transport import Timeouts
from scheduler.clusters.probing import ClusterUnfit, ProbedCluster

CLOCK_OFF_MAX = timedelta(minutes=1)
"""By how much the clocks may differ: containers' starts and ends are billed by the cluster's, prices go by ours."""
TEAMS_LOOKED_AT_MAX = 200
TIMEOUTS = Timeouts(connect=5.0, answer=10.0)
IDENTITY_NAMESPACE = "kube-system"
"""Every cluster has one; its uid never changes and tells clusters apart."""


class KubernetesProber:
    """Looks at clusters for one service. `now` is the moment against which a cluster's clock is held."""

    def __init__(self, *, now: Callable[[], datetime], seconds: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._seconds = seconds

    async def probe(
        self, kubeconfig: str | None, *, requests_per_second: int, installation_id: str, teams: Sequence[str]
    ) -> ProbedCluster:
        """What the cluster says of itself. Raises ClusterUnfit, or CredentialsRefused for a kubeconfig that is none."""
        api = KubernetesApi.connect(
            ClusterCredentials(kubeconfig),
            requests_per_second=requests_per_second,
            clock=self._seconds,
            timeouts=TIMEOUTS,
        )
        try:
            return await self._look(api, Installation(installation_id), teams)
        except ClusterFailure as failure:
            raise ClusterUnfit(failure.code, failure.message) from failure
        except (AttributeError, KeyError, TypeError) as error:
            # Its JSON is not of the shape that each of Kubernetes' answers has.
            sentence = f"{api.server} does not answer as an API server of Kubernetes does."
            raise ClusterUnfit(AnswerUnintelligible.code, sentence) from error
        finally:
            await api.close()

    async def _look(self, api: KubernetesApi, installation: Installation, teams: Sequence[str]) -> ProbedCluster:
        version = await api.version()
        self._compare_clocks(api, version.answered_at)
        # Anybody may ask for the version: who we are to the cluster is another question.
        await api.create(SELF_SUBJECT_REVIEWS, {})
        missing = await missing_rights(api)
        if missing:
            raise ClusterUnfit(
                "RIGHTS_MISSING",
                f"The account of these credentials lacks rights on {api.server}: {', '.join(missing)}. Bind the "
                f"ClusterRole {CLUSTER_ROLE} of docs/kubernetes/cluster-role.yaml to it.",
            )
        for team in teams[:TEAMS_LOOKED_AT_MAX]:
            await _look_at_namespace(api, installation, team)
        identity = await api.get(NAMESPACES, IDENTITY_NAMESPACE)
        return ProbedCluster(uid=identity["metadata"]["uid"], version=version.git_version)

    def _compare_clocks(self, api: KubernetesApi, theirs: datetime | None) -> None:
        if theirs is None:
            return
        ours = self._now()
        if abs(ours - theirs) > CLOCK_OFF_MAX:
            ahead = "ahead of" if theirs > ours else "behind"
            raise ClusterUnfit(
                "CLOCK_OFF",
                f"The clock of {api.server} is {_length(abs(ours - theirs))} {ahead} ours ({theirs:%Y-%m-%d %H:%M} UTC "
                f"there, {ours:%Y-%m-%d %H:%M} UTC here): set the wrong one right, because what runs is billed by it.",
            )


async def _look_at_namespace(api: KubernetesApi, installation: Installation, team: str) -> None:
    name = installation.namespace(team)
    try:
        found = await api.get(NAMESPACES, name)
    except ObjectMissing:
        return
    labels = found["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in {**installation.labels, naming.TEAM: team}.items()):
        raise ClusterUnfit(
            "NAMESPACE_TAKEN",
            f"The namespace {name} exists on {api.server} and is not ours; team {team}'s jobs would run in it: "
            "rename or delete it.",
        )


def _length(off: timedelta) -> str:
    minutes = round(off.total_seconds() / 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{round(minutes / 60)} hours"
