"""Ending jobs: what happened, in one transaction with what it costs; then the cluster forgets the attempt.

The hold is settled from the recorded intervals at the quote's rates. Done twice it is done once: the job's state, the
hold's one resolution and the ledger's key each refuse a second time.
"""

import logging
from collections.abc import Hashable, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from guildhall.audit.record import record
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.credits import format_credits
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import WriteSession
from guildhall.organisation.tokens import revoke_tokens_of
from marketplace import ledger
from marketplace.following import wallet_changed
from marketplace.tables import Quote
from registry.artifacts.completing import discard_uploads
from registry.artifacts.owners import OwnerRef
from registry.artifacts.tables import OwnerKind
from registry.models.tables import ModelVersion, ModelVersionStatus
from scheduler.apply import SETTLE
from scheduler.clusters.executor import Executor, Reason
from scheduler.clusters.tables import Cluster, ClusterState, Pool, SlotUse
from scheduler.context import SchedulerContext
from scheduler.jobs.following import job_changed
from scheduler.jobs.moving import move
from scheduler.jobs.outcome import conclude
from scheduler.jobs.states import ENDED_STATES, LIVE_ATTEMPT_STATES, ON_CLUSTER_STATES, AttemptState, JobState
from scheduler.jobs.tables import Attempt, AttemptReport, Job, JobOutput
from scheduler.lanes import Visit, one_by_one
from scheduler.launching import retire_launch
from scheduler.leases import return_lease, take_lease
from scheduler.metering import close_intervals, price_runs, read_intervals
from scheduler.reconcile import REVENANT
from scheduler.runs.logs import mask_tokens

PLATFORM_LINES_MAX = 1_000
PLATFORM_REPORT = 0

logger = logging.getLogger(__name__)


async def settle_ended(context: SchedulerContext) -> None:
    """Settle each job whose attempt has ended; one that fails is told of and stops no other."""
    statement = (
        select(Job.id)
        .join(Attempt, Attempt.job_id == Job.id)
        .where(Job.state.in_(ON_CLUSTER_STATES), Attempt.state.not_in(LIVE_ATTEMPT_STATES))
        .order_by(Job.id)
    )
    async with context.database.read() as session:
        ids = (await session.scalars(statement)).all()
    for job_id in ids:
        try:
            await _settle(context, job_id)
        except Exception:
            logger.exception("Job %s could not be settled; it will be tried again.", job_id)
            continue
        context.reach("settle.committed")


async def remove_settled(context: SchedulerContext) -> None:
    """Let the clusters forget what is settled, after what the runner itself printed was kept."""
    statement = (
        select(Attempt.id, Attempt.name, Attempt.state, Cluster)
        .join(Job, Job.id == Attempt.job_id)
        .join(Pool, Pool.id == Attempt.pool_id)
        .join(Cluster, Cluster.id == Pool.cluster_id)
        .where(Attempt.removed_at.is_(None), Attempt.ended_at.is_not(None), Job.settled_at.is_not(None))
        .where(Cluster.state == ClusterState.READY)
        .order_by(Attempt.id)
    )
    async with context.database.read() as session:
        rows = (await session.execute(statement)).all()
    tasks: dict[Hashable, list[Visit]] = {}
    for attempt_id, name, state, cluster in rows:
        executor = context.executor(cluster.name, cluster.kind)
        if executor is not None:
            lost = state == AttemptState.LOST
            tasks.setdefault(cluster.id, []).append(partial(_remove, context, attempt_id, name, executor, lost=lost))
    await context.visit({cluster_id: partial(one_by_one, removals) for cluster_id, removals in tasks.items()})


async def _settle(context: SchedulerContext, job_id: UUID) -> None:
    at = context.clock.now()
    async with context.database.transaction() as session:
        (job,) = await lock_rows(session, Job, [job_id])
        if job.state in ENDED_STATES:
            return
        latest = select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number.desc()).limit(1)
        attempt = (await session.scalars(latest)).one()
        if attempt.state in LIVE_ATTEMPT_STATES:
            return
        await close_intervals(session, attempt)
        await session.execute(delete(SlotUse).where(SlotUse.attempt_id == attempt.id))
        state, reason = conclude(job, attempt, output_ready=await _output_ready(session, attempt.id))
        if attempt.exit_reason_code is None and state is not JobState.SUCCEEDED:
            attempt.exit_reason_code, attempt.exit_reason_message = reason.code, reason.message
        await retire_launch(session, job, at=at)
        await revoke_tokens_of(
            session, context.actor, subject_kind=ActorKind.JOB, subject_id=job_id, at=at, new_id=context.new_id
        )
        await _abandon_drafts(session, job_id, context=context, at=at)
        await session.flush()
        await _charge(session, context, job, attempt, state, reason, at=at)
        job.ended_at = attempt.ended_at
        job.settled_at = at
        await move(session, job, state, reason, attempt_id=attempt.id, at=at, new_id=context.new_id)
        await record(
            session,
            context.actor,
            action=SETTLE,
            resources=[ResourceRef("Job", job.id)],
            team_id=job.team_id,
            after={"state": state, "captured": format_credits(job.captured)},
            at=at,
            new_id=context.new_id,
        )
        context.reach("settle.charged")


async def _charge(
    session: WriteSession,
    context: SchedulerContext,
    job: Job,
    attempt: Attempt,
    state: JobState,
    reason: Reason,
    *,
    at: datetime,
) -> None:
    """Resolve the hold: a charge where something ran, otherwise, or where it ran too late, nothing but its release."""
    intervals = await read_intervals(session, attempt.id)
    key = f"settle {job.id}"
    wallet_changed(session, job.team_id)
    if not intervals or state is JobState.EXPIRED:
        settled = await ledger.void_hold(
            session, hold_id=job.hold_id, at=at, key=key, reason=f"Not run: {reason.code}.", new_id=context.new_id
        )
    else:
        quote = (await session.scalars(select(Quote).where(Quote.id == job.quote_id))).one()
        captured = price_runs(quote, attempt.pool_id, intervals, slots=job.slots // job.spec["nodes"], hold=job.held)
        settled = await ledger.settle_hold(
            session, hold_id=job.hold_id, captured=captured, at=at, key=key, new_id=context.new_id
        )
    job.captured, job.released = settled.captured, settled.released


async def _output_ready(session: WriteSession, attempt_id: UUID) -> bool:
    statement = (
        select(ModelVersion.status)
        .join(JobOutput, JobOutput.model_version_id == ModelVersion.id)
        .where(JobOutput.attempt_id == attempt_id)
    )
    status = await session.scalar(statement)
    return status is not None and status != ModelVersionStatus.DRAFT


async def _abandon_drafts(session: WriteSession, job_id: UUID, *, context: SchedulerContext, at: datetime) -> None:
    """A version whose files never became complete will not become so: nobody holds its token any more.

    What came of its files goes, also of versions that earlier attempts left.
    """
    await session.execute(
        update(ModelVersion)
        .where(ModelVersion.produced_by_job_id == job_id, ModelVersion.status == ModelVersionStatus.DRAFT)
        .values(
            status=ModelVersionStatus.ABANDONED,
            status_code="JOB_ENDED",
            status_message="The job that made this version ended before its files were complete.",
        )
        .execution_options(synchronize_session=False)
    )
    abandoned = select(ModelVersion.id).where(
        ModelVersion.produced_by_job_id == job_id, ModelVersion.status == ModelVersionStatus.ABANDONED
    )
    for version_id in (await session.scalars(abandoned)).all():
        owner = OwnerRef(OwnerKind.MODEL_VERSION, version_id)
        await discard_uploads(session, owner=owner, at=at, new_id=context.new_id)


async def _remove(context: SchedulerContext, attempt_id: UUID, name: str, executor: Executor, *, lost: bool) -> None:
    """`lost`: it counts as ended, but may run on at a cluster that has come back."""
    token = await take_lease(context, Attempt, attempt_id)
    if token is None:
        return
    context.reach("remove.leased")
    values: dict[str, datetime] = {}
    lines: Sequence[str] = ()
    try:
        answer = await context.ask(executor.logs(name, after=0, limit=PLATFORM_LINES_MAX))
        lines = [line.text for line in answer]
        await _keep_platform_lines(context, attempt_id, lines)
        if lost:
            await context.ask(executor.stop(name, grace_seconds=0, reason=REVENANT))
        await context.ask(executor.remove(name))
        values["removed_at"] = context.clock.now()
    except Exception:
        logger.exception("Removing %s failed; it will be tried again.", name)
    context.reach("remove.removed")
    async with context.database.transaction() as session:
        await return_lease(session, Attempt, attempt_id, token, **values)
        job_id = await session.scalar(select(Attempt.job_id).where(Attempt.id == attempt_id))
        assert job_id is not None, "attempts are never taken away"
        job_changed(session, job_id)
    context.reach("remove.recorded")


async def _keep_platform_lines(context: SchedulerContext, attempt_id: UUID, lines: Sequence[str]) -> None:
    at = context.clock.now()
    if not lines:
        return
    kept = [
        {"at": at.isoformat(), "stream": "platform", "text": mask_tokens(line).replace("\0", "�")} for line in lines
    ]
    row = {"attempt_id": attempt_id, "sequence": PLATFORM_REPORT, "received_at": at, "lines": kept}
    async with context.database.transaction() as session:
        await session.execute(
            insert(AttemptReport).values(row).on_conflict_do_nothing(index_elements=["attempt_id", "sequence"])
        )
