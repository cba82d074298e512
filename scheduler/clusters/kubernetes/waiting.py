"""How long a launch may wait to start. What will not come is given up, and costs nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scheduler.clusters.executor import Reason
from scheduler.clusters.kubernetes.pod_life import FETCHING_RUNNER, condition, moment, read_pod

Manifest = Mapping[str, Any]

_HOPELESS = frozenset({"IMAGE_NAME_INVALID"})
_NOT_IN_VAIN = frozenset({"UNSCHEDULABLE", FETCHING_RUNNER})
"""Room may come; who fetches the runner gives up by itself."""


@dataclass(frozen=True, kw_only=True)
class StartLimits:
    """In seconds: for what a node has tried in vain, from when it had the pod; for all else, from the launch.

    In vain are images that cannot be pulled and containers that cannot be made; all else includes room in the cluster.
    """

    refused_seconds_max: int = 300
    start_seconds_max: int = 1_800


def why_given_up(job: Manifest, pods: Sequence[Manifest], *, at: datetime, limits: StartLimits) -> Reason | None:
    """Why the launch is not waited for any longer; None while it is."""
    launched_at = moment(job["metadata"]["creationTimestamp"])
    assert launched_at is not None, "every object has a moment of creation"
    late = at - launched_at >= timedelta(seconds=limits.start_seconds_max)
    for pod in pods:
        life = read_pod(pod, at=at, heard={})
        if life.over or life.run is not None:
            continue
        waits = life.waits_for
        if waits is not None and (waits.code in _HOPELESS or _in_vain(pod, waits, at, limits)):
            return waits
        if late:
            return waits or _not_started(limits)
    return _not_started(limits) if late and not pods else None


def _in_vain(pod: Manifest, waits: Reason, at: datetime, limits: StartLimits) -> bool:
    if waits.code in _NOT_IN_VAIN:
        return False
    since = moment(condition(pod, "PodScheduled").get("lastTransitionTime"))
    return since is not None and at - since >= timedelta(seconds=limits.refused_seconds_max)


def _not_started(limits: StartLimits) -> Reason:
    return Reason("NOT_STARTED", f"the cluster did not start it within {limits.start_seconds_max} seconds")
