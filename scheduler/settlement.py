"""Ending jobs: what happened, in one transaction with what it costs.

The holds are settled from the recorded intervals at the quotes' rates. Done twice it is done once: a job's state, its
hold's one resolution and the ledger's key each refuse a second time.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import distinct_on

from guildhall.audit.record import add_events, compose_event
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.clock import IdSource
from guildhall.credits import format_credits
from guildhall.db.among import among
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import WriteSession
from guildhall.organisation.tokens import revoke_tokens_of
from marketplace import ledger
from marketplace.following import wallet_changed
from marketplace.ledger import HoldEnd, Settlement
from marketplace.tables import Quote
from registry.artifacts.completing import discard_uploads
from registry.artifacts.owners import OwnerRef
from registry.artifacts.tables import OwnerKind
from registry.models.tables import ModelVersion, ModelVersionStatus
from scheduler.apply import SETTLE
from scheduler.clusters.executor import Reason
from scheduler.clusters.tables import SlotUse
from scheduler.context import SchedulerContext
from scheduler.jobs.moving import JobEventValues, add_job_events, moved
from scheduler.jobs.outcome import PREEMPTED, conclude
from scheduler.jobs.states import ENDED_STATES, LIVE_ATTEMPT_STATES, ON_CLUSTER_STATES, JobState
from scheduler.jobs.tables import Attempt, Job, JobOutput, RunInterval
from scheduler.jobs.telling import tell_ended
from scheduler.launching import retire_launches
from scheduler.metering import close_intervals, price_runs

SETTLED_TOGETHER_MAX = 50
"""Jobs of one transaction; the balances that it touches stay locked until its commit."""

UNPAID = frozenset({PREEMPTED})

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Ending:
    """A job that is being settled with its last attempt, and how it ends."""

    job: Job
    attempt: Attempt
    state: JobState
    reason: Reason


async def settle_ended(context: SchedulerContext) -> None:
    """Settle the jobs whose attempts have ended, many in one transaction.

    Where that fails each is settled by itself: one that cannot be is told of and stops no other.
    """
    statement = (
        select(Job.id)
        .join(Attempt, Attempt.job_id == Job.id)
        .where(Job.state.in_(ON_CLUSTER_STATES), Attempt.state.not_in(LIVE_ATTEMPT_STATES))
        .order_by(Job.id)
    )
    async with context.database.read() as session:
        ids = (await session.scalars(statement)).all()
    for start in range(0, len(ids), SETTLED_TOGETHER_MAX):
        await _settle_or_tell(context, ids[start : start + SETTLED_TOGETHER_MAX])


async def _settle_or_tell(context: SchedulerContext, ids: Sequence[UUID]) -> None:
    try:
        await _settle(context, ids)
    except Exception:
        if len(ids) == 1:
            logger.exception("Job %s could not be settled; it will be tried again.", ids[0])
            return
        for job_id in ids:
            await _settle_or_tell(context, [job_id])
        return
    context.reach("settle.committed")


async def _settle(context: SchedulerContext, ids: Sequence[UUID]) -> None:
    at, new_id = context.clock.now(), context.new_id
    async with context.database.transaction() as session:
        jobs = {job.id: job for job in await lock_rows(session, Job, ids) if job.state not in ENDED_STATES}
        attempts = [attempt for attempt in await _latest(session, jobs) if attempt.state not in LIVE_ATTEMPT_STATES]
        if not attempts:
            return
        intervals = await close_intervals(session, attempts)
        await session.execute(delete(SlotUse).where(among(SlotUse.attempt_id, intervals)))
        ready = await _outputs_ready(session, intervals)
        endings = [_conclude(jobs[each.job_id], each, output_ready=each.id in ready) for each in attempts]
        ended = [ending.job for ending in endings]
        await retire_launches(session, ended, at=at)
        await revoke_tokens_of(
            session,
            context.actor,
            subject_kind=ActorKind.JOB,
            subject_ids=[job.id for job in ended],
            at=at,
            new_id=new_id,
        )
        await _abandon_drafts(session, ended, context=context, at=at)
        await session.flush()
        settled = await _charge(session, context, endings, intervals, at=at)
        await add_job_events(session, [_ended(ending, at=at, new_id=new_id) for ending in endings])
        await add_events(session, [_audited(context, ending, at=at) for ending in endings])
        await tell_ended(session, list(zip(ended, settled, strict=True)), at=at, new_id=new_id)
        context.reach("settle.charged")


async def _latest(session: WriteSession, job_ids: Iterable[UUID]) -> Sequence[Attempt]:
    statement = (
        select(Attempt)
        .where(among(Attempt.job_id, job_ids))
        .ext(distinct_on(Attempt.job_id))
        .order_by(Attempt.job_id, Attempt.number.desc())
    )
    return (await session.scalars(statement)).all()


def _conclude(job: Job, attempt: Attempt, *, output_ready: bool) -> _Ending:
    state, reason = conclude(job, attempt, output_ready=output_ready)
    if attempt.exit_reason_code is None and state is not JobState.SUCCEEDED:
        attempt.exit_reason_code, attempt.exit_reason_message = reason.code, reason.message
    return _Ending(job=job, attempt=attempt, state=state, reason=reason)


async def _charge(
    session: WriteSession,
    context: SchedulerContext,
    endings: Sequence[_Ending],
    intervals: Mapping[UUID, Sequence[RunInterval]],
    *,
    at: datetime,
) -> list[Settlement]:
    """Resolve the holds, in order: a charge where something ran, otherwise nothing but the release.

    Nor is anything charged for what ran too late, or was taken away for others before it had published anything.
    """
    wanted = select(Quote).where(among(Quote.id, [ending.job.quote_id for ending in endings]))
    quotes = {quote.id: quote for quote in await session.scalars(wanted)}
    ends = []
    for ending in endings:
        job, attempt, runs = ending.job, ending.attempt, intervals[ending.attempt.id]
        key = f"settle {job.id}"
        if not runs or ending.state is JobState.EXPIRED or attempt.exit_reason_code in UNPAID:
            because = f"Not run: {ending.reason.code}."
            ends.append(HoldEnd(hold_id=job.hold_id, captured=None, key=key, reason=because))
        else:
            slots = job.slots // job.spec["nodes"]
            price = price_runs(quotes[job.quote_id], attempt.pool_id, runs, slots=slots, hold=job.held)
            ends.append(HoldEnd(hold_id=job.hold_id, captured=price, key=key, reason="Charged for what was used."))
    settled = await ledger.settle_holds(session, ends, at=at, new_id=context.new_id)
    for ending, settlement in zip(endings, settled, strict=True):
        ending.job.captured, ending.job.released = settlement.captured, settlement.released
        wallet_changed(session, ending.job.team_id)
    return settled


def _ended(ending: _Ending, *, at: datetime, new_id: IdSource) -> JobEventValues:
    ending.job.ended_at = ending.attempt.ended_at
    ending.job.settled_at = at
    return moved(ending.job, ending.state, ending.reason, attempt_id=ending.attempt.id, at=at, new_id=new_id)


def _audited(context: SchedulerContext, ending: _Ending, *, at: datetime) -> dict[str, Any]:
    job = ending.job
    return compose_event(
        context.actor,
        action=SETTLE,
        resources=[ResourceRef("Job", job.id)],
        team_id=job.team_id,
        after={"state": ending.state, "captured": format_credits(job.captured)},
        at=at,
        new_id=context.new_id,
    )


async def _outputs_ready(session: WriteSession, attempt_ids: Iterable[UUID]) -> set[UUID]:
    statement = (
        select(JobOutput.attempt_id)
        .join(ModelVersion, JobOutput.model_version_id == ModelVersion.id)
        .where(among(JobOutput.attempt_id, attempt_ids), ModelVersion.status != ModelVersionStatus.DRAFT)
    )
    return set(await session.scalars(statement))


async def _abandon_drafts(
    session: WriteSession, jobs: Sequence[Job], *, context: SchedulerContext, at: datetime
) -> None:
    """A version whose files never became complete will not become so: nobody holds its token any more.

    What came of its files goes, also of versions that earlier attempts left.
    """
    theirs = among(ModelVersion.produced_by_job_id, [job.id for job in jobs])
    await session.execute(
        update(ModelVersion)
        .where(theirs, ModelVersion.status == ModelVersionStatus.DRAFT)
        .values(
            status=ModelVersionStatus.ABANDONED,
            status_code="JOB_ENDED",
            status_message="The job that made this version ended before its files were complete.",
        )
        .execution_options(synchronize_session=False)
    )
    abandoned = select(ModelVersion.id).where(theirs, ModelVersion.status == ModelVersionStatus.ABANDONED)
    for version_id in (await session.scalars(abandoned.order_by(ModelVersion.id))).all():
        owner = OwnerRef(OwnerKind.MODEL_VERSION, version_id)
        await discard_uploads(session, owner=owner, at=at, new_id=context.new_id)
