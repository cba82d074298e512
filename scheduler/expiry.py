"""What time ends: jobs that were not started by their latest start, and allocations whose time is over."""

from datetime import datetime

from sqlalchemy import delete, or_, select, update

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.among import among
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import WriteSession
from guildhall.outbox.tables import OutboxRow
from marketplace import ledger
from marketplace.following import wallet_changed
from scheduler.apply import SETTLE
from scheduler.clusters.executor import Reason
from scheduler.clusters.tables import SlotUse
from scheduler.context import SchedulerContext
from scheduler.jobs.moving import move
from scheduler.jobs.outcome import NOT_STARTED_IN_TIME
from scheduler.jobs.states import AttemptState, JobState
from scheduler.jobs.tables import Attempt, Job
from scheduler.jobs.telling import tell_ended
from scheduler.launching import retire_launches

EXPIRED_JOBS_MAX = 500
ALLOCATIONS_MAX = ledger.EXPIRED_ALLOCATIONS_MAX
NEVER_BEGUN = (OutboxRow.attempts == 0) & OutboxRow.lease_token.is_(None) & OutboxRow.done_at.is_(None)
"""Of a launch: nobody has ever claimed it, or whoever did put it back before the cluster was asked."""


async def expire_unstarted(context: SchedulerContext) -> None:
    """Void what still waits at its latest start; each in a transaction of its own."""
    at = context.clock.now()
    statement = (
        select(Job.id)
        .join(OutboxRow, OutboxRow.id == Job.launch_outbox_id)
        .where(Job.start_by <= at)
        .where(or_(Job.state == JobState.QUEUED, (Job.state == JobState.ADMITTED) & NEVER_BEGUN))
        .order_by(Job.start_by, Job.id)
        .limit(EXPIRED_JOBS_MAX)
    )
    async with context.database.read() as session:
        ids = (await session.scalars(statement)).all()
    for job_id in ids:
        async with context.database.transaction() as session:
            (job,) = await lock_rows(session, Job, [job_id])
            if not await may_end_unstarted(session, job):
                continue
            message = f"could not be started by {job.start_by:%Y-%m-%d %H:%M} UTC: it {job.state_message}"
            reason = Reason(NOT_STARTED_IN_TIME, message)
            await end_unstarted(session, context.actor, job, JobState.EXPIRED, reason, at=at, new_id=context.new_id)
        context.reach("expire.committed")


async def expire_allocations(context: SchedulerContext) -> None:
    """Expire what is left in allocations that have ended: at most one batch a cycle."""
    async with context.database.transaction() as session:
        await ledger.expire_allocations(session, at=context.clock.now(), limit=ALLOCATIONS_MAX, new_id=context.new_id)


async def may_end_unstarted(session: WriteSession, job: Job) -> bool:
    """Whether no cluster can have the locked job: it waits, or nobody has begun its launch, and now nobody will."""
    if job.state != JobState.ADMITTED:
        return job.state == JobState.QUEUED
    launch = select(OutboxRow.id).where(OutboxRow.id == job.launch_outbox_id, NEVER_BEGUN)
    return await session.scalar(launch.with_for_update(key_share=True)) is not None


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
    """End a locked job that `may_end_unstarted`: its hold is void, its launch will never be."""
    if job.state == JobState.ADMITTED:
        ours = await session.scalars(
            update(Attempt)
            .where(Attempt.job_id == job.id, Attempt.state == AttemptState.ADMITTED)
            .values(
                state=AttemptState.REFUSED,
                exit_reason_code=reason.code,
                exit_reason_message=reason.message,
                ended_at=at,
                removed_at=at,
            )
            .returning(Attempt.id)
            .execution_options(synchronize_session=False)
        )
        await session.execute(delete(SlotUse).where(among(SlotUse.attempt_id, ours)))
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
    await tell_ended(session, [(job, settled)], at=at, new_id=new_id)
