"""What is used: the pools with who has their accelerators, and until when at the latest."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import defer

from guildhall.db.transaction import ReadSession
from scheduler.clusters.executor import Reason
from scheduler.clusters.tables import Cluster, ClusterState, MachineRow, Pool, SlotUse
from scheduler.jobs.tables import Attempt, Job
from scheduler.machines import slots_for_us
from scheduler.plan import MachineState, Occupant, PoolState


async def read_pools(
    session: ReadSession, *, at: datetime, grace_seconds: int, cluster_ids: Collection[UUID] | None = None
) -> tuple[PoolState, ...]:
    """Every pool, or those of some clusters, at this moment. What has not started is counted as if it started now."""
    chosen = Pool.id.is_not(None) if cluster_ids is None else Pool.cluster_id.in_(cluster_ids)
    occupants = await _read_occupants(session, chosen, at=at, grace_seconds=grace_seconds)
    machines = await _read_machines(session, chosen)
    rows = (
        await session.execute(
            select(Pool, Cluster).join(Cluster, Cluster.id == Pool.cluster_id).where(chosen).order_by(Pool.id)
        )
    ).all()
    return tuple(
        PoolState(
            id=pool.id,
            name=pool.name,
            slots=pool.slots,
            machines=tuple(
                MachineState(name=machine.name, slots=slots_for_us(pool, machine))
                for machine in machines.get(pool.cluster_id, ())
                if pool.id in machine.pool_ids
            ),
            occupants=tuple(_occupants_of(pool, occupants.get(pool.cluster_id, ()))),
            closed=closed_reason(cluster),
        )
        for pool, cluster in rows
    )


async def read_accelerators(session: ReadSession) -> dict[UUID, list[int]]:
    """By pool of a Kubernetes cluster: the accelerators of each of its machines, whoever has them now."""
    statement = select(Pool.id, MachineRow.accelerators[Pool.accelerator_resource].as_integer()).join(
        MachineRow, Pool.id == func.any(MachineRow.pool_ids)
    )
    found: dict[UUID, list[int]] = {}
    for pool_id, slots in await session.execute(statement):
        found.setdefault(pool_id, []).append(slots)
    return found


def closed_reason(cluster: Cluster) -> Reason | None:
    """Why nothing may start at the cluster now; None: it may."""
    if cluster.state == ClusterState.READY:
        return None
    assert cluster.state_message is not None, "who is not ready has a reason"
    code = "CLUSTER_UNREGISTERED" if cluster.state == ClusterState.UNREGISTERED else "CLUSTER_UNREACHABLE"
    return Reason(code, f"nothing starts at cluster {cluster.name} for now: {cluster.state_message}")


async def _read_occupants(
    session: ReadSession, chosen: ColumnElement[bool], *, at: datetime, grace_seconds: int
) -> dict[UUID, list[tuple[UUID, Occupant]]]:
    """By cluster: the pool of each occupant, and the occupant."""
    statement = (
        select(
            Pool.cluster_id, Pool.id, Job.id, Job.name, Job.walltime_seconds, Attempt.started_at, Attempt.machines,
            func.count(),
        )
        .select_from(SlotUse)
        .join(Attempt, Attempt.id == SlotUse.attempt_id)
        .join(Job, Job.id == Attempt.job_id)
        .join(Pool, Pool.id == SlotUse.pool_id)
        .where(chosen)
        .group_by(Pool.id, Job.id, Attempt.id)
        .order_by(Pool.id, Attempt.id)
    )  # fmt: skip
    occupants: dict[UUID, list[tuple[UUID, Occupant]]] = {}
    for found, pool_id, job_id, name, walltime, started_at, places, slots in await session.execute(statement):
        ends_at = (started_at or at) + timedelta(seconds=walltime + grace_seconds)
        occupant = Occupant(job_id=job_id, job_name=name, slots=slots, ends_at=ends_at, machines=tuple(places))
        occupants.setdefault(found, []).append((pool_id, occupant))
    return occupants


async def _read_machines(session: ReadSession, chosen: ColumnElement[bool]) -> dict[UUID, list[MachineRow]]:
    """By cluster, without labels and taints: which pools those lead to is known already."""
    statement = (
        select(MachineRow)
        .where(MachineRow.cluster_id.in_(select(Pool.cluster_id).where(chosen)))
        .options(defer(MachineRow.labels), defer(MachineRow.taints))
        .order_by(MachineRow.name)
    )
    machines: dict[UUID, list[MachineRow]] = {}
    for machine in await session.scalars(statement):
        machines.setdefault(machine.cluster_id, []).append(machine)
    return machines


def _occupants_of(pool: Pool, occupants: Iterable[tuple[UUID, Occupant]]) -> Iterator[Occupant]:
    """The pool's own, and where machines belong to several pools, those of the others that may be in the way."""
    for pool_id, occupant in occupants:
        if pool_id == pool.id or occupant.machines:
            yield occupant


def free_slots(slots: int, used: Iterable[int], wanted: int) -> tuple[int, ...] | None:
    """The lowest free numbers of a pool with so many slots, or None where there are not enough.

    Numbers beyond the pool's size, left over from before it shrank, still count as used.
    """
    taken = set(used)
    free = [slot for slot in range(slots) if slot not in taken]
    return tuple(free[:wanted]) if wanted <= len(free) and wanted <= slots - len(taken) else None
