"""What a cluster says, as states and intervals: lists that lag behind, launches that wait, jobs of several nodes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sqlalchemy import update

from scheduler.clusters.executor import ContainerRun, Observation, Phase, Reason
from scheduler.clusters.fake import FakeRun
from scheduler.clusters.tables import Pool
from scheduler.cycle import run_cycle
from scheduler.jobs.tables import JobEvent, RunInterval
from tests.scheduler.furnishing import CREDIT
from tests.scheduler.yard import Yard

RATE = 2 * CREDIT
"""Of a small accelerator-hour."""
PULLING = Reason("IMAGE_NOT_FOUND", "the image x:1 cannot be pulled: not found")


@dataclass
class Telling:
    """The yard's cluster, whose lists say what the test wants."""

    yard: Yard
    said: list[Observation] = field(default_factory=list)

    async def observe(self) -> Sequence[Observation]:
        return self.said

    def __getattr__(self, name: str) -> object:
        return getattr(self.yard.cluster, name)

    async def cycle(self, *said: Observation, seconds: float = 1) -> None:
        self.said = list(said)
        self.yard.clock.advance(seconds=seconds)
        await run_cycle(self.yard.context(executors={"here": self}))


class TestListsThatLagBehind:
    async def test_a_launch_that_the_cluster_has_is_not_lost(self, yard: Yard) -> None:
        job_id = await yard.submit()
        await yard.cycle()
        telling = Telling(yard)
        await telling.cycle(seconds=16)
        assert (await yard.attempt(job_id)).state == "STARTING"
        assert yard.cluster.calls["knows"] == 1

    async def test_one_that_it_has_not_is_lost(self, yard: Yard) -> None:
        job_id = await yard.submit()
        await yard.cycle()
        (name,) = yard.cluster.names()
        yard.cluster.forget(name)
        await Telling(yard).cycle(seconds=16)
        assert ((await yard.job(job_id)).state, (await yard.job(job_id)).state_code) == ("FAILED", "LOST")


class TestWaitingLaunches:
    async def test_the_job_says_what_its_launch_waits_for_once(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(start_seconds=3600)
        job_id = await yard.submit()
        await yard.cycle()
        (starting,) = await yard.cluster.observe()
        telling = Telling(yard)
        await telling.cycle(replace(starting, reason=PULLING))
        for tries in range(2):
            await telling.cycle(replace(starting, reason=replace(PULLING, message=f"try {tries}")), seconds=5)
        job = await yard.job(job_id)
        assert (job.state, job.state_code, job.state_message) == ("STARTING", PULLING.code, PULLING.message)
        told = await yard.rows(JobEvent, JobEvent.code == PULLING.code)
        assert [(event.job_id, event.state, event.message) for event in told] == [(job_id, "STARTING", PULLING.message)]

    async def test_one_that_never_starts_ends_without_a_charge(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(start_seconds=3600)
        job_id = await yard.submit()
        await yard.cycle()
        (starting,) = await yard.cluster.observe()
        await Telling(yard).cycle(replace(starting, phase=Phase.ENDED, reason=PULLING))
        job = await yard.job(job_id)
        assert (job.state, job.state_code, job.captured, job.released) == ("FAILED", PULLING.code, 0, job.held)


class TestSeveralNodes:
    async def test_each_node_pays_for_its_own_interval(self, yard: Yard) -> None:
        async with yard.database.transaction() as session:
            await session.execute(update(Pool).where(Pool.name == "small").values(nodes=2))
        job_id = await yard.submit(yard.spec(nodes=2))
        await yard.cycle()
        (starting,) = await yard.cluster.observe()
        began = yard.clock.now()
        first = ContainerRun("uid-0", began)
        second = ContainerRun("uid-1", began + timedelta(seconds=10))
        running = replace(starting, phase=Phase.RUNNING, runs=(first, second))
        telling = Telling(yard)
        await telling.cycle(running, seconds=11)
        ends = (began + timedelta(seconds=100), began + timedelta(seconds=90))
        runs = tuple(replace(run, ended_at=at) for run, at in zip((first, second), ends, strict=True))
        await telling.cycle(replace(running, phase=Phase.ENDED, runs=runs, ended_at=ends[0], exit_code=1), seconds=100)
        job = await yard.job(job_id)
        assert (job.state, job.state_code, job.started_at, job.ended_at) == ("FAILED", "EXIT_CODE", began, ends[0])
        assert len(await yard.rows(RunInterval)) == 2
        assert job.captured == RATE * (100 + 80) // 3600
