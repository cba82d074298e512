"""From the Job and the pods of one launch to what the scheduler is told of it. Pure: what is seen, and when, goes in.

What is billed is the life of each pod's main container, as its kubelet reports it. Pods keep a finalizer of ours, so
that a container's end is still there to read after somebody has deleted the pod, the Job or the namespace.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from scheduler.clusters.executor import Observation, Phase, Reason
from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.pod_life import POD_DELETED, PodLife, read_pod
from scheduler.clusters.kubernetes.waiting import StartLimits, why_given_up

Manifest = Mapping[str, Any]

_FINISHED = frozenset({"Complete", "Failed"})


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the cluster knows of one launch. ``heard`` has, for nodes that may be lost, when they were last heard of."""

    job: Manifest | None
    pods: Sequence[Manifest]
    namespace_ends: bool = False
    heard: Mapping[str, datetime] = field(default_factory=dict)


def observe_launch(seen: Seen, *, at: datetime) -> Observation:
    """What the platform says of it at this moment. There is a Job, or at least one pod."""
    lives = sorted((read_pod(pod, at=at, heard=seen.heard) for pod in seen.pods), key=lambda life: life.created_at)
    about = _annotations(seen)
    observation = Observation(
        name=_name(seen),
        spec_hash=about.get(naming.SPEC_HASH, ""),
        phase=Phase.STARTING,
        runs=tuple(life.run for life in lives if life.run is not None),
    )
    if not _is_over(seen, lives, int(about.get(naming.NODES, 1))):
        phase = Phase.RUNNING if observation.runs else Phase.STARTING
        waits = next((life.waits_for for life in lives if life.waits_for is not None), None)
        return replace(observation, phase=phase, reason=waits if phase is Phase.STARTING else None)
    failed = sorted((life for life in lives if life.exit_code != 0), key=lambda life: life.ended_at or at)
    stopped = stop_of(seen.job)
    return replace(
        observation,
        phase=Phase.LOST if _is_lost(lives, stopped) else Phase.ENDED,
        ended_at=max((life.ended_at for life in lives if life.ended_at is not None), default=None),
        exit_code=failed[0].exit_code if failed else (0 if lives else None),
        reason=_why_failed(seen, failed, stopped) if failed or not lives else None,
    )


def overdue(seen: Seen, *, at: datetime, limits: StartLimits) -> Reason | None:
    """Why this launch is to be given up although nothing has ended it: it waits for what will not come."""
    if seen.job is None or "deletionTimestamp" in seen.job["metadata"] or stop_of(seen.job) or is_finished(seen.job):
        return None
    return why_given_up(seen.job, seen.pods, at=at, limits=limits)


def silent_nodes(pods: Sequence[Manifest], *, at: datetime) -> set[str]:
    """The nodes of pods whose end is overdue: to know until when they lived, their last sign of life is needed."""
    return {
        pod["spec"]["nodeName"] for pod in pods if pod["spec"].get("nodeName") and read_pod(pod, at=at, heard={}).lost
    }


def needs_proof(found: Observation, seen: Seen) -> bool:
    """Whether it looks like a loss or somebody else's doing, as it also does where one copy lags behind another."""
    if found.phase in {Phase.STARTING, Phase.RUNNING}:
        return False
    by_others = found.reason is not None and found.reason.code == POD_DELETED
    return found.phase is Phase.LOST or by_others or not seen.pods


def is_ours(pod: Manifest) -> bool:
    """Whether the pod is still to be settled; without the finalizer we have let go of it."""
    return naming.SETTLEMENT in pod["metadata"].get("finalizers", ())


def is_finished(job: Manifest) -> bool:
    """Whether the cluster has nothing more to do for it."""
    conditions = job.get("status", {}).get("conditions") or ()
    return any(each["type"] in _FINISHED and each["status"] == "True" for each in conditions)


def stop_of(job: Manifest | None) -> Reason | None:
    """Why we told it to end, if we did."""
    about = {} if job is None else job["metadata"].get("annotations") or {}
    code = about.get(naming.STOP_CODE)
    return None if code is None else Reason(code, about.get(naming.STOP_MESSAGE, code))


def _is_over(seen: Seen, lives: Sequence[PodLife], nodes: int) -> bool:
    """Whether nothing of the launch runs any more and nothing more will start."""
    if not all(life.over for life in lives):
        return False
    return len(lives) >= nodes or _makes_no_more_pods(seen.job)


def _makes_no_more_pods(job: Manifest | None) -> bool:
    return job is None or "deletionTimestamp" in job["metadata"] or bool(stop_of(job)) or is_finished(job)


def _is_lost(lives: Sequence[PodLife], stopped: Reason | None) -> bool:
    """Its end was not seen: a node that fell silent, or pods that somebody took away, finalizer and all."""
    return any(life.lost for life in lives) or (not lives and stopped is None)


def _why_failed(seen: Seen, failed: Sequence[PodLife], stopped: Reason | None) -> Reason | None:
    """Of several nodes the first to fail says why: the others were ended because of it."""
    if stopped is not None:
        return stopped
    if not failed:
        return Reason("LOST", "its pods are gone, and nobody saw how they ended")
    reason = failed[0].reason
    if reason is None or reason.code != POD_DELETED:
        return reason
    if seen.namespace_ends:
        return Reason("NAMESPACE_DELETED", "somebody deleted the namespace that it ran in")
    if seen.job is None or "deletionTimestamp" in seen.job["metadata"]:
        return Reason(POD_DELETED, "its Job object was deleted by somebody else")
    return reason


def _name(seen: Seen) -> str:
    return str(_metadata(seen)["labels"][naming.LAUNCH])


def _annotations(seen: Seen) -> Mapping[str, str]:
    found: Mapping[str, str] = _metadata(seen).get("annotations") or {}
    return found


def _metadata(seen: Seen) -> Manifest:
    found: Manifest = (seen.job or seen.pods[0])["metadata"]
    return found
