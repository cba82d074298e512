"""Writing what was planned: admissions, each in a transaction of its own, and what everyone else waits for."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.audit.tables import Outcome
from guildhall.auth.actor import system_actor
from guildhall.auth.resources import ResourceRef
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import WriteSession
from guildhall.outbox.tables import OutboxRow
from registry.access.reading import AccessRefused
from scheduler.capacity import free_slots, read_pools
from scheduler.clusters.executor import Reason
from scheduler.clusters.tables import Cluster, Pool, SlotUse
from scheduler.context import SchedulerContext
from scheduler.job_access import ACCESS_ENDED, refusal_of_job, submitter
from scheduler.jobs.following import job_changed
from scheduler.jobs.moving import move, tell
from scheduler.jobs.states import AttemptState, JobState
from scheduler.jobs.tables import Attempt, Job
from scheduler.plan import Decision, fit_now

SETTLE = "scheduler:job:settle"
PREDICTION_SECONDS_MIN = 30
"""A predicted start that moves by less is not written again."""


async def apply_plan(context: SchedulerContext, decisions: Sequence[Decision]) -> None:
    """Admit who may start, and tell everyone else why not. What a rival changed meanwhile is left as it is."""
    for decision in decisions:
        if decision.admitted:
            await admit(context, decision)
            context.reach("admit.committed")
    waiting = [decision for decision in decisions if not decision.admitted]
    if waiting:
        await _write_waiting(context, waiting)


async def admit(context: SchedulerContext, decision: Decision) -> None:
    """Give the job its accelerators and let its launch begin; a job or pool that has changed since is left alone."""
    assert decision.pool_id is not None, "who is admitted has a pool"
    at = context.clock.now()
    async with context.database.transaction() as session:
        # Machines may belong to several pools: who gives out accelerators of a cluster does so alone.
        cluster_id = await session.scalar(select(Pool.cluster_id).where(Pool.id == decision.pool_id))
        assert cluster_id is not None, "pools are never taken away"
        await lock_rows(session, Cluster, [cluster_id])
        (pool,) = await lock_rows(session, Pool, [decision.pool_id])
        (job,) = await lock_rows(session, Job, [decision.job_id])
        if job.state != JobState.QUEUED or job.start_by <= at:
            return
        refusal = await refusal_of_job(session, job, at=at)
        if refusal is not None:
            await _refuse_access(session, job, refusal, context=context, at=at)
            return
        used = await session.scalars(select(SlotUse.slot).where(SlotUse.pool_id == pool.id))
        slots = free_slots(pool.slots, used, job.slots)
        machines = await _machines_now(session, context, pool, job, decision, at=at)
        if slots is None or machines is None:
            return
        attempt_id = await _add_attempt(session, job, pool, slots, machines, context=context, at=at)
        job.pool_id = pool.id
        job.admitted_at = at
        job.predicted_start = at
        await move(
            session, job, JobState.ADMITTED, decision.reason, attempt_id=attempt_id, at=at, new_id=context.new_id
        )
        # The row that was written with the hold; until now it had to wait.
        await session.execute(update(OutboxRow).where(OutboxRow.id == job.launch_outbox_id).values(available_at=at))
        await record(
            session,
            context.actor,
            action=SETTLE,
            resources=[ResourceRef("Job", job.id), ResourceRef("Pool", pool.id)],
            team_id=job.team_id,
            after={"state": JobState.ADMITTED, "pool": pool.name, "slots": list(slots)},
            at=at,
            new_id=context.new_id,
        )


async def _machines_now(
    session: WriteSession, context: SchedulerContext, pool: Pool, job: Job, decision: Decision, *, at: datetime
) -> tuple[str, ...] | None:
    """Where the job's nodes go, if they still fit and the cluster still admits: as planned, or beside it."""
    grace = context.settings.runner_grace_seconds
    states = await read_pools(session, at=at, grace_seconds=grace, cluster_id=pool.cluster_id)
    state = next(state for state in states if state.id == pool.id)
    if state.closed is not None:
        return None
    nodes: int = job.spec["nodes"]
    return fit_now(state, nodes, job.slots // nodes, decision.machines)


def launch_name(job_id: UUID, number: int) -> str:
    """The name on the cluster; it derives from job and attempt, so that launching twice is launching once."""
    return f"gh-{job_id.hex}-{number}"


async def _add_attempt(
    session: AsyncSession,
    job: Job,
    pool: Pool,
    slots: tuple[int, ...],
    machines: tuple[str, ...],
    *,
    context: SchedulerContext,
    at: datetime,
) -> UUID:
    earlier = await session.scalar(select(func.count()).select_from(Attempt).where(Attempt.job_id == job.id))
    number = (earlier or 0) + 1
    attempt = Attempt(
        id=context.new_id(),
        job_id=job.id,
        number=number,
        name=launch_name(job.id, number),
        pool_id=pool.id,
        slot_indexes=list(slots),
        machines=list(machines),
        spec_hash=_launch_hash(job, pool, slots),
        state=AttemptState.ADMITTED.value,
        created_at=at,
        log_bytes=0,
    )
    session.add(attempt)
    await session.flush()
    uses = [{"pool_id": pool.id, "slot": slot, "attempt_id": attempt.id} for slot in slots]
    await session.execute(insert(SlotUse).values(uses))
    return attempt.id


def _launch_hash(job: Job, pool: Pool, slots: tuple[int, ...]) -> str:
    """What a launch is made of, but for its token: a launch that is found under our name must have the same."""
    parts = [job.spec_hash, str(job.id), pool.name, list(slots)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


async def _refuse_access(
    session: AsyncSession, job: Job, refusal: AccessRefused, *, context: SchedulerContext, at: datetime
) -> None:
    """The job keeps waiting, because a grant can be renewed until its latest start; the refusal is on record."""
    await _wait(session, job, Reason(ACCESS_ENDED, refusal.message), until=None, context=context, at=at)
    await record(
        session,
        system_actor(context.actor.name, on_behalf_of=submitter(job)),
        action=refusal.permission.name,
        resources=[*refusal.resources, ResourceRef("Job", job.id)],
        outcome=Outcome.REFUSED,
        team_id=job.team_id,
        purpose=refusal.purpose,
        reason=refusal,
        at=at,
        new_id=context.new_id,
    )


async def _write_waiting(context: SchedulerContext, waiting: Sequence[Decision]) -> None:
    at = context.clock.now()
    wanted = {decision.job_id: decision for decision in waiting}
    async with context.database.read() as session:
        rows = await session.scalars(select(Job).where(Job.id.in_(wanted)))
        changed = [job.id for job in rows if _differs(job, wanted[job.id])]
    if not changed:
        return
    async with context.database.transaction() as session:
        for job in await lock_rows(session, Job, changed):
            if job.state == JobState.QUEUED:
                decision = wanted[job.id]
                await _wait(session, job, decision.reason, until=decision.starts_at, context=context, at=at)


def _differs(job: Job, decision: Decision) -> bool:
    if (job.state_code, job.state_message) != (decision.reason.code, decision.reason.message):
        return True
    if job.waiting_until is None or decision.starts_at is None:
        return job.waiting_until is not decision.starts_at
    return abs(job.waiting_until - decision.starts_at) >= timedelta(seconds=PREDICTION_SECONDS_MIN)


async def _wait(
    session: AsyncSession,
    job: Job,
    reason: Reason,
    *,
    until: datetime | None,
    context: SchedulerContext,
    at: datetime,
) -> None:
    """Store the "not now"; a new kind of reason is an event, a new moment is not."""
    another = job.state_code != reason.code
    job.state_code, job.state_message = reason.code, reason.message
    job.waiting_until = until
    job.predicted_start = until
    job_changed(session, job.id)
    if another:
        await tell(session, job, reason, at=at, new_id=context.new_id)
