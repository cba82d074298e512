"""The one way to change a job's state: a legal move, with its reason, as a row of the job's events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.clock import IdSource
from scheduler.clusters.executor import Reason
from scheduler.jobs.following import job_changed
from scheduler.jobs.states import LEGAL_MOVES, JobState
from scheduler.jobs.tables import Job, JobEvent

MESSAGE_CHARACTERS_MAX = 1_000

JobEventValues = dict[str, Any]
"""The columns of one row of the job's record."""


async def move(
    session: AsyncSession,
    job: Job,
    to: JobState,
    reason: Reason,
    *,
    attempt_id: UUID | None = None,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Move a locked job on; an illegal move is a programmer's mistake. What it waited for is forgotten."""
    await add_job_events(session, [moved(job, to, reason, attempt_id=attempt_id, at=at, new_id=new_id)])


async def tell(
    session: AsyncSession,
    job: Job,
    reason: Reason,
    *,
    attempt_id: UUID | None = None,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Add an event to the job's record that is no move, but worth knowing."""
    await add_job_events(session, [told(job, reason, attempt_id=attempt_id, at=at, new_id=new_id)])


def moved(
    job: Job, to: JobState, reason: Reason, *, attempt_id: UUID | None = None, at: datetime, new_id: IdSource
) -> JobEventValues:
    """As `move`, for many jobs in one transaction: returns the event, which `add_job_events` writes with the others."""
    came_from = JobState(job.state)
    assert to in LEGAL_MOVES[came_from], f"a job does not go from {came_from} to {to}"
    job.state = to.value
    job.state_code = reason.code
    job.state_message = reason.message[:MESSAGE_CHARACTERS_MAX]
    job.waiting_until = None
    return _event(job, reason, came_from=came_from, attempt_id=attempt_id, at=at, new_id=new_id)


def told(job: Job, reason: Reason, *, attempt_id: UUID | None = None, at: datetime, new_id: IdSource) -> JobEventValues:
    """As `tell`, for many jobs in one transaction: returns the event, which `add_job_events` writes with the others."""
    return _event(job, reason, came_from=None, attempt_id=attempt_id, at=at, new_id=new_id)


async def add_job_events(session: AsyncSession, events: Sequence[JobEventValues]) -> None:
    """Write the changed jobs and their events, in one INSERT, and tell their followers."""
    await session.flush()
    if events:
        await session.execute(insert(JobEvent), events)
    for job_id in dict.fromkeys(event["job_id"] for event in events):
        job_changed(session, job_id)


def _event(
    job: Job,
    reason: Reason,
    *,
    came_from: JobState | None,
    attempt_id: UUID | None,
    at: datetime,
    new_id: IdSource,
) -> JobEventValues:
    return {
        "id": new_id(),
        "job_id": job.id,
        "attempt_id": attempt_id,
        "occurred_at": at,
        "from_state": came_from,
        "state": job.state,
        "code": reason.code,
        "message": reason.message[:MESSAGE_CHARACTERS_MAX],
    }
