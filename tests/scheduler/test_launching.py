"""Launches that go wrong other than by a death: refused, doubled, raced by a cancellation, of another worker."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text, update

from guildhall.db.locks import lock_rows
from guildhall.outbox.tables import OutboxRow
from scheduler.clusters.executor import ClusterAway, Launch, LaunchConflict, Observation
from scheduler.clusters.fake import FakeRun
from scheduler.clusters.tables import Cluster
from scheduler.context import SchedulerContext
from scheduler.cycle import run_cycle
from scheduler.jobs.tables import Job
from scheduler.launching import hasten_launch, launch_admitted
from tests.scheduler.furnishing import CREDIT
from tests.scheduler.test_faults import Killed, Killer
from tests.scheduler.yard import Yard

POLLS_MAX = 1_000
POLL_SECONDS = 0.01


class Wrapped:
    """The yard's cluster, with something of its own."""

    def __init__(self, yard: Yard) -> None:
        self.cluster = yard.cluster

    def __getattr__(self, name: str) -> object:
        return getattr(self.cluster, name)


class Conflicting(Wrapped):
    async def launch(self, launch: Launch) -> None:
        raise LaunchConflict(launch.name, "0" * 64)


class Blind(Wrapped):
    """Its first list is from before the launch."""

    lists = 0

    async def observe(self) -> Sequence[Observation]:
        self.lists += 1
        return [] if self.lists == 1 else await self.cluster.observe()


class Slow(Wrapped):
    """Holds its launch until it is told to go on."""

    def __init__(self, yard: Yard) -> None:
        super().__init__(yard)
        self.arrived, self.released = asyncio.Event(), asyncio.Event()

    async def launch(self, launch: Launch) -> None:
        self.arrived.set()
        await self.released.wait()
        await self.cluster.launch(launch)


async def until_somebody_waits(yard: Yard) -> None:
    """Return when a transaction stands at a lock of another."""
    standing = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    for _ in range(POLLS_MAX):
        async with yard.database.read() as session:
            if await session.scalar(standing):
                return
        await asyncio.sleep(POLL_SECONDS)
    raise AssertionError("nobody waits")


class TestConflict:
    async def test_is_an_incident_and_costs_nothing(self, yard: Yard, caplog: pytest.LogCaptureFixture) -> None:
        job_id = await yard.submit()
        context = yard.context(executors={"here": Conflicting(yard)})
        await run_cycle(context)
        await run_cycle(context)
        job = await yard.job(job_id)
        assert (job.state, job.state_code, job.captured) == ("FAILED", "LAUNCH_CONFLICT", 0)
        assert "Incident: gh-" in caplog.text
        assert yard.cluster.calls["remove"] == 0  # what holds the name is not ours
        await yard.assert_clean()


class TestSlowPace:
    async def test_launches_at_once_what_fits_into_half_of_a_lease(self, yard: Yard) -> None:
        jobs = [await yard.submit() for _ in range(2)]
        async with yard.database.transaction() as session:
            await session.execute(update(Cluster).values(requests_per_second=1))
        yard.settings = replace(yard.settings, worker_lease_seconds=8)
        await run_cycle(yard.context())
        assert sorted([(await yard.job(job_id)).state for job_id in jobs]) == ["ADMITTED", "STARTING"]
        (waiting,) = [row for row in await yard.rows(OutboxRow) if row.done_at is None]
        assert (waiting.attempts, waiting.lease_token) == (0, None)
        await yard.cycle(5)
        assert sorted([(await yard.job(job_id)).state for job_id in jobs]) == ["RUNNING", "STARTING"]


class TestAnotherWorkersCluster:
    async def test_is_left_to_that_worker(self, yard: Yard) -> None:
        job_id = await yard.submit()
        await run_cycle(yard.context("elsewhere", executors={"there": yard.cluster}))
        assert (await yard.job(job_id)).state == "ADMITTED"
        (row,) = await yard.rows(OutboxRow)
        assert (row.attempts, row.lease_token) == (0, None)
        await yard.cycle(5)
        assert (await yard.job(job_id)).state == "STARTING"

    async def test_nothing_is_launched_before_its_admission(self, yard: Yard) -> None:
        job_id = await yard.submit()
        yard.clock.advance(seconds=3 * 24 * 3600)  # the row comes due by itself, long after the latest start
        await launch_admitted(yard.context())
        assert yard.cluster.launches == {}
        (row,) = await yard.rows(OutboxRow)
        assert (row.attempts, row.done_at) == (0, None)
        await yard.cycle()
        assert (await yard.job(job_id)).state == "EXPIRED"
        await yard.assert_clean()


class TestCancellationMeanwhile:
    async def test_of_a_launch_that_is_under_way(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=500, stop_seconds=0)
        job_id = await yard.submit()
        slow = Slow(yard)
        launching = asyncio.create_task(run_cycle(yard.context(executors={"here": slow})))
        await slow.arrived.wait()
        await yard.cancel(job_id)
        slow.released.set()
        await launching
        assert (await yard.job(job_id)).state == "STOPPING"
        await yard.cycle(18)
        await yard.cycle(1)
        job = await yard.job(job_id)
        assert (job.state, job.captured) == ("CANCELLED", 2 * CREDIT * 18 // 3600)
        await yard.assert_clean()

    async def test_at_the_moment_at_which_the_launch_is_recorded(self, yard: Yard) -> None:
        """Both want the job and its row in the outbox; in two orders they would wait for each other."""
        job_id = await yard.submit()
        slow = Slow(yard)
        launching = asyncio.create_task(run_cycle(yard.context(executors={"here": slow})))
        await slow.arrived.wait()
        async with yard.database.transaction() as session:
            (job,) = await lock_rows(session, Job, [job_id])
            slow.released.set()
            await until_somebody_waits(yard)
            await hasten_launch(session, job, at=yard.clock.now())
        await launching
        assert (await yard.job(job_id)).state == "STARTING"

    async def test_after_a_launch_that_nobody_recorded(self, yard: Yard) -> None:
        """The worker died right after it, the job was cancelled, and the next worker's list is too old to show it."""
        yard.cluster.script = lambda _: FakeRun(run_seconds=500, stop_seconds=0)
        job_id = await yard.submit()
        with pytest.raises(Killed):
            await run_cycle(yard.context(reach=Killer("launch.launched")))
        await yard.cancel(job_id)
        yard.clock.advance(seconds=36)
        blind: SchedulerContext = yard.context("next", executors={"here": Blind(yard)})
        await run_cycle(blind)
        assert (await yard.attempt(job_id)).state == "STARTING"
        await yard.cycle(0, times=2)
        await yard.cycle(1)
        job = await yard.job(job_id)
        assert (job.state, job.captured) == ("CANCELLED", 2 * CREDIT * 36 // 3600)
        await yard.assert_clean()

    async def test_does_not_wait_for_the_next_try(self, yard: Yard) -> None:
        yard.cluster.deaf_to = frozenset({"launch"})
        job_id = await yard.submit()
        await yard.cycle(300, times=9)  # by now minutes lie between two tries
        yard.cluster.deaf_to = frozenset()
        await yard.cancel(job_id)
        await yard.cycle(1, times=2)
        assert (await yard.job(job_id)).state == "CANCELLED"
        assert yard.cluster.launches == {}
        await yard.assert_clean()

    async def test_waits_for_a_cluster_that_is_away(self, yard: Yard) -> None:
        yard.cluster.deaf_to = frozenset({"launch"})
        job_id = await yard.submit()
        await yard.cycle()
        yard.cluster.away = True
        await yard.cancel(job_id)
        await yard.cycle(2, times=2)
        assert (await yard.job(job_id)).state == "STOPPING"
        with pytest.raises(ClusterAway):
            await yard.cluster.observe()
        yard.cluster.away = False
        await yard.cycle(300, times=2)
        assert (await yard.job(job_id)).state == "CANCELLED"
        await yard.assert_clean()
