"""One pod's life: whether its main container has started, runs, has ended or was lost, and why.

Times are the kubelet's, to the second. A container that could not be started has a start in 1970: it has none.
"""

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from guildhall.errors import shortened
from scheduler.clusters.executor import ContainerRun, Reason
from scheduler.clusters.kubernetes.pods import BRING_RUNNER, MAIN
from scheduler.jobs.outcome import PREEMPTED

Manifest = Mapping[str, Any]

UNCONFIRMED_AFTER = timedelta(seconds=30)
"""How long after its grace a deleted pod may lack its kubelet's word before its node counts as lost."""
FETCHING_TOLD_AFTER = timedelta(seconds=30)
"""How long the runner may be on its way before the job says so; it is there within seconds where all is well."""
MOMENT_MIN = datetime(2000, 1, 1, tzinfo=UTC)

POD_DELETED = "DELETED_BY_HAND"
_ENDED_BY_SIGNAL = frozenset({128 + signal.SIGTERM, 128 + signal.SIGKILL})
NODE_LOST = "NODE_LOST"
FETCHING_RUNNER = "FETCHING_RUNNER"
_DISRUPTIONS = {
    "PreemptionByScheduler": (PREEMPTED, "the cluster gave its place to a pod of higher priority"),
    "EvictionByEvictionAPI": ("EVICTED", "its pod was evicted, as when a node is drained"),
    "TerminationByKubelet": ("EVICTED", "its node ended its pod"),
    "DeletionByTaintManager": (NODE_LOST, "its node did not answer any more, or was closed to it"),
    "DeletionByPodGC": (NODE_LOST, "its node is gone"),
}
"""By the reason of the condition DisruptionTarget, which Kubernetes sets before it ends a pod."""
_NOT_STARTABLE = frozenset({"StartError", "ContainerCannotRun"})
_NO_PYTHON = re.compile(r"exec: |exec format error")
_NOT_FOUND = re.compile(r"not found|does not exist|manifest unknown|no such image", re.IGNORECASE)
_IMAGE_WAITS = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "RegistryUnavailable"})
_CONFIG_WAITS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})


@dataclass(frozen=True, kw_only=True)
class PodLife:
    """``exit_code`` and ``reason`` are known of a pod that is over; ``waits_for`` of one that has not started."""

    created_at: datetime
    run: ContainerRun | None = None
    over: bool = False
    lost: bool = False
    ended_at: datetime | None = None
    exit_code: int | None = None
    reason: Reason | None = None
    waits_for: Reason | None = None


def read_pod(pod: Manifest, *, at: datetime, heard: Mapping[str, datetime]) -> PodLife:
    """The pod's life as seen at this moment; ``heard`` says when nodes that may be lost were last heard of."""
    uid, created_at = pod["metadata"]["uid"], moment(pod["metadata"]["creationTimestamp"])
    assert created_at is not None, "every object has a moment of creation"
    state = _main_status(pod).get("state", {})
    if "terminated" in state:
        ended = state["terminated"]
        started_at, ended_at = moment(ended.get("startedAt")), moment(ended.get("finishedAt"))
        return PodLife(
            created_at=created_at,
            run=None if started_at is None else ContainerRun(uid, started_at, ended_at),
            over=True,
            ended_at=ended_at,
            exit_code=ended["exitCode"],
            reason=_why_ended(pod, ended),
        )
    started_at = moment(state.get("running", {}).get("startedAt"))
    unconfirmed = _unconfirmed(pod, at)
    if unconfirmed or pod["status"].get("phase") in {"Succeeded", "Failed"}:
        ended_at = None if started_at is None else _last_alive(pod, started_at, heard)
        return PodLife(
            created_at=created_at,
            run=None if started_at is None else ContainerRun(uid, started_at, ended_at),
            over=True,
            lost=started_at is not None or unconfirmed,
            ended_at=ended_at,
            reason=_why_gone(pod),
        )
    if "deletionTimestamp" in pod["metadata"] and "nodeName" not in pod["spec"]:
        return PodLife(created_at=created_at, over=True, reason=_why_gone(pod))
    run = None if started_at is None else ContainerRun(uid, started_at)
    return PodLife(created_at=created_at, run=run, waits_for=None if run else waits_for(pod, at=at))


def waits_for(pod: Manifest, *, at: datetime) -> Reason | None:
    """What keeps a pod from starting, in the cluster's own words; None while all goes well."""
    for status in _statuses(pod):
        waiting = status.get("state", {}).get("waiting", {})
        told = f"{status['image']}: {waiting.get('message') or waiting.get('reason')}"
        if waiting.get("reason") == "InvalidImageName":
            return _reason("IMAGE_NAME_INVALID", f"no image can have this name: {told}")
        if waiting.get("reason") in _IMAGE_WAITS:
            code = "IMAGE_NOT_FOUND" if _NOT_FOUND.search(told) else "IMAGE_NOT_PULLED"
            return _reason(code, f"its image cannot be had: {told}")
        if waiting.get("reason") in _CONFIG_WAITS:
            return _reason("CONTAINER_NOT_MADE", f"its container cannot be made: {told}")
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return _reason(
            "UNSCHEDULABLE", f"no node has room for it: {scheduled.get('message') or 'the cluster says no more'}"
        )
    return _still_fetching(pod, at)


def condition(thing: Manifest, kind: str) -> Manifest:
    """The condition of this kind, or nothing."""
    return next((each for each in thing["status"].get("conditions") or () if each["type"] == kind), {})


def moment(text: str | None) -> datetime | None:
    """A moment as Kubernetes writes it; None for none, and for the 1970 that stands for none."""
    if text is None:
        return None
    found = datetime.fromisoformat(text)
    return found if found >= MOMENT_MIN else None


def _still_fetching(pod: Manifest, at: datetime) -> Reason | None:
    bringing = next((each for each in _statuses(pod) if each["name"] == BRING_RUNNER), {})
    since = moment(bringing.get("state", {}).get("running", {}).get("startedAt"))
    if since is None or at - since < FETCHING_TOLD_AFTER:
        return None
    program: Manifest = next((each for each in pod["spec"]["initContainers"] if each["name"] == BRING_RUNNER), {})
    url = next((each.get("value") for each in program.get("env", ()) if each["name"] == "GUILDHALL_API_URL"), None)
    return _reason(FETCHING_RUNNER, f"its runner is still being fetched from {url}: can pods reach that address?")


def _unconfirmed(pod: Manifest, at: datetime) -> bool:
    """Whether a deleted pod's kubelet should have said long ago that its container has ended."""
    deleted = moment(pod["metadata"].get("deletionTimestamp"))
    return deleted is not None and "nodeName" in pod["spec"] and deleted + UNCONFIRMED_AFTER <= at


def _last_alive(pod: Manifest, started_at: datetime, heard: Mapping[str, datetime]) -> datetime | None:
    """The earliest moment after its start from which nobody vouches for the container any more."""
    ready = condition(pod, "Ready")
    found = [
        heard.get(pod["spec"].get("nodeName", "")),
        moment(condition(pod, "DisruptionTarget").get("lastTransitionTime")),
        moment(ready.get("lastTransitionTime")) if ready.get("status") == "False" else None,
    ]
    known = [at for at in found if at is not None]
    return max(started_at, min(known)) if known else None


def _why_ended(pod: Manifest, ended: Manifest) -> Reason | None:
    """Why the main container's end is not the script's own doing; None where it is."""
    # A child of the script that was killed for memory marks the container too; one that ends well has got over it.
    if ended.get("reason") == "OOMKilled" and ended["exitCode"] != 0:
        return Reason("OUT_OF_MEMORY", f"it needed more than its {_memory(pod)} of memory")
    if ended.get("reason") in _NOT_STARTABLE:
        return _why_not_started(ended)
    deleted = moment(pod["metadata"].get("deletionTimestamp"))
    ended_at = moment(ended.get("finishedAt"))
    disrupted = _why_disrupted(pod)
    if disrupted is not None or deleted is None:
        return disrupted
    grace = pod["metadata"].get("deletionGracePeriodSeconds", 0)
    # The kubelet's own last delete takes the rest of the grace away and moves the timestamp behind the end; what the
    # deletion ended is then told by the signal.
    ended_by_it = (
        ended_at is None
        or deleted - timedelta(seconds=grace) <= ended_at
        or (grace == 0 and ended["exitCode"] in _ENDED_BY_SIGNAL)
    )
    return Reason(POD_DELETED, "its pod was deleted by somebody else") if ended_by_it else None


def _why_gone(pod: Manifest) -> Reason:
    """Why a pod is over although its main container did not end."""
    for status in _statuses(pod):
        ended = status.get("state", {}).get("terminated", {})
        if status["name"] == BRING_RUNNER and ended.get("exitCode", 0) != 0:
            if ended.get("reason") in _NOT_STARTABLE:
                return _why_not_started(ended)
            told = ended.get("message") or f"it ended with exit code {ended['exitCode']}"
            return _reason("RUNNER_NOT_FETCHED", f"the runner could not be brought: {told}")
    disrupted = _why_disrupted(pod)
    if disrupted is not None:
        return disrupted
    if "deletionTimestamp" not in pod["metadata"]:
        told = pod["status"].get("message") or pod["status"].get("reason") or "the cluster says no more"
        return _reason("NODE_REFUSED", f"its node would not run it: {told}")
    if "nodeName" in pod["spec"] and pod["status"].get("phase") == "Running":
        return Reason(NODE_LOST, "its node did not say that it has ended")
    return Reason(POD_DELETED, "its pod was deleted by somebody else")


def _why_not_started(ended: Manifest) -> Reason:
    told = ended.get("message", "")
    if _NO_PYTHON.search(told):
        return _reason("IMAGE_UNSUITABLE", f"its image has no python3 that the runner could run under: {told}")
    return _reason("CONTAINER_NOT_STARTED", f"its node could not start its container: {told}")


def _why_disrupted(pod: Manifest) -> Reason | None:
    status = pod["status"]
    if status.get("reason") == "DeadlineExceeded":
        return Reason("WALLTIME_REACHED", "its walltime is over")
    if status.get("reason") == "Evicted":
        return _reason("EVICTED", f"its node ended its pod: {status.get('message', '')}")
    found = condition(pod, "DisruptionTarget")
    if found.get("status") != "True":
        return None
    code, sentence = _DISRUPTIONS.get(found.get("reason", ""), ("EVICTED", "the cluster ended its pod"))
    return _reason(code, f"{sentence} ({found.get('message', found.get('reason'))})")


def _main_status(pod: Manifest) -> Manifest:
    return next((each for each in _statuses(pod) if each["name"] == MAIN), {})


def _statuses(pod: Manifest) -> list[Manifest]:
    status = pod["status"]
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _memory(pod: Manifest) -> str:
    (main,) = (each for each in pod["spec"]["containers"] if each["name"] == MAIN)
    limit = main.get("resources", {}).get("limits", {}).get("memory")
    return "node's share" if limit is None else str(limit)


def _reason(code: str, sentence: str) -> Reason:
    """One line, however many the cluster wrote."""
    return Reason(code, shortened(" ".join(sentence.split())))
