"""What is used: the pools with who has their accelerators, and until when at the latest."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select

from guildhall.db.transaction import ReadSession
from scheduler.clusters.tables import Pool, SlotUse
from scheduler.jobs.tables import Attempt, Job
from scheduler.plan import Occupant, PoolState


async def read_pools(session: ReadSession, *, at: datetime, grace_seconds: int) -> tuple[PoolState, ...]:
    """Every pool at this moment. What has not started yet is counted as if it started now."""
    statement = (
        select(SlotUse.pool_id, Job.id, Job.name, Job.walltime_seconds, Attempt.started_at, func.count())
        .join(Attempt, Attempt.id == SlotUse.attempt_id)
        .join(Job, Job.id == Attempt.job_id)
        .group_by(SlotUse.pool_id, Job.id, Attempt.id)
        .order_by(SlotUse.pool_id, Attempt.id)
    )
    occupants: dict[UUID, list[Occupant]] = {}
    for pool_id, job_id, name, walltime, started_at, slots in await session.execute(statement):
        ends_at = (started_at or at) + timedelta(seconds=walltime + grace_seconds)
        occupants.setdefault(pool_id, []).append(Occupant(job_id=job_id, job_name=name, slots=slots, ends_at=ends_at))
    pools = await session.execute(select(Pool.id, Pool.name, Pool.slots).order_by(Pool.id))
    return tuple(
        PoolState(id=pool_id, name=name, slots=slots, occupants=tuple(occupants.get(pool_id, ())))
        for pool_id, name, slots in pools
    )


def free_slots(slots: int, used: Iterable[int], wanted: int) -> tuple[int, ...] | None:
    """The lowest free numbers of a pool with so many slots, or None where there are not enough.

    Numbers beyond the pool's size, left over from before it shrank, still count as used.
    """
    taken = set(used)
    free = [slot for slot in range(slots) if slot not in taken]
    return tuple(free[:wanted]) if wanted <= len(free) and wanted <= slots - len(taken) else None
