"""The one way to change a job's state: a legal move, with its reason, as a row of the job's events."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.clock import IdSource
from scheduler.clusters.executor import Reason
from scheduler.jobs.states import LEGAL_MOVES, JobState
from scheduler.jobs.tables import Job, JobEvent

MESSAGE_CHARACTERS_MAX = 1_000


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
    came_from = JobState(job.state)
    assert to in LEGAL_MOVES[came_from], f"a job does not go from {came_from} to {to}"
    job.state = to.value
    job.state_code = reason.code
    job.state_message = reason.message[:MESSAGE_CHARACTERS_MAX]
    job.waiting_until = None
    await tell(session, job, reason, came_from=came_from, attempt_id=attempt_id, at=at, new_id=new_id)


async def tell(
    session: AsyncSession,
    job: Job,
    reason: Reason,
    *,
    came_from: JobState | None = None,
    attempt_id: UUID | None = None,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Add an event to the job's record: the move that was just made, or something else worth knowing."""
    await session.flush()
    event = {
        "id": new_id(),
        "job_id": job.id,
        "attempt_id": attempt_id,
        "occurred_at": at,
        "from_state": came_from,
        "state": job.state,
        "code": reason.code,
        "message": reason.message[:MESSAGE_CHARACTERS_MAX],
    }
    await session.execute(insert(JobEvent).values(event))
