"""Comparing the database with the clusters: what the platform says of each attempt becomes its state and its intervals.

One worker at a time holds a cluster's lease from its list until what the list said is written; a list that comes late
is dropped. What the platform does not list any more, although it took the launch, is lost.
"""

import logging
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import ARRAY, String, any_, delete, literal, select

from guildhall.db.among import among
from guildhall.db.locks import lock_rows
from scheduler.clusters.executor import ClusterAway, ClusterRefuses, ContainerRun, Executor, Observation, Phase, Reason
from scheduler.clusters.tables import Cluster, ClusterState, Pool, SlotUse
from scheduler.clusters.trouble import Trouble, trouble_of
from scheduler.context import SchedulerContext
from scheduler.jobs.moving import JobEventValues, add_job_events, moved, told
from scheduler.jobs.states import LIVE_ATTEMPT_STATES, AttemptState, JobState
from scheduler.jobs.tables import Attempt, Job
from scheduler.lanes import Visit
from scheduler.leases import holds_lease, return_lease, take_lease
from scheduler.machines import store_machines
from scheduler.metering import record_intervals

MACHINES_EVERY = timedelta(seconds=5)
"""How often the machines of a cluster are read."""
MISSING_AFTER = timedelta(seconds=15)
"""How long after its launch a name may be missing from a full list before the attempt counts as lost."""
FORGOTTEN_AFTER = timedelta(seconds=30)
"""How long after its removal a name may still be in a list that lags behind."""
SEEN_EVERY = timedelta(seconds=5)
"""How often it is written down that an attempt still runs: a lost one pays until then."""

RECORDED_TOGETHER_MAX = 50

REVENANT = Reason("ATTEMPT_ENDED", "this attempt is over")
LOST = Reason("LOST", "the cluster does not know it any more")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Watched:
    """An attempt as it stood before the list was asked for."""

    id: UUID
    job_id: UUID
    name: str
    state: AttemptState
    spec_hash: str
    launched_at: datetime | None
    seen_at: datetime | None


_News = tuple[_Watched, Observation | None]
"""What is seen of an attempt; None: nothing any more, it is lost."""


async def observe_clusters(context: SchedulerContext) -> None:
    """Compare each cluster that this worker serves, side by side. One that does not answer is closed until it does."""
    async with context.database.read() as session:
        registered = select(Cluster).where(Cluster.state != ClusterState.UNREGISTERED).order_by(Cluster.id)
        clusters = (await session.scalars(registered)).all()
    visits: dict[Hashable, Visit] = {}
    for cluster in clusters:
        executor = context.executor(cluster.name, cluster.kind)
        if executor is not None:
            visits[cluster.id] = partial(visit_cluster, context, cluster, executor)
    await context.visit(visits)


async def visit_cluster(context: SchedulerContext, listed: Cluster, executor: Executor) -> None:
    """Compare one, unless somebody else does so now, or it was let go of since it was listed."""
    token = await take_lease(context, Cluster, listed.id)
    if token is None:
        return
    context.reach("observe.leased")
    async with context.database.read() as session:
        cluster = (await session.scalars(select(Cluster).where(Cluster.id == listed.id))).one()
    if cluster.state == ClusterState.UNREGISTERED:
        async with context.database.transaction() as session:
            await return_lease(session, Cluster, cluster.id, token)
        return
    try:
        await _observe(context, cluster, executor, token)
    except (ClusterAway, ClusterRefuses) as trouble:
        await _close(context, cluster, token, trouble_of(cluster, trouble))
    except Exception:
        logger.exception("Cluster %s could not be compared; it will be tried again.", cluster.name)
        async with context.database.transaction() as session:
            await return_lease(session, Cluster, cluster.id, token)


async def _close(context: SchedulerContext, cluster: Cluster, token: UUID, trouble: Trouble) -> None:
    """Nothing starts there until it answers again; what runs there stays as it is, unless its rule says otherwise."""
    if cluster.state != trouble.state:
        logger.warning("Nothing starts at cluster %s: %s.", cluster.name, trouble.message)
    at = context.clock.now()
    after = cluster.jobs_lost_after_seconds
    if after is not None and (cluster.seen_at or cluster.created_at) + timedelta(seconds=after) <= at:
        reason = Reason("CLUSTER_LOST", f"its cluster {cluster.name} has not answered for {after} seconds")
        news = [(attempt, None) for attempt in await _watched(context, cluster.id)]
        if not await _record(context, cluster, token, news, lost=reason):
            return
    async with context.database.transaction() as session:
        await return_lease(session, Cluster, cluster.id, token, **trouble.columns())


async def _observe(context: SchedulerContext, cluster: Cluster, executor: Executor, token: UUID) -> None:
    watched = await _watched(context, cluster.id)
    asked_at = context.clock.now()
    found = {observation.name: observation for observation in await context.ask(executor.observe())}
    context.reach("observe.observed")
    news: list[_News] = []
    for attempt in watched:
        observation = found.get(attempt.name)
        if observation is not None and observation.spec_hash != attempt.spec_hash:
            logger.error("Incident: %s runs on %s with another spec than ours.", attempt.name, cluster.name)
            observation = None
        if observation is None and not _overdue(attempt, asked_at):
            continue
        if observation is None and attempt.name not in found and await context.ask(executor.knows(attempt.name)):
            # The list lags behind a cluster that has it. Asked for each by itself: a loss ends a job.
            continue
        if _says_something_new(attempt, observation, asked_at):
            news.append((attempt, observation))
    if not await _record(context, cluster, token, news):
        return
    await _clear_revenants(context, executor, found, asked_at=asked_at)
    counted = await _count_machines(context, cluster, executor, token)
    if cluster.state != ClusterState.READY:
        logger.info("Cluster %s answers again.", cluster.name)
    async with context.database.transaction() as session:
        ready = {"state": ClusterState.READY.value, "state_code": None, "state_message": None}
        values = {**ready, **counted, "observed_at": asked_at, "seen_at": context.clock.now()}
        await return_lease(session, Cluster, cluster.id, token, **values)


async def _count_machines(
    context: SchedulerContext, cluster: Cluster, executor: Executor, token: UUID
) -> dict[str, object]:
    """Keep what machines there are, every MACHINES_EVERY; what the cluster's row is to say of it."""
    at = context.clock.now()
    if cluster.machines_at is not None and at < cluster.machines_at + MACHINES_EVERY:
        return {}
    machines = await context.ask(executor.machines())
    version = await context.ask(executor.version())
    if machines is not None:
        async with context.database.transaction() as session:
            if await holds_lease(session, Cluster, cluster.id, token):
                await store_machines(session, cluster.id, machines, new_id=context.new_id)
    return {"machines_at": at, "version": version}


async def _clear_revenants(
    context: SchedulerContext, executor: Executor, found: Mapping[str, Observation], *, asked_at: datetime
) -> None:
    """End what runs under a name that is settled and forgotten: a launch that a stalled worker sent long after.

    Its token counts no more, so it could neither read nor report; it is not billed. Names that are not ours stay.
    """
    forgotten = Attempt.removed_at <= asked_at - FORGOTTEN_AFTER
    statement = select(Attempt.name).where(Attempt.name == any_(literal(list(found), ARRAY(String))), forgotten)
    async with context.database.read() as session:
        names = (await session.scalars(statement)).all() if found else ()
    for name in names:
        logger.error("Incident: %s runs again after it was removed; it is ended.", name)
        if found[name].phase in {Phase.ENDED, Phase.LOST}:
            await context.ask(executor.remove(name))
        else:
            await context.ask(executor.stop(name, grace_seconds=0, reason=REVENANT))


async def _watched(context: SchedulerContext, cluster_id: UUID) -> list[_Watched]:
    statement = (
        select(Attempt)
        .join(Pool, Pool.id == Attempt.pool_id)
        .where(Pool.cluster_id == cluster_id, Attempt.removed_at.is_(None), Attempt.state.in_(LIVE_ATTEMPT_STATES))
        .order_by(Attempt.id)
    )
    async with context.database.read() as session:
        return [
            _Watched(
                id=row.id,
                job_id=row.job_id,
                name=row.name,
                state=AttemptState(row.state),
                spec_hash=row.spec_hash,
                launched_at=row.launched_at,
                seen_at=row.seen_at,
            )
            for row in await session.scalars(statement)
        ]


def _overdue(attempt: _Watched, asked_at: datetime) -> bool:
    """One that is being launched right now may be missing from a list that was asked for before."""
    return attempt.launched_at is not None and attempt.launched_at + MISSING_AFTER <= asked_at


def _says_something_new(attempt: _Watched, observation: Observation | None, asked_at: datetime) -> bool:
    if observation is None or attempt.state.value != observation.phase.value:
        return True
    return attempt.seen_at is None or attempt.seen_at + SEEN_EVERY <= asked_at


async def _record(
    context: SchedulerContext, cluster: Cluster, token: UUID, news: Sequence[_News], *, lost: Reason = LOST
) -> bool:
    """Write it down, many in one transaction; False: somebody else has the cluster now, and this comes too late."""
    for start in range(0, len(news), RECORDED_TOGETHER_MAX):
        many = news[start : start + RECORDED_TOGETHER_MAX]
        try:
            held = await _apply(context, cluster, token, many, lost=lost)
        except Exception:
            if len(many) == 1:
                logger.exception("What is seen of %s could not be kept; it will be tried again.", many[0][0].name)
                continue
            # One that cannot be kept stops no other.
            held = all([await _record(context, cluster, token, [each], lost=lost) for each in many])
        else:
            context.reach("observe.recorded")
        if not held:
            return False
    return True


async def _apply(
    context: SchedulerContext, cluster: Cluster, token: UUID, news: Sequence[_News], *, lost: Reason
) -> bool:
    at = context.clock.now()
    async with context.database.transaction() as session:
        if not await holds_lease(session, Cluster, cluster.id, token):
            return False
        jobs = {job.id: job for job in await lock_rows(session, Job, [watched.job_id for watched, _ in news])}
        attempts = {each.id: each for each in await lock_rows(session, Attempt, [watched.id for watched, _ in news])}
        runs: list[tuple[UUID, ContainerRun]] = []
        events: list[JobEventValues] = []
        for watched, observation in news:
            attempt = attempts[watched.id]
            if attempt.state in LIVE_ATTEMPT_STATES:
                _observed(attempt, observation, at=at, lost=lost)
                if observation is not None:
                    runs += [(attempt.id, run) for run in observation.runs]
                    events += _follow(jobs[attempt.job_id], attempt, observation, context=context, at=at)
        await record_intervals(session, runs, new_id=context.new_id)
        await add_job_events(session, events)
        ended = [attempt.id for attempt in attempts.values() if attempt.state not in LIVE_ATTEMPT_STATES]
        if ended:
            # Their processes are gone: their accelerators are free. Money and the job's end come with settlement.
            await session.execute(delete(SlotUse).where(among(SlotUse.attempt_id, ended)))
    return True


def _observed(attempt: Attempt, observation: Observation | None, *, at: datetime, lost: Reason) -> None:
    attempt.launched_at = attempt.launched_at or at
    if observation is None:
        _end(attempt, AttemptState.LOST, attempt.seen_at or attempt.started_at or at, None, lost)
        return
    attempt.started_at = attempt.started_at or observation.started_at
    state = AttemptState(observation.phase.value)
    if observation.phase in {Phase.ENDED, Phase.LOST}:
        ended_at = observation.ended_at or attempt.seen_at or attempt.started_at or at
        _end(attempt, state, ended_at, observation.exit_code, observation.reason)
    else:
        attempt.seen_at = at
        attempt.state = state.value


def _end(
    attempt: Attempt, state: AttemptState, ended_at: datetime, exit_code: int | None, reason: Reason | None
) -> None:
    attempt.state = state.value
    attempt.ended_at = max(ended_at, attempt.started_at or ended_at)
    attempt.exit_code = exit_code
    if reason is not None:
        attempt.exit_reason_code, attempt.exit_reason_message = reason.code, reason.message


def _follow(
    job: Job, attempt: Attempt, observation: Observation, *, context: SchedulerContext, at: datetime
) -> Iterator[JobEventValues]:
    """The job goes where its attempt is, unless it was told to stop meanwhile."""
    if attempt.started_at is not None and job.started_at is None:
        job.started_at = attempt.started_at
    new_id = context.new_id
    if job.state == JobState.ADMITTED:
        reason = Reason("LAUNCHED", "the cluster has taken it")
        yield moved(job, JobState.STARTING, reason, attempt_id=attempt.id, at=at, new_id=new_id)
    if job.state == JobState.STARTING and attempt.started_at is not None:
        reason = Reason("STARTED", f"runs since {attempt.started_at:%H:%M:%S} UTC, as the platform reports")
        yield moved(job, JobState.RUNNING, reason, attempt_id=attempt.id, at=at, new_id=new_id)
    if job.state == JobState.STARTING and observation.reason is not None and job.state_code != observation.reason.code:
        # Why it has not started: a new kind of reason is an event, another wording of it is not.
        job.state_code, job.state_message = observation.reason.code, observation.reason.message
        yield told(job, observation.reason, attempt_id=attempt.id, at=at, new_id=new_id)
