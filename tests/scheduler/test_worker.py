"""The worker as a task: it wakes when it is wanted, stops when it is told, and survives a cycle that fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import text

from guildhall.clock import SystemClock
from scheduler import worker as module
from scheduler.clusters.fake import FakeCluster, FakeRun
from scheduler.cycle import run_cycle
from scheduler.worker import anything_under_way, run_worker
from tests.scheduler.yard import Yard

PATIENCE_SECONDS = 120


@pytest.fixture
def live_yard(yard: Yard) -> Yard:
    """On the machine's clock, with a worker that would sleep for a minute if nobody woke it."""
    yard.clock = SystemClock()  # type: ignore[assignment]  # the yard only asks it for the time
    yard.cluster = FakeCluster(SystemClock(), script=lambda _: FakeRun(run_seconds=600))
    yard.settings = replace(yard.settings, worker_poll_milliseconds=60_000)
    return yard


@asynccontextmanager
async def working(yard: Yard) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(
        run_worker(yard.database, yard.settings, SystemClock(), {"kubernetes": yard.cluster}, stop)
    )
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE_SECONDS)


async def until_state(yard: Yard, job_id: UUID, state: str) -> None:
    async def reached() -> None:
        while (await yard.job(job_id)).state != state:
            await asyncio.sleep(0.02)

    await asyncio.wait_for(reached(), PATIENCE_SECONDS)


async def settled_in(yard: Yard) -> None:
    """The yard's allocations and prices began in simulated time, long past: make them hold now."""
    await yard.refresh_prices_and_credits()


class TestAnythingUnderWay:
    async def test_from_the_first_job_until_all_are_settled_and_forgotten(self, yard: Yard) -> None:
        assert not await anything_under_way(yard.database)
        job_id = await yard.submit()
        assert await anything_under_way(yard.database)
        await yard.cancel(job_id)
        await yard.cycle(60, times=3)
        assert (await yard.job(job_id)).settled_at is not None
        assert not await anything_under_way(yard.database)


class TestRunWorker:
    async def test_a_commit_wakes_it(self, live_yard: Yard) -> None:
        await settled_in(live_yard)
        async with working(live_yard):
            await asyncio.sleep(0.3)  # its first cycle is over, it sleeps
            job_id = await live_yard.submit()
            await until_state(live_yard, job_id, "STARTING")
            await live_yard.cancel(job_id)

    async def test_a_cycle_that_fails_is_followed_by_another(
        self, live_yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        await settled_in(live_yard)
        live_yard.settings = replace(live_yard.settings, worker_poll_milliseconds=20)
        failures = iter(range(3))

        async def sometimes(context: object) -> None:
            if next(failures, None) is not None:
                raise ConnectionError("the database restarts")
            await run_cycle(context)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "run_cycle", sometimes)
        job_id = await live_yard.submit()
        async with working(live_yard):
            await until_state(live_yard, job_id, "STARTING")
        assert caplog.text.count("A cycle of the scheduler failed") == 3

    async def test_it_survives_the_loss_of_its_connections(self, live_yard: Yard) -> None:
        await settled_in(live_yard)
        live_yard.settings = replace(live_yard.settings, worker_poll_milliseconds=20)
        async with working(live_yard):
            await asyncio.sleep(0.2)
            async with live_yard.database.read() as session:
                await session.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user"
                    )
                )
            job_id = await live_yard.submit()
            await until_state(live_yard, job_id, "STARTING")
