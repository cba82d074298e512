"""What the scheduler is told of a Job and its pods: a table of everything that can be seen of them."""

from datetime import datetime
from typing import Any

import pytest

from scheduler.clusters.executor import ContainerRun, Phase, Reason
from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.observing import Seen, is_ours, observe_launch, overdue, silent_nodes
from scheduler.clusters.kubernetes.waiting import StartLimits
from tests.scheduler.clusters.kubernetes.shapes import (
    LAUNCH,
    SEVERAL,
    deleted,
    disrupted,
    ended,
    job,
    later,
    pod,
    running,
    waiting,
)

STOPPED: dict[str, Any] = {"annotations": {naming.STOP_CODE: "CANCELLED", naming.STOP_MESSAGE: "cancelled by ada"}}
CANCELLED = Reason("CANCELLED", "cancelled by ada")
LIMITS = StartLimits(refused_seconds_max=60, start_seconds_max=600)
FAILED_JOB = job() | {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}
SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-02T08:00:10Z"}
NO_ROOM = {**SCHEDULED, "status": "False", "message": "0/3 nodes"}
EPOCH: dict[str, Any] = {"startedAt": "1970-01-01T00:00:00Z"}
NOT_STARTED = ended(128, reason="StartError", **EPOCH)
NO_PYTHON = ended(128, reason="StartError", message='exec: "python3": executable file not found in $PATH', **EPOCH)
INIT_FAILED: dict[str, Any] = {
    "phase": "Failed",
    "initContainerStatuses": [
        {
            "name": "bring-runner",
            "image": "x",
            "state": {"terminated": {"exitCode": 1, "message": "the runner could\nnot be fetched: refused\n"}},
        }
    ],
}


def seen(*pods: dict[str, Any], of: dict[str, Any] | None = None, **given: Any) -> Seen:
    return Seen(job=job() if of is None else of, pods=pods, **given)


def without_job(*pods: dict[str, Any], **given: Any) -> Seen:
    return Seen(job=None, pods=pods, **given)


class TestPhases:
    @pytest.mark.parametrize(
        ("of", "want"),
        [
            (seen(), Phase.STARTING),
            (seen(pod()), Phase.STARTING),
            (seen(pod(main=waiting("PodInitializing"))), Phase.STARTING),
            (seen(pod(main=running())), Phase.RUNNING),
            (seen(pod(main=running(), metadata=deleted(60))), Phase.RUNNING),
            (seen(pod(main=ended())), Phase.ENDED),
            (without_job(pod(main=running())), Phase.RUNNING),
        ],
    )
    def test_follow_the_container(self, of: Seen, want: Phase) -> None:
        found = observe_launch(of, at=later(70))
        assert (found.name, found.spec_hash, found.phase) == (LAUNCH.name, LAUNCH.spec_hash, want)

    def test_a_run_is_the_main_containers_under_its_pods_uid(self) -> None:
        found = observe_launch(seen(pod(main=ended(3))), at=later(70))
        assert found.runs == (ContainerRun("uid-0", later(5), later(65)),)
        assert (found.started_at, found.ended_at, found.exit_code, found.reason) == (later(5), later(65), 3, None)


class TestWhy:
    @pytest.mark.parametrize(
        ("of", "code", "exit_code", "phase"),
        [
            (seen(pod(main=ended(137, reason="OOMKilled"))), "OUT_OF_MEMORY", 137, Phase.ENDED),
            (seen(pod(main=ended(0, reason="OOMKilled"))), None, 0, Phase.ENDED),
            (seen(pod(main=ended(143), status={"reason": "Evicted", "message": "disk"})), "EVICTED", 143, Phase.ENDED),
            (seen(pod(main=ended(143), status=disrupted("EvictionByEvictionAPI"))), "EVICTED", 143, Phase.ENDED),
            (seen(pod(main=ended(0), status=disrupted("EvictionByEvictionAPI"))), None, 0, Phase.ENDED),
            (seen(pod(main=ended(143), status=disrupted("PreemptionByScheduler"))), "PREEMPTED", 143, Phase.ENDED),
            (seen(pod(main=ended(143), status=disrupted("SomethingNew"))), "EVICTED", 143, Phase.ENDED),
            (seen(pod(main=ended(143), status={"reason": "DeadlineExceeded"})), "WALLTIME_REACHED", 143, Phase.ENDED),
            (seen(pod(main=NOT_STARTED)), "CONTAINER_NOT_STARTED", 128, Phase.ENDED),
            (seen(pod(main=NO_PYTHON)), "IMAGE_UNSUITABLE", 128, Phase.ENDED),
            (seen(pod(main=ended(143), metadata=deleted(60))), "DELETED_BY_HAND", 143, Phase.ENDED),
            (seen(pod(main=ended(3), metadata=deleted(66))), None, 3, Phase.ENDED),
            (seen(pod(main=ended(143), metadata=deleted(66, grace=0))), "DELETED_BY_HAND", 143, Phase.ENDED),
            (seen(pod(main=ended(3), metadata=deleted(66, grace=0))), None, 3, Phase.ENDED),
            (seen(pod(main=ended(143), metadata=deleted(66))), None, 143, Phase.ENDED),
            (without_job(pod(main=ended(143), metadata=deleted(60))), "DELETED_BY_HAND", 143, Phase.ENDED),
            (
                without_job(pod(main=ended(143), metadata=deleted(60)), namespace_ends=True),
                "NAMESPACE_DELETED",
                143,
                Phase.ENDED,
            ),
            (seen(pod(main=ended(143), metadata=deleted(60)), of=job(**STOPPED)), "CANCELLED", 143, Phase.ENDED),
            (seen(pod(main=ended(0)), of=job(**STOPPED)), None, 0, Phase.ENDED),
            (seen(of=job(**STOPPED)), "CANCELLED", None, Phase.ENDED),
            (seen(pod(status=INIT_FAILED)), "RUNNER_NOT_FETCHED", None, Phase.ENDED),
            (
                seen(pod(status={"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no GPU"})),
                "NODE_REFUSED",
                None,
                Phase.ENDED,
            ),
            (
                seen(pod(main=running(), status={"phase": "Failed", **disrupted("DeletionByPodGC")})),
                "NODE_LOST",
                None,
                Phase.LOST,
            ),
            (seen(pod(main=running(), metadata=deleted(0))), "NODE_LOST", None, Phase.LOST),
            (seen(of=FAILED_JOB), "LOST", None, Phase.LOST),
        ],
    )  # fmt: skip
    def test_of_an_end(self, of: Seen, code: str | None, exit_code: int | None, phase: Phase) -> None:
        found = observe_launch(of, at=later(70))
        assert (found.phase, found.exit_code, found.reason and found.reason.code) == (phase, exit_code, code)

    def test_is_one_line(self) -> None:
        reason = observe_launch(seen(pod(status=INIT_FAILED)), at=later(70)).reason
        assert reason is not None
        assert reason.message == "the runner could not be brought: the runner could not be fetched: refused"

    def test_names_the_memory_that_was_too_little(self) -> None:
        reason = observe_launch(seen(pod(main=ended(137, reason="OOMKilled"))), at=later(70)).reason
        assert reason == Reason("OUT_OF_MEMORY", f"it needed more than its {4 << 30} of memory")

    def test_a_container_that_never_ran_has_no_run(self) -> None:
        found = observe_launch(seen(pod(main=NOT_STARTED)), at=later(70))
        assert (found.runs, found.started_at) == ((), None)

    def test_a_pod_without_a_node_is_over_once_it_is_deleted(self) -> None:
        gone = pod(metadata=deleted(5, 0))
        del gone["spec"]["nodeName"]
        found = observe_launch(seen(gone, of=job(**STOPPED)), at=later(6))
        assert (found.phase, found.reason) == (Phase.ENDED, CANCELLED)


class TestLostNodes:
    SILENT = pod(main=running(), metadata=deleted(400, 30))

    @pytest.mark.parametrize(("at", "want"), [(459, Phase.RUNNING), (460, Phase.LOST)])
    def test_a_deletion_that_no_kubelet_confirms(self, at: float, want: Phase) -> None:
        assert observe_launch(seen(self.SILENT), at=later(at)).phase is want

    def test_are_asked_after(self) -> None:
        assert silent_nodes([self.SILENT, pod(main=running())], at=later(500)) == {"node-1"}
        assert silent_nodes([self.SILENT], at=later(400)) == set()

    @pytest.mark.parametrize(
        ("heard", "want"), [({"node-1": later(90)}, later(90)), ({"node-1": later(-9)}, later(5)), ({}, None)]
    )
    def test_end_the_run_when_they_were_last_heard_of(self, heard: dict[str, datetime], want: datetime | None) -> None:
        found = observe_launch(seen(self.SILENT, heard=heard), at=later(500))
        assert (found.ended_at, found.runs) == (want, (ContainerRun("uid-0", later(5), want),))

    def test_a_node_that_was_removed_ended_it_when_its_pod_was_cleared(self) -> None:
        gone = pod(main=running(), status={"phase": "Failed", **disrupted("DeletionByPodGC", 99)})
        assert observe_launch(seen(gone), at=later(500)).ended_at == later(99)


class TestSeveralNodes:
    def test_start_with_the_first(self) -> None:
        found = observe_launch(seen(pod(0, main=running(5)), pod(1, main=running(9)), of=job(SEVERAL)), at=later(70))
        assert (found.phase, found.started_at, len(found.runs)) == (Phase.RUNNING, later(5), 2)

    def test_end_with_the_last(self) -> None:
        pods = (pod(0, main=ended(at=65)), pod(1, main=ended(at=80)))
        found = observe_launch(seen(*pods, of=job(SEVERAL)), at=later(90))
        assert (found.phase, found.ended_at, found.exit_code) == (Phase.ENDED, later(80), 0)

    def test_wait_for_a_pod_that_is_still_to_be_made(self) -> None:
        assert observe_launch(seen(pod(0, main=ended()), of=job(SEVERAL)), at=later(70)).phase is Phase.RUNNING

    def test_the_first_to_fail_says_why(self) -> None:
        pods = (pod(0, main=ended(143, at=70), metadata=deleted(66)), pod(1, main=ended(3, at=65)))
        found = observe_launch(seen(*pods, of=job(SEVERAL)), at=later(90))
        assert (found.phase, found.exit_code, found.reason) == (Phase.ENDED, 3, None)


class TestWaiting:
    @pytest.mark.parametrize(
        ("main", "code"),
        [
            (waiting("ErrImagePull", "dial tcp: refused"), "IMAGE_NOT_PULLED"),
            (waiting("ImagePullBackOff", "x:1: not found"), "IMAGE_NOT_FOUND"),
            (waiting("InvalidImageName"), "IMAGE_NAME_INVALID"),
            (waiting("CreateContainerConfigError"), "CONTAINER_NOT_MADE"),
            (waiting("ContainerCreating"), None),
        ],
    )
    def test_says_what_for(self, main: dict[str, Any], code: str | None) -> None:
        found = observe_launch(seen(pod(main=main)), at=later(10))
        assert (found.phase, found.reason and found.reason.code) == (Phase.STARTING, code)

    def test_says_why_there_is_no_node(self) -> None:
        condition = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
        found = observe_launch(seen(pod(status={"conditions": [condition]})), at=later(10))
        assert found.reason == Reason("UNSCHEDULABLE", "no node has room for it: 0/3 nodes are available")


class TestOverdue:
    def why(self, of: Seen, at: float) -> str | None:
        reason = overdue(of, at=later(at), limits=LIMITS)
        return None if reason is None else reason.code

    def waits(self, reason: str, scheduled: dict[str, Any] = SCHEDULED) -> Seen:
        return seen(pod(main=waiting(reason), status={"conditions": [scheduled]}))

    def test_an_image_is_tried_for_so_long(self) -> None:
        assert self.why(self.waits("ErrImagePull"), 69) is None
        assert self.why(self.waits("ErrImagePull"), 70) == "IMAGE_NOT_PULLED"

    def test_a_name_that_no_image_can_have_is_not_tried(self) -> None:
        assert self.why(self.waits("InvalidImageName"), 11) == "IMAGE_NAME_INVALID"

    def test_room_is_waited_for_longer(self) -> None:
        assert self.why(self.waits("", NO_ROOM), 599) is None
        assert self.why(self.waits("", NO_ROOM), 600) == "UNSCHEDULABLE"

    def test_a_runner_on_its_way_is_waited_for_and_told_of(self) -> None:
        bringing = {"name": "bring-runner", "image": LAUNCH.image, "state": running()}
        of = seen(pod(status={"conditions": [SCHEDULED], "initContainerStatuses": [bringing]}))
        assert observe_launch(of, at=later(34)).reason is None
        reason = observe_launch(of, at=later(35)).reason
        assert reason is not None
        assert (reason.code, reason.message) == (
            "FETCHING_RUNNER",
            "its runner is still being fetched from https://10.0.0.7:8443: can pods reach that address?",
        )
        assert (self.why(of, 599), self.why(of, 600)) == (None, "FETCHING_RUNNER")

    @pytest.mark.parametrize("of", [seen(), seen(pod(main=waiting("ContainerCreating")))])
    def test_all_else_too(self, of: Seen) -> None:
        assert self.why(of, 599) is None
        assert self.why(of, 600) == "NOT_STARTED"

    @pytest.mark.parametrize(
        "of",
        [
            seen(pod(main=running())),
            seen(pod(main=ended())),
            without_job(pod()),
            seen(pod(), of=job(**STOPPED)),
            seen(pod(), of=job(**deleted(5))),
            seen(pod(), of=FAILED_JOB),
        ],
    )
    def test_what_runs_or_ends_is_not_given_up(self, of: Seen) -> None:
        assert self.why(of, 10_000) is None


def test_a_pod_is_ours_until_its_finalizer_is_gone() -> None:
    assert is_ours(pod())
    assert not is_ours(pod(metadata={"finalizers": ["batch.kubernetes.io/job-tracking"]}))
