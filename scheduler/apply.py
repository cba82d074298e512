"""Writing what was planned: admissions, many in a transaction, and what everyone else waits for."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import add_events, compose_event, record
from guildhall.audit.tables import Outcome
from guildhall.auth.actor import system_actor
from guildhall.auth.resources import ResourceRef
from guildhall.db.among import among
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import WriteSession
from guildhall.outbox.tables import OutboxRow
from registry.access.reading import AccessRefused
from scheduler.capacity import read_pools
from scheduler.clusters.executor import Reason
from scheduler.clusters.tables import Cluster, Pool, SlotUse
from scheduler.context import SchedulerContext
from scheduler.job_access import ACCESS_ENDED, jobs_to_ask_about, refusal_of_job, submitter
from scheduler.jobs.following import job_changed
from scheduler.jobs.moving import add_job_events, moved, tell
from scheduler.jobs.states import AttemptState, JobState
from scheduler.jobs.tables import Attempt, Job
from scheduler.plan import Decision
from scheduler.room import Place, Room

SETTLE = "scheduler:job:settle"
ADMITTED_TOGETHER_MAX = 50
"""Jobs of one transaction; the clusters whose accelerators it gives out stay locked until its commit."""
PREDICTION_SECONDS_MIN = 30
"""A predicted start that moves by less is not written again."""


@dataclass(kw_only=True)
class _Admission:
    """A job that gets its accelerators, and soon its attempt."""

    job: Job
    decision: Decision
    place: Place
    attempt_id: UUID | None = None


async def apply_plan(context: SchedulerContext, decisions: Sequence[Decision]) -> None:
    """Admit who may start, and tell everyone else why not. What a rival changed meanwhile is left as it is."""
    admitted = [decision for decision in decisions if decision.admitted]
    for start in range(0, len(admitted), ADMITTED_TOGETHER_MAX):
        await _admit(context, admitted[start : start + ADMITTED_TOGETHER_MAX])
        context.reach("admit.committed")
    waiting = [decision for decision in decisions if not decision.admitted]
    if waiting:
        await _write_waiting(context, waiting)


async def _admit(context: SchedulerContext, decisions: Sequence[Decision]) -> None:
    """Give jobs their accelerators and let their launches begin; a job or pool that has changed since is left alone."""
    wanted = {decision.job_id: decision for decision in decisions}
    at, new_id = context.clock.now(), context.new_id
    async with context.database.transaction() as session:
        room = await _lock_room(session, context, decisions, at=at)
        jobs = {job.id: job for job in await lock_rows(session, Job, wanted)}
        doubtful = await jobs_to_ask_about(session, wanted)
        admissions = []
        for job_id, decision in wanted.items():
            job = jobs[job_id]
            if job.state != JobState.QUEUED or job.start_by <= at:
                continue
            refusal = await refusal_of_job(session, job, at=at) if job_id in doubtful else None
            if refusal is not None:
                await _refuse_access(session, job, refusal, context=context, at=at)
                continue
            place = room.take(job, decision, at=at)
            if place is not None:
                admissions.append(_Admission(job=job, decision=decision, place=place))
        await _add_attempts(session, admissions, context=context, at=at)
        for admission in admissions:
            admission.job.pool_id = admission.place.pool.id
            admission.job.admitted_at = admission.job.predicted_start = at
        events = [
            moved(each.job, JobState.ADMITTED, each.decision.reason, attempt_id=each.attempt_id, at=at, new_id=new_id)
            for each in admissions
        ]
        await add_job_events(session, events)
        # The rows that were written with the holds; until now they had to wait.
        rows = [each.job.launch_outbox_id for each in admissions]
        await session.execute(update(OutboxRow).where(among(OutboxRow.id, rows)).values(available_at=at))
        await add_events(session, [_audited(context, each, at=at) for each in admissions])


async def _lock_room(
    session: WriteSession, context: SchedulerContext, decisions: Sequence[Decision], *, at: datetime
) -> Room:
    """What the pools of the decisions have free.

    Their clusters are locked: machines may belong to several pools, so who gives out accelerators of one does so alone.
    """
    pool_ids = {decision.pool_id for decision in decisions if decision.pool_id is not None}
    clusters = set(await session.scalars(select(Pool.cluster_id).where(Pool.id.in_(pool_ids))))
    await lock_rows(session, Cluster, clusters)
    pools = {pool.id: pool for pool in await lock_rows(session, Pool, pool_ids)}
    used: dict[UUID, set[int]] = {pool_id: set() for pool_id in pools}
    uses = await session.execute(select(SlotUse.pool_id, SlotUse.slot).where(SlotUse.pool_id.in_(pools)))
    for pool_id, slot in uses:
        used[pool_id].add(slot)
    grace = context.settings.runner_grace_seconds
    states = await read_pools(session, at=at, grace_seconds=grace, cluster_ids=clusters)
    return Room(pools, used, {state.id: state for state in states}, grace_seconds=grace)


def launch_name(job_id: UUID, number: int) -> str:
    """The name on the cluster; it derives from job and attempt, so that launching twice is launching once."""
    return f"gh-{job_id.hex}-{number}"


async def _add_attempts(
    session: AsyncSession, admissions: Sequence[_Admission], *, context: SchedulerContext, at: datetime
) -> None:
    earlier = dict(
        (
            await session.execute(
                select(Attempt.job_id, func.count())
                .where(among(Attempt.job_id, [each.job.id for each in admissions]))
                .group_by(Attempt.job_id)
            )
        ).all()
    )
    attempts, uses = [], []
    for each in admissions:
        job, place = each.job, each.place
        each.attempt_id = context.new_id()
        number = earlier.get(job.id, 0) + 1
        attempts.append(
            {
                "id": each.attempt_id,
                "job_id": job.id,
                "number": number,
                "name": launch_name(job.id, number),
                "pool_id": place.pool.id,
                "slot_indexes": list(place.slots),
                "machines": list(place.machines),
                "spec_hash": _launch_hash(job, place.pool, place.slots),
                "state": AttemptState.ADMITTED.value,
                "created_at": at,
                "log_bytes": 0,
            }
        )
        uses += [{"pool_id": place.pool.id, "slot": slot, "attempt_id": each.attempt_id} for slot in place.slots]
    if attempts:
        await session.execute(insert(Attempt), attempts)
        await session.execute(insert(SlotUse), uses)


def _audited(context: SchedulerContext, admission: _Admission, *, at: datetime) -> dict[str, Any]:
    job, place = admission.job, admission.place
    return compose_event(
        context.actor,
        action=SETTLE,
        resources=[ResourceRef("Job", job.id), ResourceRef("Pool", place.pool.id)],
        team_id=job.team_id,
        after={"state": JobState.ADMITTED, "pool": place.pool.name, "slots": list(place.slots)},
        at=at,
        new_id=context.new_id,
    )


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
        rows = await session.scalars(select(Job).where(among(Job.id, wanted)))
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
