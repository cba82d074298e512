"""Who is told that a job has ended: the person who submitted it, once, with what became of its hold."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from guildhall.clock import new_id
from guildhall.credits import format_credits
from guildhall.db.transaction import Database
from guildhall.inbox.tables import InboxEvent
from marketplace.ledger import Settlement
from scheduler.clusters.fake import FakeRun
from scheduler.jobs.tables import Job
from scheduler.jobs.telling import tell_ended
from tests.scheduler.yard import Yard
from tests.told import told


async def events(yard: Yard, job_id: UUID) -> dict[str, dict[str, Any]]:
    async with yard.database.read() as session:
        found = (await session.scalars(select(InboxEvent).where(InboxEvent.subject_id == job_id))).all()
    return {event.kind: event.facts for event in found}


async def inboxes(yard: Yard) -> list[tuple[str, list[str]]]:
    async with yard.database.read() as session:
        return await told(session, yard.people)


async def test_a_job_that_ran_is_told_with_what_it_cost_and_what_is_free_again(yard: Yard) -> None:
    yard.cluster.script = lambda _: FakeRun(start_seconds=30, run_seconds=900)
    yard.cluster.on_end = yard.succeed
    job_id = await yard.submit(yard.spec(walltime_seconds=1800))
    await yard.cycle(1)
    await yard.cycle(60)
    assert await inboxes(yard) == []
    await yard.cycle(900, times=2)
    job = await yard.job(job_id)
    assert (job.state, job.held, job.captured) == ("SUCCEEDED", 1_000_000, 500_000)
    assert await inboxes(yard) == [
        (f"Job {job.name} succeeded", ["anna"]),
        (f"0.5 credits of job {job.name} are free again", ["anna"]),
    ]
    facts = {
        "job": job.name,
        "state": "SUCCEEDED",
        "message": "the command ended well",
        "held": "1",
        "captured": "0.5",
        "released": "0.5",
    }
    assert await events(yard, job_id) == {"JOB_ENDED": facts, "HOLD_RELEASED": facts}
    await yard.assert_clean()


async def test_a_job_that_never_ran_is_told_too(yard: Yard) -> None:
    job_id = await yard.submit()
    await yard.cancel(job_id)
    job = await yard.job(job_id)
    assert [title for title, _ in await inboxes(yard)] == [
        f"Job {job.name} was cancelled",
        f"{format_credits(job.held)} credits of job {job.name} are free again",
    ]


class TestWhom:
    @pytest.fixture
    async def job(self, yard: Yard) -> Job:
        return await yard.job(await yard.submit())

    async def tell(self, database: Database, job: Job, **settled: int) -> None:
        figures = {"captured": 0, "released": job.held, "expired": 0, **settled}
        settlement = Settlement(hold_id=job.hold_id, **figures)
        async with database.transaction() as session:
            await tell_ended(session, [(job, settlement)], at=job.created_at, new_id=new_id)

    async def test_what_a_program_submitted_is_in_nobody_s_inbox(self, yard: Yard, job: Job) -> None:
        async with yard.database.transaction() as session:
            await session.execute(update(Job).where(Job.id == job.id).values(created_by_kind="SERVICE_ACCOUNT"))
        await self.tell(yard.database, await yard.job(job.id))
        assert [people for _, people in await inboxes(yard)] == [[], []]

    async def test_of_a_hold_that_is_used_up_or_came_too_late_nothing_is_free(self, yard: Yard, job: Job) -> None:
        await self.tell(yard.database, job, captured=job.held - 5, released=5, expired=5)
        assert set(await events(yard, job.id)) == {"JOB_ENDED"}
