"""From an admitted attempt to one process on a cluster: the outbox's row is claimed, the executor called, the end kept.

A claim may come again after a worker died anywhere in between. The launch is then repeated under the same name, which
the executor answers with success; tokens that earlier rounds made stay good, because one of them is what runs.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.actor import JobClaims
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import Team
from guildhall.db.locks import lock_rows
from guildhall.organisation.tokens import issue_token
from guildhall.outbox.outbox import Claim, claim, complete, fail
from guildhall.outbox.tables import OutboxRow
from scheduler.capacity import closed_reason
from scheduler.clusters.executor import Executor, Launch, LaunchConflict, LaunchRefused, Placement, Reason, Toleration
from scheduler.clusters.tables import Cluster, Pool, SlotUse
from scheduler.context import SchedulerContext
from scheduler.jobs.moving import move, tell
from scheduler.jobs.spec import JobSpec
from scheduler.jobs.states import AttemptState, JobState
from scheduler.jobs.tables import Attempt, Job

LAUNCH_TOPIC = "scheduler.launch"
LAUNCHES_AT_ONCE_MAX = 16
TOKEN_MARGIN = timedelta(hours=1)
"""How long a token outlives walltime and grace: for images to be fetched. It is revoked when the attempt ends."""
NOT_ADMITTED_YET = timedelta(hours=1)
FOR_ANOTHER_WORKER = timedelta(seconds=5)
UNTIL_LISTED = timedelta(seconds=5)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Admitted:
    job: Job
    attempt: Attempt
    pool: Pool
    cluster: Cluster
    team: str


async def launch_admitted(context: SchedulerContext) -> None:
    """Launch what was admitted, several at once; one that fails waits and is tried again, and stops no other."""
    limit = LAUNCHES_AT_ONCE_MAX - context.lanes.busy()
    if limit <= 0:
        return
    claims = await claim(
        context.database,
        [LAUNCH_TOPIC],
        owner=context.owner,
        clock=context.clock,
        lease_seconds=context.settings.worker_lease_seconds,
        limit=limit,
        new_id=context.new_id,
    )
    await context.visit({claimed.id: partial(_launch, context, claimed) for claimed in claims})


async def retire_launch(session: AsyncSession, job: Job, *, at: datetime) -> None:
    """In the transaction that ends a job which never started: its row in the outbox has nothing left to do."""
    await session.execute(
        update(OutboxRow)
        .where(OutboxRow.id == job.launch_outbox_id, OutboxRow.done_at.is_(None), OutboxRow.given_up_at.is_(None))
        .values(done_at=at, lease_owner=None, lease_token=None, lease_expires_at=None)
    )


async def hasten_launch(session: AsyncSession, job: Job, *, at: datetime) -> None:
    """Have the row of a job that must not start any more looked at now, however long its last failure put it off."""
    await session.execute(
        update(OutboxRow)
        .where(OutboxRow.id == job.launch_outbox_id, OutboxRow.done_at.is_(None), OutboxRow.given_up_at.is_(None))
        .values(available_at=at)
    )


async def give_up_launches(context: SchedulerContext) -> None:
    """Stop what the outbox gave up on: the cluster refused to answer so often that nobody will try again.

    Nobody knows whether the cluster took it, so it counts as launched until a list says otherwise: also where the job
    was told to stop before, or its hold and its accelerators would wait for ever.
    """
    at = context.clock.now()
    async with context.database.transaction() as session:
        given_up = (
            select(Job.id)
            .join(OutboxRow, OutboxRow.id == Job.launch_outbox_id)
            .join(Attempt, Attempt.job_id == Job.id)
            .where(Job.state.in_([JobState.ADMITTED, JobState.STOPPING]), Attempt.state == AttemptState.ADMITTED)
            .where(OutboxRow.given_up_at.is_not(None))
        )
        for job in await lock_rows(session, Job, await session.scalars(given_up)):
            if job.state not in {JobState.ADMITTED, JobState.STOPPING}:
                continue
            await session.execute(
                update(Attempt)
                .where(Attempt.job_id == job.id, Attempt.state == AttemptState.ADMITTED)
                .values(state=AttemptState.STARTING.value, launched_at=at)
            )
            if job.state == JobState.ADMITTED:
                error = await session.scalar(select(OutboxRow.last_error).where(OutboxRow.id == job.launch_outbox_id))
                reason = Reason("LAUNCH_FAILED", f"the cluster could not be made to start it: {error}")
                job.stop_code, job.stop_message, job.stop_at = reason.code, reason.message, at
                await move(session, job, JobState.STOPPING, reason, at=at, new_id=context.new_id)


async def _launch(context: SchedulerContext, claimed: Claim) -> None:
    context.reach("launch.claimed")
    found = await _find(context, UUID(claimed.payload["job_id"]))
    if found is None:
        await _put_back(context, claimed, NOT_ADMITTED_YET)
        return
    if found.attempt.state != AttemptState.ADMITTED:
        # An earlier round launched it, and its watcher saw that before the round was recorded.
        await _launched(context, claimed, found)
        return
    executor = context.executor(found.cluster.name, found.cluster.kind)
    if executor is None:
        await _put_back(context, claimed, FOR_ANOTHER_WORKER)
        return
    closed = closed_reason(found.cluster)
    if closed is not None:
        await _put_back(context, claimed, UNTIL_LISTED, job_id=found.job.id, told=closed)
        return
    if found.job.state == JobState.ADMITTED and found.job.start_by <= context.clock.now():
        # Too late to start it. Whether an earlier round did, the cluster's next list says: see `stop_unstarted`.
        await _put_back(context, claimed, UNTIL_LISTED)
        return
    try:
        if found.job.state == JobState.ADMITTED:
            await _start(context, claimed, found, executor)
        else:
            await _not_to_start(context, claimed, found, executor)
    except (LaunchRefused, LaunchConflict) as refusal:
        await _refused(context, claimed, found, refusal)
    except Exception as error:
        logger.exception("Launching %s failed; it will be tried again.", found.attempt.name)
        await _try_again(context, claimed, found, error)


async def _start(context: SchedulerContext, claimed: Claim, found: _Admitted, executor: Executor) -> None:
    at = context.clock.now()
    spec = JobSpec.from_json(found.job.spec)
    grace = context.settings.runner_grace_seconds
    async with context.database.transaction() as session:
        issued = await issue_token(
            session,
            context.actor,
            subject_kind=ActorKind.JOB,
            subject_id=found.job.id,
            label=found.attempt.name,
            expires_at=at + timedelta(seconds=spec.walltime_seconds + grace) + TOKEN_MARGIN,
            claims=JobClaims(
                job_id=found.job.id,
                attempt_id=found.attempt.id,
                team_id=found.job.team_id,
                submitted_by=found.job.created_by,
            ),
            at=at,
            new_id=context.new_id,
        )
    context.reach("launch.token-issued")
    await context.ask(
        executor.launch(
            Launch(
                name=found.attempt.name,
                spec_hash=found.attempt.spec_hash,
                job_id=found.job.id,
                attempt_id=found.attempt.id,
                pool=found.pool.name,
                accelerator_slots=found.job.slots,
                slot_indexes=tuple(found.attempt.slot_indexes),
                cpu=spec.per_node.cpu,
                memory_bytes=spec.per_node.memory_bytes,
                walltime_seconds=spec.walltime_seconds,
                environment={},
                token=issued.text,
                api_url=context.settings.public_url,
                grace_seconds=grace,
                team=found.team,
                disk_bytes=spec.per_node.disk_bytes,
                sensitive=found.job.sensitive,
                image=spec.image,
                nodes=spec.nodes,
                accelerators_per_node=spec.per_node.accelerator_count,
                placement=_placement(found.pool),
                machines=tuple(found.attempt.machines),
            )
        )
    )
    context.reach("launch.launched")
    await _launched(context, claimed, found)
    context.reach("launch.recorded")


def _placement(pool: Pool) -> Placement:
    return Placement(
        node_selector=pool.node_selector,
        tolerations=tuple(Toleration(**each) for each in pool.tolerations),
        accelerator_resource=pool.accelerator_resource,
        default_image=pool.image,
        writable_root=pool.writable_root,
    )


async def _launched(context: SchedulerContext, claimed: Claim, found: _Admitted) -> None:
    at = context.clock.now()
    async with context.database.transaction() as session:
        job = await _lock_job(session, found)
        if not await complete(session, claimed, at=at):
            return
        (attempt,) = await lock_rows(session, Attempt, [found.attempt.id])
        if attempt.state == AttemptState.ADMITTED:
            attempt.state = AttemptState.STARTING.value
            attempt.launched_at = at
        if job.state == JobState.ADMITTED:
            reason = Reason("LAUNCHED", f"starting on pool {found.pool.name} of cluster {found.cluster.name}")
            await move(session, job, JobState.STARTING, reason, attempt_id=attempt.id, at=at, new_id=context.new_id)


async def _not_to_start(context: SchedulerContext, claimed: Claim, found: _Admitted, executor: Executor) -> None:
    """The job was told to end before its launch was known. An earlier round may have launched it: the cluster says."""
    known = await context.ask(executor.knows(found.attempt.name))
    at = context.clock.now()
    async with context.database.transaction() as session:
        await _lock_job(session, found)
        if not await complete(session, claimed, at=at):
            return
        (attempt,) = await lock_rows(session, Attempt, [found.attempt.id])
        if attempt.state != AttemptState.ADMITTED:
            return
        if known:
            attempt.state = AttemptState.STARTING.value
            attempt.launched_at = at
        else:
            await _end_unstarted(session, attempt, Reason("NOT_STARTED", "it was not started"), at=at)


async def _refused(
    context: SchedulerContext, claimed: Claim, found: _Admitted, refusal: LaunchRefused | LaunchConflict
) -> None:
    at = context.clock.now()
    if isinstance(refusal, LaunchRefused):
        reason = Reason(refusal.code, refusal.message)
    else:
        logger.error("Incident: %s", refusal)
        reason = Reason("LAUNCH_CONFLICT", f"the cluster runs something else under its name: {refusal}")
    async with context.database.transaction() as session:
        await _lock_job(session, found)
        if not await complete(session, claimed, at=at):
            return
        (attempt,) = await lock_rows(session, Attempt, [found.attempt.id])
        if attempt.state == AttemptState.ADMITTED:
            await _end_unstarted(session, attempt, reason, at=at)
            # What holds the name on the cluster, if anything, is not ours to remove.
            attempt.removed_at = at


async def _try_again(context: SchedulerContext, claimed: Claim, found: _Admitted, error: Exception) -> None:
    at = context.clock.now()
    sentence = f"cluster {found.cluster.name} did not take the launch ({type(error).__name__}); it is tried again"
    async with context.database.transaction() as session:
        job = await _lock_job(session, found)
        if not await fail(session, claimed, f"{type(error).__name__}: {error}", at=at):
            return
        if job.state == JobState.ADMITTED and job.state_code != "LAUNCH_DELAYED":
            job.state_code, job.state_message = "LAUNCH_DELAYED", sentence
            reason = Reason("LAUNCH_DELAYED", sentence)
            await tell(session, job, reason, attempt_id=found.attempt.id, at=at, new_id=context.new_id)


async def _lock_job(session: AsyncSession, found: _Admitted) -> Job:
    """The job before its row in the outbox, as a cancel and an expiry lock them; the other order is a deadlock."""
    (job,) = await lock_rows(session, Job, [found.job.id])
    return job


async def _put_back(
    context: SchedulerContext,
    claimed: Claim,
    wait: timedelta,
    *,
    job_id: UUID | None = None,
    told: Reason | None = None,
) -> None:
    """Nothing to launch yet, or not by this worker, or nowhere: the row waits on, and its attempts do not count up.

    An admitted job is told why, once.
    """
    at = context.clock.now()
    async with context.database.transaction() as session:
        if told is not None and job_id is not None:
            (job,) = await lock_rows(session, Job, [job_id])
            if job.state == JobState.ADMITTED and job.state_code != told.code:
                job.state_code, job.state_message = told.code, told.message
                await tell(session, job, told, at=at, new_id=context.new_id)
        await session.execute(
            update(OutboxRow)
            .where(OutboxRow.id == claimed.id, OutboxRow.lease_token == claimed.token)
            .values(
                lease_owner=None,
                lease_token=None,
                lease_expires_at=None,
                attempts=OutboxRow.attempts - 1,
                available_at=at + wait,
            )
        )


async def _find(context: SchedulerContext, job_id: UUID) -> _Admitted | None:
    statement = (
        select(Job, Attempt, Pool, Cluster, Team.name)
        .join(Attempt, Attempt.job_id == Job.id)
        .join(Pool, Pool.id == Attempt.pool_id)
        .join(Cluster, Cluster.id == Pool.cluster_id)
        .join(Team, Team.id == Job.team_id)
        .where(Job.id == job_id)
        .order_by(Attempt.number.desc())
        .limit(1)
    )
    async with context.database.read() as session:
        row = (await session.execute(statement)).one_or_none()
    if row is None:
        return None
    return _Admitted(job=row[0], attempt=row[1], pool=row[2], cluster=row[3], team=row[4])


async def _end_unstarted(session: AsyncSession, attempt: Attempt, reason: Reason, *, at: datetime) -> None:
    attempt.state = AttemptState.REFUSED.value
    attempt.exit_reason_code, attempt.exit_reason_message = reason.code, reason.message
    attempt.ended_at = at
    await session.execute(delete(SlotUse).where(SlotUse.attempt_id == attempt.id))
