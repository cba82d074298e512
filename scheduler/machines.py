"""What a cluster's machines are, kept as they were last read, and the pools that follow from them.

A pool of a Kubernetes cluster has no size of its own. Its machines are those that its selector finds; its accelerators
are what their pods may have, less what pods of others have. A machine that takes nothing new (cordoned, not ready)
still counts for what our jobs have on it, and for nothing more.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from scheduler.clusters.executor import Machine
from scheduler.clusters.tables import SLOTS_MAX, MachineRow, Pool, SlotUse
from scheduler.jobs.tables import Attempt

MACHINES_MAX = 5_000
"""Machines of one cluster that are kept; those beyond, in the order of their names, are not used."""
PREFERENCE = "PreferNoSchedule"


async def store_machines(
    session: AsyncSession, cluster_id: UUID, machines: Sequence[Machine], *, new_id: IdSource
) -> None:
    """Keep the machines as they are now, note where our attempts are, and let the cluster's pools follow.

    The caller holds the cluster's lease, so that nobody else writes them. What did not change is not written.
    """
    attempts = await _attempts(session, cluster_id)
    kept = {row.name: row for row in await session.scalars(_rows_of(cluster_id))}
    for machine in sorted(machines, key=lambda machine: machine.name)[:MACHINES_MAX]:
        values = _columns(machine, attempts)
        row = kept.pop(machine.name, None)
        if row is None:
            session.add(MachineRow(id=new_id(), cluster_id=cluster_id, name=machine.name, pool_ids=[], **values))
            continue
        for name, value in values.items():
            if getattr(row, name) != value:
                setattr(row, name, value)
    await session.execute(delete(MachineRow).where(MachineRow.id.in_([row.id for row in kept.values()])))
    await _note_places(session, machines, attempts)
    await session.flush()
    await derive_pools(session, cluster_id)


async def derive_pools(session: AsyncSession, cluster_id: UUID) -> None:
    """Say which pools the cluster's machines belong to, and how large the pools are because of it."""
    pools = list(await session.scalars(select(Pool).where(Pool.cluster_id == cluster_id).order_by(Pool.id)))
    machines = list(await session.scalars(_rows_of(cluster_id)))
    members: dict[UUID, list[MachineRow]] = {pool.id: [] for pool in pools}
    for machine in machines:
        pool_ids = [pool.id for pool in pools if belongs(pool, machine)]
        if machine.pool_ids != pool_ids:
            machine.pool_ids = pool_ids
        for pool_id in pool_ids:
            members[pool_id].append(machine)
    in_use = await _in_use(session, cluster_id)
    for pool in pools:
        for name, value in _size(pool, members[pool.id], in_use).items():
            if getattr(pool, name) != value:
                setattr(pool, name, value)
    await session.flush()


def belongs(pool: Pool, machine: MachineRow) -> bool:
    """Whether the pool's pods may run on the machine, once it takes any, and find accelerators there."""
    if not machine.accelerators.get(pool.accelerator_resource or "", 0):
        return False
    if any(machine.labels.get(name) != value for name, value in pool.node_selector.items()):
        return False
    return all(
        taint["effect"] == PREFERENCE or any(_tolerates(toleration, taint) for toleration in pool.tolerations)
        for taint in machine.taints
    )


def slots_for_us(pool: Pool, machine: MachineRow) -> int:
    """The accelerators that our jobs may have on the machine in all."""
    if not machine.schedulable:
        return 0
    resource = pool.accelerator_resource or ""
    allocatable: int = machine.accelerators.get(resource, 0)
    foreign: int = machine.foreign_accelerators.get(resource, 0)
    return max(0, allocatable - foreign)


def _rows_of(cluster_id: UUID) -> Any:  # noqa: ANN401 -- a select, whose type would only repeat its rows
    return select(MachineRow).where(MachineRow.cluster_id == cluster_id).order_by(MachineRow.name)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    key, value, effect = toleration.get("key"), toleration.get("value"), toleration.get("effect")
    return key in {None, taint["key"]} and value in {None, taint["value"]} and effect in {None, taint["effect"]}


async def _attempts(session: AsyncSession, cluster_id: UUID) -> dict[str, Attempt]:
    """By name those that have accelerators; a pod of another name of ours has what nobody of ours counts."""
    statement = (
        select(Attempt)
        .join(Pool, Pool.id == Attempt.pool_id)
        .where(Pool.cluster_id == cluster_id)
        .where(select(SlotUse.slot).where(SlotUse.attempt_id == Attempt.id).exists())
    )
    return {attempt.name: attempt for attempt in await session.scalars(statement)}


def _columns(machine: Machine, attempts: Mapping[str, Attempt]) -> dict[str, Any]:
    foreign: Counter[str] = Counter()
    for use in machine.uses:
        if use.launch not in attempts:
            foreign.update(use.accelerators)
    return {
        "labels": dict(machine.labels),
        "taints": [asdict(taint) for taint in machine.taints],
        "schedulable": machine.unschedulable is None,
        "reason": machine.unschedulable,
        "accelerators": dict(machine.accelerators),
        "foreign_accelerators": dict(foreign),
        "cpu_millis": machine.cpu_millis,
        "memory_bytes": machine.memory_bytes,
    }


async def _note_places(session: AsyncSession, machines: Iterable[Machine], attempts: Mapping[str, Attempt]) -> None:
    """The machines on which an attempt's pods are replace those of the plan, once all of its pods have one."""
    places: dict[str, list[str]] = {}
    for machine in machines:
        for use in machine.uses:
            if use.launch is not None and use.launch in attempts:
                places.setdefault(use.launch, []).append(machine.name)
    moved = {
        attempts[name].id: sorted(found)
        for name, found in places.items()
        if len(found) == len(attempts[name].machines) and sorted(found) != sorted(attempts[name].machines)
    }
    for attempt in await lock_rows(session, Attempt, moved):
        attempt.machines = moved[attempt.id]


async def _in_use(session: AsyncSession, cluster_id: UUID) -> Counter[tuple[UUID, str]]:
    """How many accelerators our attempts have, by pool and machine."""
    statement = (
        select(SlotUse.pool_id, Attempt.machines, func.count())
        .join(Attempt, Attempt.id == SlotUse.attempt_id)
        .join(Pool, Pool.id == SlotUse.pool_id)
        .where(Pool.cluster_id == cluster_id)
        .group_by(SlotUse.pool_id, Attempt.id)
    )
    counted: Counter[tuple[UUID, str]] = Counter()
    for pool_id, places, slots in await session.execute(statement):
        for name in places:
            counted[pool_id, name] += slots // len(places)
    return counted


def _size(pool: Pool, machines: Sequence[MachineRow], in_use: Counter[tuple[UUID, str]]) -> dict[str, int | None]:
    resource = pool.accelerator_resource or ""
    slots = sum(
        slots_for_us(pool, machine) if machine.schedulable else in_use[pool.id, machine.name] for machine in machines
    )
    return {
        "slots": min(slots, SLOTS_MAX),
        "nodes": len(machines),
        "slots_per_node": max((machine.accelerators[resource] for machine in machines), default=0),
        "cpu_per_node": max((machine.cpu_millis // 1_000 for machine in machines), default=0) or None,
        "memory_bytes_per_node": max((machine.memory_bytes for machine in machines), default=0) or None,
    }
