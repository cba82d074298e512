"""Running jobs whose access ends: stopped or flagged, as the data set's policy says; others are left alone."""

from uuid import UUID

import pytest
from sqlalchemy import select, update

from registry.access.tables import AccessGrant
from registry.datasets.tables import Dataset
from scheduler.jobs.tables import InputOpening, JobEvent
from tests.scheduler.yard import Yard


@pytest.fixture
async def running(yard: Yard) -> UUID:
    """A job that has staged its input under the grant that is there."""
    grant_id = await yard.grant()
    job_id = await yard.submit(yard.spec(inputs=(yard.digits(),)))
    await yard.cycle(times=3)
    attempt = await yard.attempt(job_id)
    async with yard.database.transaction() as session:
        session.add(InputOpening(attempt_id=attempt.id, index=0, opened_at=yard.clock.now(), access_grant_id=grant_id))
    return job_id


async def withdraw(yard: Yard) -> None:
    values = {"withdrawn_at": yard.clock.now(), "withdrawn_by": yard.people["anna"], "withdrawal_reason": "A leak."}
    async with yard.database.transaction() as session:
        await session.execute(update(AccessGrant).values(values))


async def told(yard: Yard, job_id: UUID) -> list[JobEvent]:
    async with yard.database.read() as session:
        statement = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.code == "ACCESS_ENDED")
        return list(await session.scalars(statement))


class TestRunning:
    async def test_is_told_to_stop_and_why(self, yard: Yard, running: UUID) -> None:
        await withdraw(yard)
        await yard.cycle()
        (event,) = await told(yard, running)
        assert event.state == "STOPPING"
        assert "was withdrawn" in event.message
        job = await yard.job(running)
        assert (job.stop_code, job.state_code) == ("ACCESS_ENDED", "ACCESS_ENDED")
        await yard.cycle(60, times=3)
        assert (await yard.job(running)).state == "FAILED"

    async def test_is_flagged_once_where_the_policy_says_so(self, yard: Yard, running: UUID) -> None:
        async with yard.database.transaction() as session:
            await session.execute(update(Dataset).values(withdrawal_policy="FLAG"))
        await withdraw(yard)
        await yard.cycle(times=3)
        (event,) = await told(yard, running)
        assert (event.state, event.from_state) == ("RUNNING", None)
        job = await yard.job(running)
        assert (job.state, job.state_code, job.stop_code) == ("RUNNING", "ACCESS_ENDED", None)
        flagged = [
            event for event in await yard.events("scheduler:job:settle") if event.after == {"flagged": "ACCESS_ENDED"}
        ]
        assert len(flagged) == 1

    async def test_goes_on_under_another_grant(self, yard: Yard, running: UUID) -> None:
        await withdraw(yard)
        await yard.grant()
        await yard.cycle(times=2)
        assert await told(yard, running) == []
        assert (await yard.job(running)).state == "RUNNING"


class TestQueued:
    async def test_waits_and_says_why(self, yard: Yard) -> None:
        await yard.grant()
        job_id = await yard.submit(yard.spec(inputs=(yard.digits(),)))
        await withdraw(yard)
        await yard.cycle(times=2)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("QUEUED", "ACCESS_ENDED")
        assert "was withdrawn" in job.state_message
