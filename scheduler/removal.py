"""Letting the clusters forget what is settled, after what the runner itself printed was kept."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar
from uuid import UUID

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert

from scheduler.clusters.executor import Executor
from scheduler.clusters.tables import Cluster, ClusterState, Pool
from scheduler.context import SchedulerContext
from scheduler.jobs.following import job_changed
from scheduler.jobs.states import AttemptState
from scheduler.jobs.tables import Attempt, AttemptReport, Job
from scheduler.lanes import Visit, one_by_one
from scheduler.leases import return_leases, take_leases
from scheduler.reconcile import REVENANT
from scheduler.runs.logs import mask_tokens

PLATFORM_LINES_MAX = 1_000
PLATFORM_REPORT = 0
REMOVED_TOGETHER_MAX = 10
"""Attempts under one lease, which must outlive some requests for each at the cluster's pace."""
REMOVED_IN_CYCLE_MAX = 50
"""Attempts of one cluster: nothing else is asked of it meanwhile."""
STARTING_MANY = 5
"""While so many are being started at a cluster, clearing away waits: it costs the cluster as much as they do."""
KEPT_MAX = timedelta(minutes=2)
"""And no longer than this."""

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Settled:
    """An attempt to forget. `lost`: it counts as ended, but may run on at a cluster that has come back."""

    id: UUID
    job_id: UUID
    name: str
    lost: bool


async def remove_settled(context: SchedulerContext) -> None:
    """Let the clusters forget what is settled, after what the runner itself printed was kept.

    One that could not be removed is tried again when its lease is over, so that it stands before no other.
    """
    at = context.clock.now()
    starting = (
        select(Pool.cluster_id)
        .join(Attempt, Attempt.pool_id == Pool.id)
        .where(Attempt.removed_at.is_(None), Attempt.state.in_([AttemptState.ADMITTED, AttemptState.STARTING]))
        .group_by(Pool.cluster_id)
        .having(func.count() >= STARTING_MANY)
    )
    may_wait = (Attempt.state != AttemptState.LOST) & (Job.settled_at > at - KEPT_MAX)
    statement = (
        select(Attempt.id, Attempt.job_id, Attempt.name, Attempt.state, Cluster)
        .join(Job, Job.id == Attempt.job_id)
        .join(Pool, Pool.id == Attempt.pool_id)
        .join(Cluster, Cluster.id == Pool.cluster_id)
        .where(Attempt.removed_at.is_(None), Attempt.ended_at.is_not(None), Job.settled_at.is_not(None))
        .where(or_(Attempt.lease_expires_at.is_(None), Attempt.lease_expires_at <= at))
        .where(Cluster.state == ClusterState.READY)
        .where(or_(~may_wait, Cluster.id.not_in(starting)))
        .order_by(Attempt.id)
    )
    async with context.database.read() as session:
        rows = (await session.execute(statement)).all()
    settled: dict[UUID, list[_Settled]] = {}
    executors: dict[UUID, Executor] = {}
    for attempt_id, job_id, name, state, cluster in rows:
        executor = context.executor(cluster.name, cluster.kind)
        if executor is not None:
            executors[cluster.id] = executor
            each = _Settled(id=attempt_id, job_id=job_id, name=name, lost=state == AttemptState.LOST)
            settled.setdefault(cluster.id, []).append(each)
    visits: dict[Hashable, Visit] = {}
    for cluster_id, of_cluster in settled.items():
        starts = range(0, min(len(of_cluster), REMOVED_IN_CYCLE_MAX), REMOVED_TOGETHER_MAX)
        parts = [of_cluster[start : start + REMOVED_TOGETHER_MAX] for start in starts]
        visits[cluster_id] = partial(
            one_by_one, [partial(_remove, context, part, executors[cluster_id]) for part in parts]
        )
    await context.visit(visits)


async def _remove(context: SchedulerContext, many: Sequence[_Settled], executor: Executor) -> None:
    """Those of one cluster, side by side. One that fails is told of and tried again, and stops no other."""
    token, taken = await take_leases(context, Attempt, [each.id for each in many])
    ours = [each for each in many if each.id in set(taken)]
    if not ours:
        return
    context.reach("remove.leased")
    read = await _side_by_side(ours, lambda each: _platform_lines(context, each, executor))
    try:
        await _keep_platform_lines(context, {each.id: lines for each, lines in read.items()})
    except Exception:
        logger.exception(
            "What the runners of %d attempts printed could not be kept; it will be tried again.", len(read)
        )
        read = {}
    removed = await _side_by_side(list(read), lambda each: _forget(context, each, executor))
    context.reach("remove.removed")
    done = [each.id for each in removed]
    async with context.database.transaction() as session:
        await return_leases(session, Attempt, done, token, removed_at=context.clock.now())
        for each in ours:
            job_changed(session, each.job_id)
    context.reach("remove.recorded")


async def _side_by_side(
    many: Sequence[_Settled], ask: Callable[[_Settled], Awaitable[Answer]]
) -> dict[_Settled, Answer]:
    """The answers of those for which there was one."""
    answers = await asyncio.gather(*(ask(each) for each in many), return_exceptions=True)
    found: dict[_Settled, Answer] = {}
    for each, answer in zip(many, answers, strict=True):
        if isinstance(answer, Exception):
            logger.error("Removing %s failed; it will be tried again.", each.name, exc_info=answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found[each] = answer
    return found


async def _platform_lines(context: SchedulerContext, settled: _Settled, executor: Executor) -> list[str]:
    answer = await context.ask(executor.logs(settled.name, after=0, limit=PLATFORM_LINES_MAX))
    return [line.text for line in answer]


async def _forget(context: SchedulerContext, settled: _Settled, executor: Executor) -> None:
    if settled.lost:
        await context.ask(executor.stop(settled.name, grace_seconds=0, reason=REVENANT))
    await context.ask(executor.remove(settled.name))


async def _keep_platform_lines(context: SchedulerContext, lines: Mapping[UUID, Sequence[str]]) -> None:
    at = context.clock.now()
    rows = [
        {
            "attempt_id": attempt_id,
            "sequence": PLATFORM_REPORT,
            "received_at": at,
            "lines": [_kept(line, at) for line in of_one],
        }
        for attempt_id, of_one in lines.items()
        if of_one
    ]
    if not rows:
        return
    async with context.database.transaction() as session:
        await session.execute(
            insert(AttemptReport).values(rows).on_conflict_do_nothing(index_elements=["attempt_id", "sequence"])
        )


def _kept(line: str, at: datetime) -> dict[str, str]:
    return {"at": at.isoformat(), "stream": "platform", "text": mask_tokens(line).replace("\0", "\ufffd")}
