"""Ending a launch's objects, and forgetting them: each may be done again, by anybody, after a death anywhere in it."""

import contextlib
from collections.abc import Sequence

from scheduler.clusters.executor import Reason
from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.failures import ObjectInvalid, ObjectMissing
from scheduler.clusters.kubernetes.observing import Manifest, Seen, is_finished, is_ours, stop_of
from scheduler.clusters.kubernetes.pods import REPORT_SECONDS
from scheduler.clusters.kubernetes.resources import JOBS, PODS

GRACE_SECONDS_MIN = 1
"""A grace of 0 would take the pod from the record before its kubelet has ended it."""
RELEASES_MAX = 5
FINISHED_PHASES = frozenset({"Succeeded", "Failed"})


async def stop_objects(api: KubernetesApi, seen: Seen, *, grace_seconds: int, reason: Reason) -> None:
    """Suspend the Job, so that no pod is made any more and those that run are ended; the first reason stands.

    The Job's controller gives pods their own grace. Where less is wanted they are ended before, one by one, because a
    kubelet that waits for a longer grace does not hear of a shorter one.
    """
    impatient = [pod for pod in seen.pods if _runs(pod) and _grace_of(pod) > grace_seconds + REPORT_SECONDS]
    if seen.job is not None and not is_finished(seen.job):
        name, namespace = naming.key_of(seen.job)
        annotations = {naming.STOP_CODE: reason.code, naming.STOP_MESSAGE: reason.message}
        about = {} if stop_of(seen.job) else {"metadata": {"annotations": annotations}}
        with contextlib.suppress(ObjectMissing):
            if impatient and about:
                await api.patch(JOBS, name, about, namespace=namespace)
            await _delete_pods(api, impatient, grace_seconds=grace_seconds)
            await api.patch(JOBS, name, {**about, "spec": {"suspend": True}}, namespace=namespace)
    else:
        await _delete_pods(api, impatient, grace_seconds=grace_seconds)


async def forget_objects(api: KubernetesApi, seen: Seen) -> None:
    """Delete the Job, with all that it owns, and let go of its pods; of lost ones without waiting for their nodes.

    The pods of a finished Job are let go of first, because then they go in one step.
    """
    finished = seen.job is not None and is_finished(seen.job)
    first = [pod for pod in seen.pods if finished and not _runs(pod)]
    for pod in first:
        await _release(api, pod)
    if seen.job is not None:
        name, namespace = naming.key_of(seen.job)
        with contextlib.suppress(ObjectMissing):
            await api.delete(JOBS, name, namespace=namespace)
    for pod in [pod for pod in seen.pods if pod not in first]:
        if _runs(pod):
            await _delete_pod(api, pod, grace_seconds=0)
        await _release(api, pod)


async def _delete_pods(api: KubernetesApi, pods: Sequence[Manifest], *, grace_seconds: int) -> None:
    for pod in pods:
        await _delete_pod(api, pod, grace_seconds=max(GRACE_SECONDS_MIN, grace_seconds))


async def _delete_pod(api: KubernetesApi, pod: Manifest, *, grace_seconds: int) -> None:
    name, namespace = naming.key_of(pod)
    try:
        await api.delete(PODS, name, namespace=namespace, grace_seconds=grace_seconds, uid=pod["metadata"]["uid"])
    except ObjectMissing:
        return


async def _release(api: KubernetesApi, pod: Manifest) -> None:
    """Take our finalizer from the pod. Others take theirs meanwhile, so its place is tested, and looked up again."""
    name, namespace = naming.key_of(pod)
    for _ in range(RELEASES_MAX):
        if not is_ours(pod):
            return
        path = f"/metadata/finalizers/{pod['metadata']['finalizers'].index(naming.SETTLEMENT)}"
        changes = [
            {"op": "test", "path": path, "value": naming.SETTLEMENT},
            {"op": "remove", "path": path},
        ]
        try:
            await api.patch(PODS, name, changes, namespace=namespace)
        except ObjectMissing:
            return
        except ObjectInvalid:
            try:
                pod = await api.get(PODS, name, namespace=namespace)
            except ObjectMissing:
                return
        else:
            return
    raise ObjectInvalid(f"The finalizer of pod {name} could not be taken from it.")


def _runs(pod: Manifest) -> bool:
    return pod["status"].get("phase") not in FINISHED_PHASES


def _grace_of(pod: Manifest) -> int:
    """The grace that the pod has, or has left of a deletion that was asked for before."""
    asked = pod["metadata"].get("deletionGracePeriodSeconds")
    found: int = pod["spec"].get("terminationGracePeriodSeconds", 0) if asked is None else asked
    return found
