"""The scheduler at work on a real Kubernetes, in real time: a yard whose small pool is the cluster's real node.

A program of the test's own is the runner, so that all that is settled is what the platform says.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx

from guildhall.clock import SimulatedClock, SystemClock
from scheduler.clusters.executor import Executor, LogLine
from scheduler.context import SchedulerContext
from scheduler.cycle import run_cycle
from scheduler.jobs.states import ENDED_STATES
from scheduler.jobs.tables import Job, RunInterval
from tests.cluster.handle import RealCluster
from tests.scheduler.clusters.benches import KubernetesBench
from tests.scheduler.furnishing import CREDIT
from tests.scheduler.yard import Yard

SECONDS_MAX = 400.0
POLL_SECONDS = 0.1
RATE = 2 * CREDIT
"""Of a small accelerator-hour."""
LISTENING = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); time.sleep(600)"
"""Runs until somebody ends it, and then ends at once."""


class RealClock(SimulatedClock):
    """The machine's clock, where a yard wants one of its own."""

    def __init__(self) -> None:
        super().__init__(SystemClock().now())

    def now(self) -> datetime:
        return SystemClock().now()


@dataclass
class Recording:
    """An executor that notes what kubelets say of a launch before it is removed, asked without our own code."""

    executor: Executor
    cluster: RealCluster
    seen: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.executor, name)

    async def logs(self, name: str, *, after: int, limit: int) -> Sequence[LogLine]:
        """Removal begins by asking for these."""
        self.seen[name] = await self.pods(name)
        return await self.executor.logs(name, after=after, limit=limit)

    def ran(self, name: str) -> list[dict[str, Any]]:
        """How each main container of the launch ended, as its kubelet wrote it down."""
        found = [each for pod in self.seen[name] for each in pod["status"].get("containerStatuses", ())]
        return [each["state"]["terminated"] for each in found]

    async def pods(self, name: str) -> list[dict[str, Any]]:
        """The launch's pods as the API server has them."""
        async with self.cluster.client() as client:
            answer = await client.get("/api/v1/pods", params={"labelSelector": f"guildhall.io/launch={name}"})
        found: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
        return found


@dataclass
class Works:
    """One worker, one cluster."""

    yard: Yard
    bench: KubernetesBench
    recording: Recording
    context: SchedulerContext

    async def submit(self, program: str, **given: Any) -> UUID:
        """A job that runs a program, with one accelerator."""
        self.bench.place(program)
        image = given.pop("image", self.bench.cluster.images.python)
        values = {"package_id": None, "image": image, "cpu": 0.05, "memory_bytes": 64 << 20, **given}
        return await self.yard.submit(self.yard.spec(**values))

    async def running(self, program: str = LISTENING, **given: Any) -> UUID:
        """Same, and it runs."""
        job_id = await self.submit(program, **given)
        await self.until(job_id, "RUNNING")
        return job_id

    async def cycle(self) -> None:
        """One cycle of the scheduler."""
        await run_cycle(self.context)

    async def until(self, job_id: UUID, *states: str) -> Job:
        """Cycles until the job is in one of the states, or has ended where none are named."""
        wanted = states or tuple(ENDED_STATES)
        ends_at = time.monotonic() + SECONDS_MAX
        while True:
            await self.cycle()
            job = await self.yard.job(job_id)
            if job.state in wanted:
                return job
            assert job.state not in ENDED_STATES, (job.state, job.state_code, job.state_message)
            assert time.monotonic() < ends_at, (job.state, job.state_code, job.state_message)
            await asyncio.sleep(POLL_SECONDS)

    async def settled(self, job_id: UUID) -> Job:
        """The job after its end, and after the cluster has forgotten it: nothing of it is left anywhere."""
        job = await self.until(job_id)
        attempt = await self.yard.attempt(job_id)
        ends_at = time.monotonic() + SECONDS_MAX
        while attempt.removed_at is None or await self.recording.pods(attempt.name):
            assert time.monotonic() < ends_at, "the cluster does not forget it"
            await self.cycle()
            await asyncio.sleep(POLL_SECONDS)
            attempt = await self.yard.attempt(job_id)
        assert not await self.recording.executor.knows(attempt.name)
        await self.yard.assert_balanced()
        return job

    async def name(self, job_id: UUID) -> str:
        """The name of its launch."""
        return (await self.yard.attempt(job_id)).name

    async def paid_for(self, job_id: UUID) -> float:
        """The seconds that the job paid for, which are those of its intervals at the quote's rate."""
        job = await self.yard.job(job_id)
        attempt = await self.yard.attempt(job_id)
        intervals = await self.yard.rows(RunInterval, RunInterval.attempt_id == attempt.id)
        seconds: float = sum((each.ended_at - each.started_at).total_seconds() for each in intervals)
        assert job.captured in {math.floor(RATE * seconds / 3600), math.ceil(RATE * seconds / 3600)}
        assert job.captured + job.released == job.held
        return seconds

    async def assert_paid_as_the_kubelet_says(self, job_id: UUID) -> None:
        """One interval, to the second that the kubelet wrote down."""
        (seconds,) = await self.ran_for(job_id)
        assert await self.paid_for(job_id) == seconds

    async def ran_for(self, job_id: UUID) -> list[float]:
        """The seconds of each main container, as kubelets wrote them down."""
        states = self.recording.ran(await self.name(job_id))
        lives = [[datetime.fromisoformat(state[name]) for name in ("startedAt", "finishedAt")] for state in states]
        return [(finished - started).total_seconds() for started, finished in lives]

    async def act(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Do something to the cluster, as its administrator."""
        async with self.bench.cluster.client() as client:
            kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
            answer = await client.request(method, path, json=body, headers={"Content-Type": kind})
        return answer.raise_for_status()


@asynccontextmanager
async def works_on(yard: Yard, bench: KubernetesBench) -> AsyncIterator[Works]:
    """The yard at real time, its pool `small` on the node `node-1`."""
    async with bench.cluster.client() as client:
        labels = {"metadata": {"labels": {"pool": "small"}}}
        headers = {"Content-Type": "application/merge-patch+json"}
        (await client.patch("/api/v1/nodes/node-1", json=labels, headers=headers)).raise_for_status()
    yard.clock = RealClock()
    await yard.allocate("maintenance", "zero", 1_000 * CREDIT)
    yard.settings = replace(yard.settings, jobs_url=bench.api_url, runner_grace_seconds=1)
    recording = Recording(bench.restarted(), bench.cluster)
    context = yard.context(executors={"here": recording})
    try:
        yield Works(yard, bench, recording, context)
    finally:
        await context.lanes.close()
