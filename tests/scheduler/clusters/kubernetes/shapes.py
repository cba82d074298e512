"""Launches, Jobs and pods for the tests of what is sent to a cluster and of what is read from it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from scheduler.clusters.executor import Launch, Placement, Toleration
from scheduler.clusters.kubernetes.manifests import job_manifest
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.pods import PodRules

INSTALLATION = Installation("019d0000-0000-7000-8000-0000cafe1234")
BEGAN = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
LAUNCH = Launch(
    name="gh-019d0000000070008000000000000001-1",
    spec_hash="a" * 64,
    job_id=UUID("019d0000-0000-7000-8000-000000000001"),
    attempt_id=UUID("019d0000-0000-7000-8000-000000000002"),
    pool="h100",
    accelerator_slots=2,
    slot_indexes=(0, 3),
    cpu=1.5,
    memory_bytes=4 << 30,
    walltime_seconds=600,
    environment={"FROM_LAUNCH": "yes"},
    token="ghj_secret",
    api_url="https://10.0.0.7:8443",
    grace_seconds=10,
    team="maintenance",
    disk_bytes=20 << 30,
    sensitive=True,
    image="registry.example.org/train:1",
    accelerators_per_node=2,
    placement=Placement(
        node_selector={"example.org/pool": "h100"},
        tolerations=(Toleration(key="nvidia.com/gpu", effect="NoSchedule"), Toleration(key="for", value="training")),
        accelerator_resource="nvidia.com/gpu",
    ),
)
SEVERAL = replace(LAUNCH, nodes=2, accelerator_slots=4, slot_indexes=(0, 1, 2, 3))


def later(seconds: float) -> datetime:
    """A moment of the tests."""
    return BEGAN + timedelta(seconds=seconds)


def written(seconds: float) -> str:
    """The same as Kubernetes writes it."""
    return later(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def job(launch: Launch = LAUNCH, **metadata: Any) -> dict[str, Any]:
    """The Job as the cluster gives it back, running."""
    made = job_manifest(INSTALLATION, launch, PodRules())
    made["metadata"] |= {"uid": "uid-job", "creationTimestamp": written(0), **metadata}
    return {**made, "status": {}}


def pod(
    index: int = 0, *, launch: Launch = LAUNCH, main: Mapping[str, Any] | None = None, **given: Any
) -> dict[str, Any]:
    """A pod on a node; `main` is its container's state, `status`, `metadata` and `spec` add to what it has."""
    template = job(launch)["spec"]["template"]
    status: dict[str, Any] = {"phase": "Pending" if main is None else "Running"}
    if main is not None:
        status["containerStatuses"] = [{"name": "main", "image": launch.image, "state": dict(main)}]
    return {
        "metadata": {
            **template["metadata"],
            "name": f"{launch.name}-{index}",
            "uid": f"uid-{index}",
            "creationTimestamp": written(index),
            **given.get("metadata", {}),
        },
        "spec": {**template["spec"], "nodeName": "node-1", **given.get("spec", {})},
        "status": status | given.get("status", {}),
    }


def running(seconds: float = 5) -> dict[str, Any]:
    """A container that runs since then."""
    return {"running": {"startedAt": written(seconds)}}


def ended(exit_code: int = 0, *, at: float = 65, started: float = 5, **more: Any) -> dict[str, Any]:
    """A container that ran for a minute."""
    times = {"startedAt": written(started), "finishedAt": written(at)}
    return {"terminated": {"exitCode": exit_code, **times, **more}}


def waiting(reason: str, message: str = "as the kubelet says") -> dict[str, Any]:
    """A container that has not started."""
    return {"waiting": {"reason": reason, "message": message}}


def deleted(seconds: float, grace: int = 30) -> dict[str, Any]:
    """The metadata of what somebody asked to delete then."""
    return {"deletionTimestamp": written(seconds + grace), "deletionGracePeriodSeconds": grace}


def disrupted(reason: str, at: float = 60) -> dict[str, Any]:
    """The status of a pod that the cluster ended."""
    found = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "so it is"}
    return {"conditions": [{**found, "lastTransitionTime": written(at)}]}
