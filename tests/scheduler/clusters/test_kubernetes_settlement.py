"""What becomes of a job when its pod, its node or its objects fail, done to a real cluster: state, reason and money.

Each test is a row of docs/kubernetes-settlement.md.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

import pytest

from scheduler.clusters.kubernetes.waiting import StartLimits
from scheduler.jobs.tables import Job, RunInterval
from tests.cluster.handle import RealCluster
from tests.scheduler.clusters.benches import KubernetesBench, opened_bench
from tests.scheduler.clusters.works import LISTENING, Works, works_on
from tests.scheduler.yard import Yard

PATIENT = StartLimits(refused_seconds_max=3, start_seconds_max=600)
IMPATIENT = StartLimits(refused_seconds_max=3, start_seconds_max=20)
"""For what must not start: a slow machine may take longer to start what should."""
SHORT_AND_LONG = "import os, time; time.sleep(1 + 4 * int(os.environ['GUILDHALL_NODE_INDEX']))"
MEETING = """
import os, socket, time
master = os.environ["GUILDHALL_HOSTS"].split(",")[0]
if os.environ["GUILDHALL_NODE_INDEX"] == "0":
    server = socket.create_server(("", 29500))
    server.settimeout(120)
    other, _ = server.accept()
    other.sendall(other.recv(100).upper())
    other.recv(1)
else:
    ends_at = time.monotonic() + 120
    while True:
        try:
            other = socket.create_connection((master, 29500), timeout=5)
            break
        except OSError:
            assert time.monotonic() < ends_at, f"{master} is not there"
            time.sleep(0.2)
    other.sendall(b"rank 1")
    assert other.recv(100) == b"RANK 1"
"""
"""As torchrun does it: the first node listens, the others find it by its name."""
ONE_FAILS = f"import os; os.environ['GUILDHALL_NODE_INDEX'] == '1' and os._exit(7)\n{LISTENING}"


@pytest.fixture(scope="module")
async def own_bench(own_cluster: RealCluster) -> AsyncIterator[KubernetesBench]:
    # Where all nodes are silent Kubernetes takes itself for cut off, and gives none of them up.
    await own_cluster.add_fake_nodes(["well-1", "well-2"])
    async with opened_bench(own_cluster) as bench:
        bench.limits = PATIENT
        yield bench


@pytest.fixture
def impatient(own_bench: KubernetesBench) -> Iterator[None]:
    own_bench.limits = IMPATIENT
    yield
    own_bench.limits = PATIENT


@pytest.fixture
async def works(yard: Yard, own_bench: KubernetesBench) -> AsyncIterator[Works]:
    async with works_on(yard, own_bench) as works:
        yield works


@pytest.fixture
def namespace(works: Works) -> str:
    """Where the yard's jobs run."""
    return f"namespaces/{works.bench.namespace}"


def told(job: Job) -> tuple[str, str]:
    """How a job ended, and the code of why."""
    return job.state, job.state_code


class TestTheJobsOwnDoing:
    async def test_an_exit_code_is_paid_for(self, works: Works) -> None:
        job_id = await works.submit("import time; time.sleep(2); raise SystemExit(3)")
        assert told(await works.settled(job_id)) == ("FAILED", "EXIT_CODE")
        await works.assert_paid_as_the_kubelet_says(job_id)

    async def test_too_much_memory_is_paid_for(self, works: Works) -> None:
        job_id = await works.submit("import time; time.sleep(1); data = bytearray(b'x') * (400 << 20); time.sleep(600)")
        assert told(await works.settled(job_id)) == ("FAILED", "OUT_OF_MEMORY")
        await works.assert_paid_as_the_kubelet_says(job_id)

    async def test_its_walltime_is_paid_for(self, works: Works) -> None:
        job_id = await works.submit(LISTENING, walltime_seconds=3)
        assert told(await works.settled(job_id)) == ("TIMED_OUT", "WALLTIME_REACHED")
        assert await works.paid_for(job_id) == 3


class TestSeveralNodes:
    async def test_each_is_paid_for_its_own_life(self, works: Works) -> None:
        job_id = await works.submit(SHORT_AND_LONG, nodes=2)
        job = await works.settled(job_id)
        assert told(job) == ("FAILED", "RESULT_MISSING")  # nobody told a result, but both ended well
        short, long = sorted(await works.ran_for(job_id))
        assert long >= short + 3
        assert await works.paid_for(job_id) == short + long
        pods = works.recording.seen[await works.name(job_id)]
        assert {pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for pod in pods} == {
            "0",
            "1",
        }

    async def test_they_find_each_other_by_name(self, works: Works) -> None:
        job_id = await works.submit(MEETING, nodes=2)
        assert told(await works.settled(job_id)) == ("FAILED", "RESULT_MISSING")
        assert [state["exitCode"] for state in works.recording.ran(await works.name(job_id))] == [0, 0]

    async def test_one_that_fails_ends_the_others(self, works: Works) -> None:
        job_id = await works.submit(ONE_FAILS, nodes=2)
        job = await works.settled(job_id)
        assert (*told(job), job.state_message) == ("FAILED", "EXIT_CODE", "it ended with exit code 7")
        assert len(await works.ran_for(job_id)) == 2
        assert await works.paid_for(job_id) == sum(await works.ran_for(job_id))


class TestWhatNeverStarts:
    async def test_an_image_that_is_not_there_costs_nothing(self, works: Works) -> None:
        job_id = await works.submit(LISTENING, image="localhost/guildhall/nowhere:1")
        job = await works.settled(job_id)
        assert told(job) == ("FAILED", "IMAGE_NOT_PULLED")
        assert "localhost/guildhall/nowhere:1" in job.state_message
        assert await works.paid_for(job_id) == 0

    async def test_an_image_without_python_costs_nothing(self, works: Works) -> None:
        job_id = await works.submit(LISTENING, image=works.bench.cluster.images.pause)
        assert told(await works.settled(job_id)) == ("FAILED", "IMAGE_UNSUITABLE")
        assert await works.paid_for(job_id) == 0

    async def test_a_runner_that_our_api_does_not_give_costs_nothing(self, works: Works) -> None:
        job_id = await works.submit(LISTENING)
        works.bench.programs.refuses = True
        assert told(await works.settled(job_id)) == ("FAILED", "RUNNER_NOT_FETCHED")
        assert await works.paid_for(job_id) == 0

    @pytest.mark.usefixtures("impatient")
    async def test_room_that_does_not_come_costs_nothing(self, works: Works) -> None:
        cluster = works.bench.cluster
        await cluster.kill("kube-scheduler")
        job_id = await works.submit(LISTENING)
        await works.until(job_id, "STARTING")
        await works.act("PATCH", "/api/v1/nodes/node-1", {"spec": {"unschedulable": True}})
        await cluster.start("kube-scheduler")
        assert told(await works.settled(job_id)) == ("FAILED", "UNSCHEDULABLE")
        assert await works.paid_for(job_id) == 0
        await works.act("PATCH", "/api/v1/nodes/node-1", {"spec": {"unschedulable": False}})

    @pytest.mark.usefixtures("impatient")
    async def test_a_secret_that_somebody_deleted_costs_nothing(self, works: Works, namespace: str) -> None:
        cluster = works.bench.cluster
        await cluster.kill("kube-scheduler")
        job_id = await works.submit(LISTENING)
        await works.until(job_id, "STARTING")
        await works.act("DELETE", f"/api/v1/{namespace}/secrets/{await works.name(job_id)}")
        await cluster.start("kube-scheduler")
        assert told(await works.settled(job_id)) == ("FAILED", "NOT_STARTED")
        assert await works.paid_for(job_id) == 0

    @pytest.mark.usefixtures("impatient")
    async def test_a_quota_that_leaves_no_pod_costs_nothing(self, works: Works, namespace: str) -> None:
        await works.settled(await works.submit("pass"))
        quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
        await works.act("POST", f"/api/v1/{namespace}/resourcequotas", quota)
        job_id = await works.submit(LISTENING)
        assert told(await works.settled(job_id)) == ("FAILED", "NOT_STARTED")
        assert await works.paid_for(job_id) == 0
        await works.act("DELETE", f"/api/v1/{namespace}/resourcequotas/none")


class TestWhatTheClusterTakesAway:
    async def test_an_evicted_pod_is_paid_for(self, works: Works, namespace: str) -> None:
        job_id = await works.running()
        (pod,) = await works.recording.pods(await works.name(job_id))
        name = pod["metadata"]["name"]
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        await works.act("POST", f"/api/v1/{namespace}/pods/{name}/eviction", eviction)
        assert told(await works.settled(job_id)) == ("FAILED", "EVICTED")
        await works.assert_paid_as_the_kubelet_says(job_id)

    async def test_a_preempted_pod_costs_nothing(self, works: Works) -> None:
        job_id = await works.running()
        urgent = {"metadata": {"name": "urgent"}, "value": 1_000_000, "description": "For this test."}
        await works.act("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", urgent)
        container = {
            "name": "all",
            "image": works.bench.cluster.images.pause,
            "resources": {"limits": {"nvidia.com/gpu": "8"}},
        }
        spec = {"priorityClassName": "urgent", "containers": [container], "terminationGracePeriodSeconds": 0}
        pod = {"metadata": {"name": "urgent"}, "spec": spec}
        await works.act("POST", "/api/v1/namespaces/default/pods", pod)
        assert told(await works.settled(job_id)) == ("FAILED", "PREEMPTED")
        job = await works.yard.job(job_id)
        assert (job.captured, job.released) == (0, job.held)
        await works.act("DELETE", "/api/v1/namespaces/default/pods/urgent")
        await works.act("DELETE", "/apis/scheduling.k8s.io/v1/priorityclasses/urgent")


class TestWhatSomebodyDeletes:
    async def test_a_job_is_paid_for(self, works: Works, namespace: str) -> None:
        job_id = await works.running()
        path = f"/apis/batch/v1/{namespace}/jobs/{await works.name(job_id)}"
        await works.act("DELETE", path, {"propagationPolicy": "Background"})
        job = await works.settled(job_id)
        assert told(job) == ("FAILED", "DELETED_BY_HAND")
        assert job.state_message == "its Job object was deleted by somebody else"
        await works.assert_paid_as_the_kubelet_says(job_id)

    async def test_a_pod_is_paid_for(self, works: Works, namespace: str) -> None:
        job_id = await works.running()
        (pod,) = await works.recording.pods(await works.name(job_id))
        await works.act("DELETE", f"/api/v1/{namespace}/pods/{pod['metadata']['name']}")
        job = await works.settled(job_id)
        assert told(job) == ("FAILED", "DELETED_BY_HAND")
        assert job.state_message == "its pod was deleted by somebody else"
        await works.assert_paid_as_the_kubelet_says(job_id)

    async def test_everything_by_force_is_paid_for_until_it_was_last_seen(self, works: Works, namespace: str) -> None:
        job_id = await works.running()
        name = await works.name(job_id)
        (pod,) = await works.recording.pods(name)
        path = f"/api/v1/{namespace}/pods/{pod['metadata']['name']}"
        await works.act("DELETE", f"/apis/batch/v1/{namespace}/jobs/{name}", {"propagationPolicy": "Orphan"})
        await works.act("DELETE", path, {"gracePeriodSeconds": 0})
        await works.act("PATCH", path, {"metadata": {"finalizers": None}})
        assert told(await works.settled(job_id)) == ("FAILED", "LOST")
        attempt = await works.yard.attempt(job_id)
        (interval,) = await works.yard.rows(RunInterval, RunInterval.attempt_id == attempt.id)
        assert interval.ended_at == max(attempt.seen_at, interval.started_at)
        await works.paid_for(job_id)

    async def test_a_namespace_is_paid_for(self, works: Works, namespace: str) -> None:
        job_id = await works.running()
        await works.act("DELETE", f"/api/v1/{namespace}")
        assert told(await works.settled(job_id)) == ("FAILED", "NAMESPACE_DELETED")
        await works.assert_paid_as_the_kubelet_says(job_id)
        again = await works.submit("import time; time.sleep(1)")
        assert told(await works.settled(again)) == ("FAILED", "RESULT_MISSING")


async def last_heard(works: Works) -> datetime:
    """When the node's kubelet renewed its lease last."""
    lease = await works.act("GET", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/node-1")
    return datetime.fromisoformat(lease.json()["spec"]["renewTime"])


class TestLostNodes:
    """The last of the module: they take the node away."""

    async def test_a_silent_kubelet_is_paid_until_its_last_sign_of_life(self, works: Works) -> None:
        cluster = works.bench.cluster
        job_id = await works.running()
        started_at = (await works.yard.attempt(job_id)).started_at
        assert started_at is not None
        while (heard_at := await last_heard(works)) <= started_at:
            await asyncio.sleep(1)
        await cluster.freeze("kubelet")
        try:
            job = await works.until(job_id)
            heard_at = await last_heard(works)
        finally:
            await cluster.thaw("kubelet")
        assert told(job) == ("FAILED", "NODE_LOST")
        attempt = await works.yard.attempt(job_id)
        (interval,) = await works.yard.rows(RunInterval, RunInterval.attempt_id == attempt.id)
        assert (attempt.state, interval.started_at, interval.ended_at) == ("LOST", started_at, heard_at)
        assert await works.paid_for(job_id) > 0
        await works.settled(job_id)

    async def test_a_removed_node_is_paid_until_its_pod_was_given_up(self, works: Works) -> None:
        job_id = await works.running()
        await works.bench.cluster.kill("kubelet")
        await works.bench.cluster.remove_nodes(["node-1"])
        assert told(await works.settled(job_id)) == ("FAILED", "NODE_LOST")
        (pod,) = works.recording.seen[await works.name(job_id)]
        attempt = await works.yard.attempt(job_id)
        (interval,) = await works.yard.rows(RunInterval, RunInterval.attempt_id == attempt.id)
        (given_up,) = (each for each in pod["status"]["conditions"] if each["type"] == "DisruptionTarget")
        assert given_up["reason"] == "DeletionByPodGC"
        ended_at = datetime.fromisoformat(given_up["lastTransitionTime"])
        assert (attempt.state, interval.ended_at) == ("LOST", ended_at)
        assert await works.paid_for(job_id) > 0
