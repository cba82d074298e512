"""Run intervals as the platform reports them: one for each container, counted once, and what they cost."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.clock import IdSource
from guildhall.db.among import among
from marketplace.pricing import Run, charge_runs
from marketplace.quotes import tariffs_of
from marketplace.tables import Quote
from scheduler.clusters.executor import ContainerRun
from scheduler.jobs.tables import Attempt, RunInterval


async def record_intervals(
    session: AsyncSession, runs: Sequence[tuple[UUID, ContainerRun]], *, new_id: IdSource
) -> None:
    """Keep what was seen of containers, by their uids: a start once, and an end once it has ended, in one INSERT."""
    rows = [
        {
            "id": new_id(),
            "attempt_id": attempt_id,
            "source_uid": run.source_uid,
            "started_at": run.started_at,
            "ended_at": run.ended_at if run.ended_at is not None and run.started_at <= run.ended_at else None,
        }
        for attempt_id, run in runs
    ]
    if not rows:
        return
    statement = insert(RunInterval)
    told = statement.excluded.ended_at
    await session.execute(
        statement.on_conflict_do_update(
            index_elements=["source_uid"],
            set_={"ended_at": told},
            where=RunInterval.ended_at.is_(None) & (RunInterval.started_at <= told),
        ),
        rows,
    )


async def close_intervals(session: AsyncSession, attempts: Sequence[Attempt]) -> dict[UUID, list[RunInterval]]:
    """The attempts' intervals, in their order, by attempt; one without an end ends with its attempt.

    So a lost container pays until it was last seen.
    """
    ended = {attempt.id: attempt.ended_at for attempt in attempts}
    found: dict[UUID, list[RunInterval]] = {attempt_id: [] for attempt_id in ended}
    statement = select(RunInterval).where(among(RunInterval.attempt_id, ended)).order_by(RunInterval.started_at)
    for interval in await session.scalars(statement):
        ended_at = ended[interval.attempt_id]
        assert ended_at is not None, "the attempt has ended"
        if interval.ended_at is None:
            interval.ended_at = max(interval.started_at, ended_at)
        found[interval.attempt_id].append(interval)
    return found


def price_runs(quote: Quote, pool_id: UUID, intervals: Sequence[RunInterval], *, slots: int, hold: int) -> int:
    """What the intervals on that pool cost at the quote's rates, never more than the hold, in micro-credits.

    Each interval is one container's, so `slots` are those of one node: a node that starts late or ends early pays less.
    """
    tariff = tariffs_of(quote, [pool_id])[pool_id]
    runs = [Run(tariff, each.started_at, each.ended_at) for each in intervals if each.ended_at is not None]
    assert len(runs) == len(intervals), "intervals are closed before they are priced"
    return charge_runs(runs, slots, hold=hold)
