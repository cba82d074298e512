"""Ending what has to end: jobs over their walltime or not started in time, and attempts whose job was told to stop."""

import logging
from collections.abc import Hashable
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import func, or_, select

from guildhall.audit.record import record
from guildhall.auth.resources import ResourceRef
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import WriteSession
from scheduler.apply import SETTLE
from scheduler.clusters.executor import Executor, Reason
from scheduler.clusters.tables import Cluster, ClusterState, Pool
from scheduler.context import SchedulerContext
from scheduler.jobs.moving import move
from scheduler.jobs.outcome import NOT_STARTED_IN_TIME, WALLTIME_REACHED
from scheduler.jobs.states import AttemptState, JobState
from scheduler.jobs.tables import Attempt, Job
from scheduler.lanes import Visit, one_by_one
from scheduler.launching import hasten_launch
from scheduler.leases import return_lease, take_lease

STOP_AGAIN_AFTER = timedelta(seconds=30)
"""A cluster that did not act on a stop is told again."""

_ADMITTED = (JobState.ADMITTED, JobState.STARTING, JobState.RUNNING)

logger = logging.getLogger(__name__)


async def stop_overdue(context: SchedulerContext) -> None:
    """Tell jobs over their walltime to stop. The executor may have done so before: then nothing is lost."""
    at = context.clock.now()
    overdue = select(Job.id).where(
        Job.state == JobState.RUNNING,
        Job.started_at + func.make_interval(0, 0, 0, 0, 0, 0, Job.walltime_seconds) <= at,
    )
    async with context.database.read() as session:
        ids = (await session.scalars(overdue)).all()
    for job_id in ids:
        async with context.database.transaction() as session:
            (job,) = await lock_rows(session, Job, [job_id])
            if job.state != JobState.RUNNING:
                continue
            reason = Reason(WALLTIME_REACHED, f"its walltime of {job.walltime_seconds} seconds is over")
            await tell_to_stop(session, context, job, reason, at=at)
        context.reach("overdue.recorded")


async def stop_unstarted(context: SchedulerContext) -> None:
    """Tell what was admitted but not started by its latest start to stop: whoever asked wants it by then or not at all.

    Only where the cluster was listed since: one that is away may have started it in time. What was seen to have started
    too late is stopped as well.
    """
    at = context.clock.now()
    unstarted = (
        select(Job.id)
        .join(Attempt, Attempt.job_id == Job.id)
        .join(Pool, Pool.id == Attempt.pool_id)
        .join(Cluster, Cluster.id == Pool.cluster_id)
        .where(Job.state.in_(_ADMITTED), Job.start_by <= at, Attempt.ended_at.is_(None))
        .where(
            or_(Attempt.started_at > Job.start_by, Attempt.started_at.is_(None) & (Cluster.observed_at >= Job.start_by))
        )
        .order_by(Job.id)
    )
    async with context.database.read() as session:
        ids = (await session.scalars(unstarted)).all()
    for job_id in ids:
        async with context.database.transaction() as session:
            (job,) = await lock_rows(session, Job, [job_id])
            if job.state not in _ADMITTED or (job.started_at is not None and job.started_at <= job.start_by):
                continue
            if job.state == JobState.ADMITTED:
                await hasten_launch(session, job, at=at)
            reason = Reason(NOT_STARTED_IN_TIME, f"could not be started by {job.start_by:%Y-%m-%d %H:%M} UTC")
            await tell_to_stop(session, context, job, reason, at=at)
        context.reach("overdue.recorded")


async def tell_to_stop(
    session: WriteSession, context: SchedulerContext, job: Job, reason: Reason, *, at: datetime
) -> None:
    """Move a locked job to STOPPING, for the reason given; its cluster is then asked to end it, with a grace."""
    job.stop_code, job.stop_message, job.stop_at = reason.code, reason.message, at
    await move(session, job, JobState.STOPPING, reason, at=at, new_id=context.new_id)
    await record(
        session,
        context.actor,
        action=SETTLE,
        resources=[ResourceRef("Job", job.id)],
        team_id=job.team_id,
        justification=reason.message,
        after={"state": JobState.STOPPING},
        at=at,
        new_id=context.new_id,
    )


async def stop_attempts(context: SchedulerContext) -> None:
    """Ask the clusters to end what belongs to stopping jobs; asked again after a while, as stops are idempotent."""
    at = context.clock.now()
    statement = (
        select(Attempt.id, Attempt.name, Cluster, Job.stop_code, Job.stop_message)
        .join(Job, Job.id == Attempt.job_id)
        .join(Pool, Pool.id == Attempt.pool_id)
        .join(Cluster, Cluster.id == Pool.cluster_id)
        .where(Job.state == JobState.STOPPING, Attempt.state.in_([AttemptState.STARTING, AttemptState.RUNNING]))
        .where(Attempt.stopped_at.is_(None) | (Attempt.stopped_at <= at - STOP_AGAIN_AFTER))
        .where(Cluster.state == ClusterState.READY)
        .order_by(Attempt.id)
    )
    async with context.database.read() as session:
        rows = (await session.execute(statement)).all()
    tasks: dict[Hashable, list[Visit]] = {}
    for attempt_id, name, cluster, code, message in rows:
        executor = context.executor(cluster.name, cluster.kind)
        if executor is not None:
            assert code is not None, "who is stopping was told why"
            stop = partial(_stop, context, attempt_id, name, executor, Reason(code, message or code))
            tasks.setdefault(cluster.id, []).append(stop)
    await context.visit({cluster_id: partial(one_by_one, stops) for cluster_id, stops in tasks.items()})


async def _stop(context: SchedulerContext, attempt_id: UUID, name: str, executor: Executor, reason: Reason) -> None:
    token = await take_lease(context, Attempt, attempt_id)
    if token is None:
        return
    context.reach("stop.leased")
    values: dict[str, datetime] = {}
    try:
        await context.ask(executor.stop(name, grace_seconds=context.settings.runner_grace_seconds, reason=reason))
        values["stopped_at"] = context.clock.now()
    except Exception:
        logger.exception("Stopping %s failed; it will be tried again.", name)
    context.reach("stop.asked")
    async with context.database.transaction() as session:
        await return_lease(session, Attempt, attempt_id, token, **values)
    context.reach("stop.recorded")
