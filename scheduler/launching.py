"""From an admitted attempt to one process on a cluster: the outbox's row is claimed, the executor called, the end kept.

A claim may come again after a worker died anywhere in between. The launch is then repeated under the same name, which
the executor answers with success; tokens that earlier rounds made stay good, because one of them is what runs.
"""

import asyncio
import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.actor import JobClaims
from guildhall.auth.tables import Team
from guildhall.db.among import among
from guildhall.db.leases import RETURNED
from guildhall.db.locks import lock_rows
from guildhall.organisation.tokens import JobTokenRequest, issue_job_tokens
from guildhall.outbox.outbox import Claim, claim, complete, complete_all, fail, put_back
from guildhall.outbox.tables import OutboxRow
from scheduler.capacity import closed_reason
from scheduler.clusters.executor import Executor, Launch, LaunchConflict, LaunchRefused, Placement, Reason, Toleration
from scheduler.clusters.tables import Cluster, Pool, SlotUse
from scheduler.context import ANSWERS, SchedulerContext
from scheduler.jobs.moving import add_job_events, move, moved, tell
from scheduler.jobs.spec import JobSpec
from scheduler.jobs.states import AttemptState, JobState
from scheduler.jobs.tables import Attempt, Job
from scheduler.lanes import Visit

LAUNCH_TOPIC = "scheduler.launch"
LAUNCHES_AT_ONCE_MAX = 50
REQUESTS_A_LAUNCH = 4
"""At most: its team's namespace and rules, its Service, its Secret and its Job; most need the last two alone."""
LANES_BUSY_MAX = 16
"""With so many visits to clusters under way nothing more is launched: clusters that answer slowly are not pressed."""
TOKEN_MARGIN = timedelta(hours=1)
"""How long a token outlives walltime and grace: for images to be fetched. It is revoked when the attempt ends."""
NOT_ADMITTED_YET = timedelta(hours=1)
FOR_ANOTHER_WORKER = timedelta(seconds=5)
UNTIL_LISTED = timedelta(seconds=5)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Admitted:
    claim: Claim
    job: Job
    attempt: Attempt
    pool: Pool
    cluster: Cluster
    team: str


async def launch_admitted(context: SchedulerContext) -> None:
    """Launch what was admitted, many at once; one that fails waits and is tried again, and stops no other.

    Those of one cluster go together: one transaction makes their tokens, one records those that the cluster took.
    """
    if context.lanes.busy() >= LANES_BUSY_MAX:
        return
    claims = await claim(
        context.database,
        [LAUNCH_TOPIC],
        owner=context.owner,
        clock=context.clock,
        lease_seconds=context.settings.worker_lease_seconds,
        limit=LAUNCHES_AT_ONCE_MAX,
        new_id=context.new_id,
    )
    if not claims:
        return
    context.reach("launch.claimed")
    found = await _find(context, claims)
    visits: dict[Hashable, Visit] = {
        claimed.id: partial(_put_back, context, claimed, NOT_ADMITTED_YET)
        for claimed in claims
        if claimed.id not in found
    }
    together: dict[UUID, list[_Admitted]] = {}
    for admitted in found.values():
        alone = _exception(context, admitted)
        if alone is not None:
            visits[admitted.claim.id] = alone
        else:
            together.setdefault(admitted.cluster.id, []).append(admitted)
    for many in together.values():
        fit = _fit_in_lease(many[0].cluster, context.settings.worker_lease_seconds)
        visits[many[0].claim.id] = partial(_launch, context, many[:fit])
        visits |= {left.claim.id: partial(_put_back, context, left.claim, FOR_ANOTHER_WORKER) for left in many[fit:]}
    await context.visit(visits)


def _fit_in_lease(cluster: Cluster, lease_seconds: int) -> int:
    """How many launches a cluster takes at its pace in half of a lease, at least one; the rest waits its turn."""
    return max(1, lease_seconds * cluster.requests_per_second // (2 * REQUESTS_A_LAUNCH))


async def retire_launches(session: AsyncSession, jobs: Sequence[Job], *, at: datetime) -> None:
    """In the transaction that ends jobs: their rows in the outbox have nothing left to do."""
    ids = [job.launch_outbox_id for job in jobs]
    await session.execute(
        update(OutboxRow)
        .where(among(OutboxRow.id, ids), OutboxRow.done_at.is_(None), OutboxRow.given_up_at.is_(None))
        .values(done_at=at, **RETURNED)
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


def _exception(context: SchedulerContext, found: _Admitted) -> Visit | None:
    """What to do with a claim other than to launch it; None: it is to be launched."""
    if found.attempt.state != AttemptState.ADMITTED:
        # An earlier round launched it, and its watcher saw that before the round was recorded.
        return partial(_launched, context, [found])
    executor = context.executor(found.cluster.name, found.cluster.kind)
    if executor is None:
        return partial(_put_back, context, found.claim, FOR_ANOTHER_WORKER)
    closed = closed_reason(found.cluster)
    if closed is not None:
        return partial(_put_back, context, found.claim, UNTIL_LISTED, job_id=found.job.id, told=closed)
    if found.job.state != JobState.ADMITTED:
        return partial(_not_to_start, context, found, executor)
    if found.job.start_by <= context.clock.now():
        # Too late to start it. Whether an earlier round did, the cluster's next list says: see `stop_unstarted`.
        return partial(_put_back, context, found.claim, UNTIL_LISTED)
    return None


async def _launch(context: SchedulerContext, many: Sequence[_Admitted]) -> None:
    """Launch those of one cluster, side by side, and record those that it took together."""
    executor = context.executor(many[0].cluster.name, many[0].cluster.kind)
    assert executor is not None, "who serves another cluster has put the claims back"
    tokens = await _issue_tokens(context, many)
    context.reach("launch.token-issued")
    launches = [_launch_of(context, found, token) for found, token in zip(many, tokens, strict=True)]
    answers = await asyncio.gather(
        *(context.ask(executor.launch(launch)) for launch in launches), return_exceptions=True
    )
    context.reach("launch.launched")
    taken = [found for found, answer in zip(many, answers, strict=True) if answer is None]
    if taken:
        await _launched(context, taken)
        context.reach("launch.recorded")
    for found, answer in zip(many, answers, strict=True):
        if answer is not None:
            await _not_launched(context, found, answer)


async def _issue_tokens(context: SchedulerContext, many: Sequence[_Admitted]) -> list[str]:
    at = context.clock.now()
    grace = context.settings.runner_grace_seconds
    requests = [
        JobTokenRequest(
            claims=JobClaims(
                job_id=found.job.id,
                attempt_id=found.attempt.id,
                team_id=found.job.team_id,
                submitted_by=found.job.created_by,
            ),
            label=found.attempt.name,
            expires_at=at + timedelta(seconds=found.job.spec["walltime_seconds"] + grace) + TOKEN_MARGIN,
        )
        for found in many
    ]
    async with context.database.transaction() as session:
        issued = await issue_job_tokens(session, context.actor, requests, at=at, new_id=context.new_id)
    return [token.text for token in issued]


def _launch_of(context: SchedulerContext, found: _Admitted, token: str) -> Launch:
    spec = JobSpec.from_json(found.job.spec)
    return Launch(
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
        token=token,
        api_url=context.settings.jobs_url,
        grace_seconds=context.settings.runner_grace_seconds,
        team=found.team,
        disk_bytes=spec.per_node.disk_bytes,
        sensitive=found.job.sensitive,
        image=spec.image,
        nodes=spec.nodes,
        accelerators_per_node=spec.per_node.accelerator_count,
        placement=_placement(found.pool),
        machines=tuple(found.attempt.machines),
    )


def _placement(pool: Pool) -> Placement:
    return Placement(
        node_selector=pool.node_selector,
        tolerations=tuple(Toleration(**each) for each in pool.tolerations),
        accelerator_resource=pool.accelerator_resource,
        default_image=pool.image,
        writable_root=pool.writable_root,
    )


async def _launched(context: SchedulerContext, many: Sequence[_Admitted]) -> None:
    at = context.clock.now()
    async with context.database.transaction() as session:
        jobs = {job.id: job for job in await _lock_jobs(session, many)}
        held = await complete_all(session, [found.claim for found in many], at=at)
        kept = {found.attempt.id: found for found in many if found.claim.id in held}
        events = []
        for attempt in await lock_rows(session, Attempt, kept):
            found, job = kept[attempt.id], jobs[attempt.job_id]
            if attempt.state == AttemptState.ADMITTED:
                attempt.state = AttemptState.STARTING.value
                attempt.launched_at = at
            if job.state == JobState.ADMITTED:
                reason = Reason("LAUNCHED", f"starting on pool {found.pool.name} of cluster {found.cluster.name}")
                event = moved(job, JobState.STARTING, reason, attempt_id=attempt.id, at=at, new_id=context.new_id)
                events.append(event)
        await add_job_events(session, events)


async def _not_launched(context: SchedulerContext, found: _Admitted, answer: BaseException) -> None:
    if isinstance(answer, LaunchRefused | LaunchConflict):
        await _refused(context, found, answer)
    elif isinstance(answer, Exception):
        logger.error("Launching %s failed; it will be tried again.", found.attempt.name, exc_info=answer)
        await _try_again(context, found, answer)
    else:
        raise answer


async def _not_to_start(context: SchedulerContext, found: _Admitted, executor: Executor) -> None:
    """The job was told to end before its launch was known. An earlier round may have launched it: the cluster says."""
    try:
        known = await context.ask(executor.knows(found.attempt.name))
    except ANSWERS as error:
        await _not_launched(context, found, error)
        return
    at = context.clock.now()
    async with context.database.transaction() as session:
        await _lock_jobs(session, [found])
        if not await complete(session, found.claim, at=at):
            return
        (attempt,) = await lock_rows(session, Attempt, [found.attempt.id])
        if attempt.state != AttemptState.ADMITTED:
            return
        if known:
            attempt.state = AttemptState.STARTING.value
            attempt.launched_at = at
        else:
            await _end_unstarted(session, attempt, Reason("NOT_STARTED", "it was not started"), at=at)


async def _refused(context: SchedulerContext, found: _Admitted, refusal: LaunchRefused | LaunchConflict) -> None:
    at = context.clock.now()
    if isinstance(refusal, LaunchRefused):
        reason = Reason(refusal.code, refusal.message)
    else:
        logger.error("Incident: %s", refusal)
        reason = Reason("LAUNCH_CONFLICT", f"the cluster runs something else under its name: {refusal}")
    async with context.database.transaction() as session:
        await _lock_jobs(session, [found])
        if not await complete(session, found.claim, at=at):
            return
        (attempt,) = await lock_rows(session, Attempt, [found.attempt.id])
        if attempt.state == AttemptState.ADMITTED:
            await _end_unstarted(session, attempt, reason, at=at)
            # What holds the name on the cluster, if anything, is not ours to remove.
            attempt.removed_at = at


async def _try_again(context: SchedulerContext, found: _Admitted, error: Exception) -> None:
    at = context.clock.now()
    sentence = f"cluster {found.cluster.name} did not take the launch ({type(error).__name__}); it is tried again"
    async with context.database.transaction() as session:
        (job,) = await _lock_jobs(session, [found])
        if not await fail(session, found.claim, f"{type(error).__name__}: {error}", at=at):
            return
        if job.state == JobState.ADMITTED and job.state_code != "LAUNCH_DELAYED":
            job.state_code, job.state_message = "LAUNCH_DELAYED", sentence
            reason = Reason("LAUNCH_DELAYED", sentence)
            await tell(session, job, reason, attempt_id=found.attempt.id, at=at, new_id=context.new_id)


async def _lock_jobs(session: AsyncSession, many: Sequence[_Admitted]) -> Sequence[Job]:
    """The jobs before their rows in the outbox, as a cancel and an expiry lock them; the other order is a deadlock."""
    return await lock_rows(session, Job, [found.job.id for found in many])


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
        await put_back(session, claimed, available_at=at + wait)


async def _find(context: SchedulerContext, claims: Sequence[Claim]) -> dict[UUID, _Admitted]:
    """What the claims are about, by claim; one whose job has no attempt yet is left out."""
    by_job = {UUID(claimed.payload["job_id"]): claimed for claimed in claims}
    statement = (
        select(Job, Attempt, Pool, Cluster, Team.name)
        .join(Attempt, Attempt.job_id == Job.id)
        .join(Pool, Pool.id == Attempt.pool_id)
        .join(Cluster, Cluster.id == Pool.cluster_id)
        .join(Team, Team.id == Job.team_id)
        .where(among(Job.id, by_job))
        .ext(distinct_on(Job.id))
        .order_by(Job.id, Attempt.number.desc())
    )
    async with context.database.read() as session:
        rows = (await session.execute(statement)).all()
    return {
        by_job[job.id].id: _Admitted(
            claim=by_job[job.id], job=job, attempt=attempt, pool=pool, cluster=cluster, team=team
        )
        for job, attempt, pool, cluster, team in rows
    }


async def _end_unstarted(session: AsyncSession, attempt: Attempt, reason: Reason, *, at: datetime) -> None:
    attempt.state = AttemptState.REFUSED.value
    attempt.exit_reason_code, attempt.exit_reason_message = reason.code, reason.message
    attempt.ended_at = at
    await session.execute(delete(SlotUse).where(SlotUse.attempt_id == attempt.id))
