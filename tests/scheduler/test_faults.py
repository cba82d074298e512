"""A worker that dies at any step, and another that goes on: one launch, one charge, nothing left behind."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from marketplace.tables import HoldResolution, Transfer
from scheduler.clusters.fake import FakeRun
from scheduler.context import FAULT_POINTS
from scheduler.cycle import run_cycle
from tests.scheduler.furnishing import CREDIT
from tests.scheduler.yard import Yard


class Killed(BaseException):
    """No handler of the product's may catch it, as none catches SIGKILL."""


@dataclass
class Killer:
    """Kills a worker at one point, the nth time that it comes by."""

    point: str
    after: int = 1
    seen: int = field(default=0)

    def __call__(self, point: str) -> None:
        assert point in FAULT_POINTS
        if point == self.point:
            self.seen += 1
            if self.seen == self.after:
                raise Killed(point)


@dataclass
class Story:
    """How a job comes past a fault point, and how it ends all the same."""

    run: FakeRun
    state: str
    captured: int
    cancel_after: float | None = None
    expires: bool = False


RAN_60 = round(2 * CREDIT * 60 / 3600)
SUCCESS = Story(FakeRun(run_seconds=60), "SUCCEEDED", RAN_60)
TIMED_OUT = Story(FakeRun(run_seconds=5000, stop_seconds=1), "TIMED_OUT", 2 * CREDIT * 600 // 3600)
CANCELLED = Story(FakeRun(run_seconds=500, stop_seconds=1), "CANCELLED", -1, cancel_after=30)
EXPIRED = Story(FakeRun(), "EXPIRED", 0, expires=True)

STORIES = {
    **dict.fromkeys(FAULT_POINTS, SUCCESS),
    "overdue.recorded": TIMED_OUT,
    "stop.leased": CANCELLED,
    "stop.asked": CANCELLED,
    "stop.recorded": CANCELLED,
    "expire.committed": EXPIRED,
}


async def drive(yard: Yard, job_id: UUID, story: Story, reach: Callable[[str], None]) -> int:
    """Cycles until the job has ended and is forgotten; a killed worker is followed by another. How many died."""
    deaths = 0
    cancelled = False
    elapsed = 0.0
    for number in range(400):
        context = yard.context(f"worker-{deaths}", reach=reach)
        try:
            await run_cycle(context)
        except Killed:
            deaths += 1
        if story.cancel_after is not None and elapsed >= story.cancel_after and not cancelled:
            await yard.cancel(job_id)
            cancelled = True
        job = await yard.job(job_id)
        if job.settled_at is not None and not yard.cluster.names() and number > 3:
            break
        yard.clock.advance(seconds=10)
        elapsed += 10
    # Leases of the dead run out.
    for _ in range(3):
        yard.clock.advance(seconds=40)
        await run_cycle(yard.context("the last"))
    return deaths


class TestDeathOfAWorker:
    @pytest.mark.parametrize("point", FAULT_POINTS)
    async def test_at_each_step(self, yard: Yard, point: str) -> None:
        story = STORIES[point]
        yard.cluster.script = lambda _: story.run
        yard.cluster.on_end = yard.succeed
        blocker = None
        if story.expires:
            # Something else has the pool until after the latest start.
            yard.cluster.script = lambda launch: FakeRun(run_seconds=400) if launch.job_id == blocker else story.run
            blocker = await yard.submit(yard.spec("blocker", accelerator_count=2))
            await yard.cycle()
            start_by = yard.clock.now() + timedelta(minutes=3)
            job_id = await yard.submit(yard.spec(start_by=start_by))
        else:
            job_id = await yard.submit()
        killer = Killer(point)
        deaths = await drive(yard, job_id, story, killer)
        assert deaths == 1, f"no worker came past {point}"
        job = await yard.job(job_id)
        assert job.state == story.state
        if story.captured >= 0:
            assert job.captured == story.captured
        else:
            assert 0 < job.captured < job.held
        assert all(count == 1 for count in yard.cluster.starts.values())
        if not story.expires:
            assert len(yard.cluster.starts) == 1
        await self.assert_charged_once(yard, job_id)
        await yard.assert_clean()

    async def test_at_every_step_in_one_life(self, yard: Yard) -> None:
        """Each step kills the worker that comes past it first: the job still goes its way."""
        yard.cluster.on_end = yard.succeed
        killers = {point: Killer(point) for point in FAULT_POINTS}

        def reach(point: str) -> None:
            killers[point](point)

        job_id = await yard.submit()
        deaths = await drive(yard, job_id, SUCCESS, reach)
        hit = {point for point, killer in killers.items() if killer.seen}
        assert deaths == len(hit)
        missed = {point for point in FAULT_POINTS if STORIES[point] is SUCCESS} - hit
        # After a death between launch and record the watcher records; a removal that was done is not done again.
        assert missed == {"launch.recorded", "remove.recorded"}
        assert (await yard.job(job_id)).captured == RAN_60
        assert list(yard.cluster.starts.values()) == [1]
        await self.assert_charged_once(yard, job_id)
        await yard.assert_clean()

    @staticmethod
    async def assert_charged_once(yard: Yard, job_id: UUID) -> None:
        job = await yard.job(job_id)
        async with yard.database.read() as session:
            captures = (
                await session.scalars(select(Transfer).where(Transfer.job_id == job_id, Transfer.kind == "CAPTURE"))
            ).all()
        assert sum(transfer.credits for transfer in captures) == job.captured
        assert len(captures) == (1 if job.captured else 0)
        assert len(await yard.rows(HoldResolution, HoldResolution.hold_id == job.hold_id)) == 1
