"""Days of load in simulated time: the real cycle on a real database, a fake cluster with all that goes wrong."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from guildhall.clock import SimulatedClock
from guildhall.db.transaction import Database
from guildhall.settings import Settings
from marketplace.ledger_refusals import InsufficientCredits
from scheduler.clusters.executor import Launch, LaunchRefused
from scheduler.clusters.fake import FakeRun
from scheduler.clusters.tables import Pool
from scheduler.cycle import run_cycle
from scheduler.jobs.states import ENDED_STATES
from scheduler.jobs.tables import Job, JobEvent, RunInterval
from tests.scheduler.furnishing import CREDIT
from tests.scheduler.yard import Yard

STEP_SECONDS = 300
SLOTS = {"small": 2, "big": 4}


class Load:
    """Draws jobs, what they do and when somebody changes their mind; the same seed, the same days."""

    def __init__(self, seed: int, *, jobs: int, hours: float) -> None:
        self.chance = random.Random(seed)
        seconds = sorted(self.chance.uniform(0, hours * 3600) for _ in range(jobs))
        self.arrivals = [(second, f"job-{number}") for number, second in enumerate(seconds)]
        self.runs: dict[UUID, FakeRun] = {}

    def spec(self, yard: Yard, name: str) -> Any:
        big = self.chance.random() < 0.5
        return yard.spec(
            name,
            accelerator="h100" if big else "l4",
            accelerator_count=self.chance.randint(1, 4 if big else 2),
            walltime_seconds=self.chance.choice([300, 1200, 3600, 3 * 3600]),
            start_by=yard.clock.now() + timedelta(hours=self.chance.choice([1, 6, 24])),
        )

    def run(self, launch: Launch) -> FakeRun:
        """Most succeed early, some fail, overrun, get lost or never start."""
        drawn, share = self.chance.random(), self.chance.uniform(0.05, 0.9)
        start, stop = self.chance.uniform(0, 200), self.chance.uniform(0, 9)
        usual = FakeRun(start_seconds=start, stop_seconds=stop)
        seconds = launch.walltime_seconds * share
        if drawn < 0.65:
            return replace(usual, run_seconds=seconds)
        if drawn < 0.75:
            return replace(usual, run_seconds=seconds, exit_code=1)
        if drawn < 0.85:
            return replace(usual, run_seconds=launch.walltime_seconds * 2)
        if drawn < 0.93:
            return replace(usual, run_seconds=seconds, lost_after_seconds=seconds / 2)
        return FakeRun(refusal=LaunchRefused("IMAGE_NOT_FOUND", "there is no such image"))


async def live(yard: Yard, load: Load) -> None:
    """Submit, cancel, cycle, until all has ended."""
    began = yard.clock.now()
    arrivals = iter(load.arrivals)
    waiting = next(arrivals, None)
    for _ in range(10_000):
        elapsed = (yard.clock.now() - began).total_seconds()
        while waiting is not None and waiting[0] <= elapsed:
            await _submit(yard, load, waiting[1])
            waiting = next(arrivals, None)
        running = await yard.rows(Job, Job.settled_at.is_(None))
        if running and load.chance.random() < 0.05:
            await yard.cancel(load.chance.choice([job.id for job in running]), by="root")
        await run_cycle(yard.context())
        if waiting is None and not running and not yard.cluster.names():
            return
        yard.clock.advance(seconds=STEP_SECONDS)
    raise AssertionError("the simulation did not come to an end")


async def _submit(yard: Yard, load: Load, name: str) -> None:
    team = load.chance.choice(["maintenance", "quality"])
    by = {"maintenance": "anna", "quality": "quinn"}[team]
    spec = load.spec(yard, name)
    if team == "quality":
        spec = yard.spec_without_package(spec)
    try:
        await yard.submit(spec, by=by, team=team, programme=load.chance.choice(["zero", "later"]))
    except InsufficientCredits:
        return


def overlaps(intervals: list[tuple[datetime, datetime, int]]) -> Iterator[int]:
    """How many accelerators were in use at each moment at which one more was taken."""
    for start, _, _ in intervals:
        yield sum(slots for begin, end, slots in intervals if begin <= start < end)


async def assert_all_is_well(yard: Yard, *, jobs: int) -> None:
    rows = await yard.rows(Job)
    assert len(rows) == jobs
    assert {job.state for job in rows} <= set(ENDED_STATES)
    await yard.assert_clean()
    assert all(count == 1 for count in yard.cluster.starts.values())
    used = yard.cluster.slots_in_use_max
    assert all(0 < used[pool] <= slots for pool, slots in SLOTS.items())
    by_attempt = {launch.attempt_id: launch for launch in yard.cluster.launches.values()}
    intervals = [row for row in await yard.rows(RunInterval) if row.ended_at > row.started_at]
    for pool in await yard.rows(Pool):
        spans = [
            (row.started_at, row.ended_at, by_attempt[row.attempt_id].accelerator_slots)
            for row in intervals
            if by_attempt[row.attempt_id].pool == pool.name
        ]
        assert max(overlaps(spans)) <= pool.slots
    for job in rows:
        assert 0 <= job.captured <= job.held
        assert job.started_at is not None or job.captured == 0
    events = await yard.rows(JobEvent)
    assert {event.job_id for event in events} == {job.id for job in rows}
    assert all(event.message and event.code for event in events)


async def simulate(database: Database, clock: SimulatedClock, settings: Settings, load: Load) -> Yard:
    yard = await Yard(database, clock, settings).build(credits=2_000 * CREDIT)
    yard.cluster.script = load.run
    yard.cluster.on_end = yard.succeed
    await live(yard, load)
    return yard


class TestDaysOfLoad:
    async def test_a_busy_day(self, fresh_database: Database, clock: SimulatedClock, settings: Settings) -> None:
        yard = await simulate(fresh_database, clock, settings, Load(11, jobs=50, hours=6))
        await assert_all_is_well(yard, jobs=await yard.count(Job))
        states = [job.state for job in await yard.rows(Job)]
        assert len(states) == 50
        assert {"SUCCEEDED", "FAILED", "TIMED_OUT", "CANCELLED"} <= set(states)
        # Somebody waited and was told so.
        codes = {event.code for event in await yard.rows(JobEvent)}
        assert {"WAITING_FOR_CAPACITY", "WAITING_FOR_TURN"} <= codes

    @pytest.mark.long
    @pytest.mark.parametrize("seed", range(5))
    async def test_a_week(self, fresh_database: Database, clock: SimulatedClock, settings: Settings, seed: int) -> None:
        yard = await simulate(fresh_database, clock, settings, Load(seed, jobs=400, hours=7 * 24))
        await assert_all_is_well(yard, jobs=await yard.count(Job))
