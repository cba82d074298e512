"""Letting the clusters forget what is settled, after what the runner itself printed was kept."""

import logging
from collections.abc import Hashable, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from scheduler.clusters.executor import Executor
from scheduler.clusters.tables import Cluster, ClusterState, Pool
from scheduler.context import SchedulerContext
from scheduler.jobs.following import job_changed
from scheduler.jobs.states import AttemptState
from scheduler.jobs.tables import Attempt, AttemptReport, Job
from scheduler.lanes import Visit, one_by_one
from scheduler.leases import return_lease, take_lease
from scheduler.reconcile import REVENANT
from scheduler.runs.logs import mask_tokens

PLATFORM_LINES_MAX = 1_000
PLATFORM_REPORT = 0

logger = logging.getLogger(__name__)


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
