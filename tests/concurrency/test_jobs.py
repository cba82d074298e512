"""Workers and callers at the same jobs at once: stalled, doubled, interleaved. They do no harm."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from guildhall.clock import SimulatedClock
from guildhall.db.transaction import Database
from guildhall.settings import Settings
from marketplace.tables import Hold, Quote
from scheduler.clusters.executor import Launch, Observation
from scheduler.clusters.fake import FakeRun
from scheduler.clusters.tables import Cluster, SlotUse
from scheduler.cycle import run_cycle
from scheduler.jobs.tables import Attempt, Job, JobEvent
from tests.scheduler.yard import Yard

WORKERS = 3
CALLERS = 30


@pytest.fixture
async def yard(fresh_database: Database, clock: SimulatedClock, settings: Settings) -> Yard:
    return await Yard(fresh_database, clock, settings).build()


class Stalling:
    """The yard's cluster as seen by one worker that is held up: in its list, or in its launch."""

    def __init__(self, yard: Yard, *, where: str) -> None:
        self.cluster = yard.cluster
        self.where = where
        self.arrived = asyncio.Event()
        self.released = asyncio.Event()

    async def observe(self) -> Sequence[Observation]:
        found = await self.cluster.observe()
        await self._stall("observe")
        return found

    async def launch(self, launch: Launch) -> None:
        await self._stall("launch")
        await self.cluster.launch(launch)

    def __getattr__(self, name: str) -> object:
        return getattr(self.cluster, name)

    async def _stall(self, where: str) -> None:
        if where == self.where and not self.arrived.is_set():
            self.arrived.set()
            await self.released.wait()


class TestAcceptance:
    async def test_one_quote_from_many_callers_is_one_job_and_one_hold(self, yard: Yard) -> None:
        quote = await yard.quote()
        jobs = await asyncio.gather(*(yard.accept(quote.id) for _ in range(CALLERS)))
        assert len(set(jobs)) == 1
        assert (await yard.count(Job), await yard.count(Hold), await yard.count(JobEvent)) == (1, 1, 1)
        (accepted,) = await yard.rows(Quote)
        assert accepted.job_id == jobs[0]

    async def test_many_quotes_of_one_wallet_never_overdraw_it(self, yard: Yard) -> None:
        quotes = [await yard.quote(yard.spec(f"job-{n}", walltime_seconds=8 * 3600)) for n in range(10)]
        held = quotes[0].hold
        async with yard.database.transaction() as session:
            # All but three holds' worth goes elsewhere after the quotes were made.
            await yard.drain(session, "maintenance", "zero", leave=3 * held)
        answers = await asyncio.gather(*(yard.accept(quote.id) for quote in quotes), return_exceptions=True)
        accepted = [answer for answer in answers if isinstance(answer, UUID)]
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert len(accepted) == 3
        assert {type(error).__name__ for error in refused} == {"InsufficientCredits"}
        assert await yard.count(Job) == 3
        await yard.assert_balanced()


class TestCancellation:
    async def test_many_cancel_while_workers_admit(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        jobs = [await yard.submit(yard.spec(f"job-{n}")) for n in range(6)]
        await asyncio.gather(
            *(yard.cancel(job_id) for job_id in jobs), *(run_cycle(yard.context(f"w{n}")) for n in range(WORKERS))
        )
        for _ in range(6):
            yard.clock.advance(seconds=20)
            await run_cycle(yard.context())
        assert {job.state for job in await yard.rows(Job)} == {"CANCELLED"}
        await yard.assert_clean()


class TestManyWorkers:
    async def test_rivals_in_every_cycle_launch_once_and_charge_once(self, yard: Yard) -> None:
        yard.cluster.on_end = yard.succeed
        yard.cluster.script = lambda launch: FakeRun(run_seconds=20 + launch.job_id.int % 60)
        jobs = [await yard.submit(yard.spec(f"job-{n}", accelerator_count=1 + n % 2)) for n in range(12)]
        for _ in range(60):
            await asyncio.gather(*(run_cycle(yard.context(f"worker-{number}")) for number in range(WORKERS)))
            yard.clock.advance(seconds=15)
            if not await yard.rows(Job, Job.settled_at.is_(None)):
                break
        yard.clock.advance(seconds=60)
        await run_cycle(yard.context())
        assert {job.state for job in await yard.rows(Job)} == {"SUCCEEDED"}
        assert sorted(yard.cluster.starts.values()) == [1] * len(jobs)
        assert 0 < yard.cluster.slots_in_use_max["small"] <= 2
        await yard.assert_clean()

    async def test_an_accelerator_is_never_given_out_twice_whoever_believes_so(self, yard: Yard) -> None:
        first = await yard.submit(yard.spec(accelerator_count=2))
        second = await yard.submit(yard.spec())
        await run_cycle(yard.context())
        attempt = await yard.attempt(first)
        with pytest.raises(IntegrityError):
            async with yard.database.transaction() as session:
                session.add(SlotUse(pool_id=attempt.pool_id, slot=0, attempt_id=attempt.id))
        assert (await yard.job(second)).state == "QUEUED"
        assert len(await yard.rows(SlotUse)) == 2


class TestStalledWorker:
    async def test_a_list_that_comes_late_is_dropped(self, yard: Yard) -> None:
        """It says RUNNING of what a rival has seen ended, settled and removed meanwhile."""
        yard.cluster.on_end = yard.succeed
        job_id = await yard.submit()
        await run_cycle(yard.context())
        yard.clock.advance(seconds=10)
        stalling = Stalling(yard, where="observe")
        stalled = asyncio.create_task(run_cycle(yard.context("stalled", executors={"here": stalling})))
        await stalling.arrived.wait()
        yard.clock.advance(seconds=100)  # beyond the lease
        await run_cycle(yard.context("rival"))
        ended = await yard.job(job_id)
        assert ended.state == "SUCCEEDED"
        stalling.released.set()
        await stalled
        job = await yard.job(job_id)
        assert (job.state, job.captured, job.settled_at) == ("SUCCEEDED", ended.captured, ended.settled_at)
        await yard.assert_clean()

    async def test_a_list_from_before_a_launch_loses_nobody(self, yard: Yard) -> None:
        stalling = Stalling(yard, where="observe")
        stalled = asyncio.create_task(run_cycle(yard.context("stalled", executors={"here": stalling})))
        await stalling.arrived.wait()
        job_id = await yard.submit()
        await run_cycle(yard.context("rival"))
        assert (await yard.job(job_id)).state == "STARTING"
        stalling.released.set()
        await stalled
        assert (await yard.job(job_id)).state == "STARTING"
        assert (await yard.attempt(job_id)).state == "STARTING"

    async def test_a_launch_sent_twice_starts_once(self, yard: Yard) -> None:
        yard.cluster.on_end = yard.succeed
        job_id = await yard.submit()
        stalling = Stalling(yard, where="launch")
        stalled = asyncio.create_task(run_cycle(yard.context("stalled", executors={"here": stalling})))
        await stalling.arrived.wait()
        yard.clock.advance(seconds=40)
        await run_cycle(yard.context("rival"))
        assert (await yard.job(job_id)).state == "STARTING"
        stalling.released.set()
        await stalled
        assert list(yard.cluster.starts.values()) == [1]
        await yard.cycle(100)
        assert (await yard.job(job_id)).state == "SUCCEEDED"
        await yard.assert_clean()

    async def test_a_launch_that_comes_after_the_end_is_ended_and_costs_nothing(self, yard: Yard) -> None:
        yard.cluster.on_end = yard.succeed
        job_id = await yard.submit()
        stalling = Stalling(yard, where="launch")
        stalled = asyncio.create_task(run_cycle(yard.context("stalled", executors={"here": stalling})))
        await stalling.arrived.wait()
        yard.clock.advance(seconds=40)
        await run_cycle(yard.context("rival"))
        yard.clock.advance(seconds=70)
        await run_cycle(yard.context("rival"))
        ended = await yard.job(job_id)
        assert ended.state == "SUCCEEDED"
        stalling.released.set()
        await stalled
        assert yard.cluster.names() != set()
        await yard.cycle(30, times=3)
        job = await yard.job(job_id)
        assert (job.captured, job.settled_at) == (ended.captured, ended.settled_at)
        await yard.assert_clean()

    async def test_a_lease_taken_over_is_not_given_back_by_the_first(self, yard: Yard) -> None:
        job_id = await yard.submit()
        await run_cycle(yard.context())
        stalling = Stalling(yard, where="observe")
        stalled = asyncio.create_task(run_cycle(yard.context("stalled", executors={"here": stalling})))
        await stalling.arrived.wait()
        yard.clock.advance(seconds=60)
        second = Stalling(yard, where="observe")
        rival = asyncio.create_task(run_cycle(yard.context("rival", executors={"here": second})))
        await second.arrived.wait()
        stalling.released.set()
        await stalled
        from_rival = (await yard.rows(Cluster))[0]
        assert from_rival.lease_owner == "rival"
        second.released.set()
        await rival
        assert (await yard.rows(Cluster))[0].lease_owner is None
        assert (await yard.attempt(job_id)).state == "ENDED"


class TestService:
    async def test_what_happened_and_what_was_billed_cannot_be_changed(self, yard: Yard) -> None:
        await yard.submit()
        before = await yard.count(JobEvent)
        with pytest.raises(Exception, match=r"permission denied|are a record"):
            async with yard.database.transaction() as session:
                await session.execute(delete(JobEvent))
        assert await yard.count(JobEvent) == before
        assert await yard.count(Attempt) == 0
