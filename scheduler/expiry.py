"""What time ends: jobs that were not started by their latest start, and allocations whose time is over."""

from datetime import datetime

from sqlalchemy import select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import WriteSession
from marketplace import ledger
from marketplace.following import wallet_changed
from scheduler.apply import SETTLE
from scheduler.clusters.executor import Reason
from scheduler.context import SchedulerContext
from scheduler.jobs.moving import move
from scheduler.jobs.outcome import NOT_STARTED_IN_TIME
from scheduler.jobs.states import JobState
from scheduler.jobs.tables import Job
from scheduler.launching import retire_launches

EXPIRED_JOBS_MAX = 500
ALLOCATIONS_MAX = ledger.EXPIRED_ALLOCATIONS_MAX


async def expire_unstarted(context: SchedulerContext) -> None:
    """Void what still waits at its latest start; each in a transaction of its own."""
    at = context.clock.now()
    statement = (
        select(Job.id)
        .where(Job.state == JobState.QUEUED, Job.start_by <= at)
        .order_by(Job.start_by, Job.id)
        .limit(EXPIRED_JOBS_MAX)
    )
    async with context.database.read() as session:
        ids = (await session.scalars(statement)).all()
    for job_id in ids:
        async with context.database.transaction() as session:
            (job,) = await lock_rows(session, Job, [job_id])
            if job.state != JobState.QUEUED:
                continue
            message = f"could not be started by {job.start_by:%Y-%m-%d %H:%M} UTC: it {job.state_message}"
            reason = Reason(NOT_STARTED_IN_TIME, message)
            await end_unstarted(session, context.actor, job, JobState.EXPIRED, reason, at=at, new_id=context.new_id)
        context.reach("expire.committed")


async def expire_allocations(context: SchedulerContext) -> None:
    """Expire what is left in allocations that have ended: at most one batch a cycle."""
    async with context.database.transaction() as session:
        await ledger.expire_allocations(session, at=context.clock.now(), limit=ALLOCATIONS_MAX, new_id=context.new_id)


async def end_unstarted(
    session: WriteSession,
    actor: Actor,
    job: Job,
    state: JobState,
    reason: Reason,
    *,
    action: str = SETTLE,
    at: datetime,
    new_id: IdSource,
) -> None:
    """End a locked job of the queue: its hold is void, its launch will never be."""
    assert job.state == JobState.QUEUED, "only what waits ends unstarted"
    await retire_launches(session, [job], at=at)
    job.ended_at = at
    job.settled_at = at
    await move(session, job, state, reason, at=at, new_id=new_id)
    await record(
        session,
        actor,
        action=action,
        resources=[ResourceRef("Job", job.id)],
        team_id=job.team_id,
        justification=reason.message if action != SETTLE else None,
        after={"state": state, "captured": "0"},
        at=at,
        new_id=new_id,
    )
    wallet_changed(session, job.team_id)
    settled = await ledger.void_hold(
        session, hold_id=job.hold_id, at=at, key=f"settle {job.id}", reason=f"Not run: {reason.code}.", new_id=new_id
    )
    job.captured, job.released = settled.captured, settled.released
    await session.flush()
