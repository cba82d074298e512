"""The scheduler's share of the configuration: clusters and pools. What is named is made or changed, nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.changes import Change, ChangeAction
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict, InvalidInput, Problem
from guildhall.slugs import require_slug
from scheduler.clusters.tables import SLOTS_MAX, Cluster, ClusterKind, Pool, SlotUse
from scheduler.quoting.checks import WALLTIME_SECONDS_MAX
from scheduler.waking import wake_workers

PERMISSION = "scheduler:pool:change"
POOLS_MAX = 1_000
TEXT_CHARACTERS_MAX = 100
WATTS_MAX = 100_000
CARBON_GRAMS_PER_KWH_MAX = 10_000
WALLTIME_SECONDS_DEFAULT = 24 * 3_600


class PoolInUse(Conflict):
    """Jobs run on the pool, so that it cannot move to another cluster."""

    code = "POOL_IN_USE"


@dataclass(frozen=True, kw_only=True)
class PoolSetting:
    """A pool as the configuration says it should be; its cluster is made where there is none of this name.

    `slots` are all accelerators of the pool, spread evenly over `nodes`. Region, kind and carbon are the cluster's.
    """

    name: str
    cluster: str
    region: str
    accelerator: str
    slots: int
    carbon_grams_per_kwh: int | None = None
    kind: ClusterKind = ClusterKind.LOCAL
    nodes: int = 1
    watts_per_accelerator: int = 0
    walltime_seconds_max: int = WALLTIME_SECONDS_DEFAULT
    cpu_per_node: int | None = None
    memory_bytes_per_node: int | None = None


async def apply_pools(
    session: WriteSession, actor: Actor, items: Sequence[PoolSetting], *, at: datetime, new_id: IdSource
) -> list[Change]:
    """Make or change pools and their clusters; a Change for each cluster named, then one for each pool, in order."""
    if not items:
        return []
    require(actor, PERMISSION, team_id=None)
    _check(items)
    clusters = {item.cluster: item for item in items}
    changes = []
    ids: dict[str, UUID] = {}
    for name, item in clusters.items():
        change, ids[name] = await _apply_cluster(session, actor, item, at=at, new_id=new_id)
        changes.append(change)
    for index, item in enumerate(items):
        changes.append(
            await _apply_pool(session, actor, item, ids[item.cluster], field=f"pools[{index}]", at=at, new_id=new_id)
        )
    wake_workers(session)
    return changes


async def pools_by_name(session: ReadSession) -> dict[str, UUID]:
    """Every pool, for price lists, which name them."""
    return dict((await session.execute(select(Pool.name, Pool.id))).all())


def _check(items: Sequence[PoolSetting]) -> None:
    problems: list[Problem] = []
    names: set[str] = set()
    clusters: dict[str, PoolSetting] = {}
    for index, item in enumerate(items):
        field = f"pools[{index}]"
        require_slug(item.name, f"{field}.name")
        require_slug(item.cluster, f"{field}.cluster")
        if item.name in names:
            problems.append(Problem("NAMED_TWICE", f"The pool {item.name} is named twice.", f"{field}.name"))
        names.add(item.name)
        first = clusters.setdefault(item.cluster, item)
        if _cluster_values(first) != _cluster_values(item):
            message = f"The cluster {item.cluster} has one region, kind and carbon intensity; its pools state others."
            problems.append(Problem("CLUSTER_AMBIGUOUS", message, f"{field}.cluster"))
        problems += _numbers(item, field)
    if len(items) > POOLS_MAX:
        problems.append(Problem("TOO_MANY_POOLS", f"A configuration has at most {POOLS_MAX} pools.", "pools"))
    if problems:
        raise InvalidInput(problems)


def _numbers(item: PoolSetting, field: str) -> list[Problem]:
    texts = {"region": item.region, "accelerator": item.accelerator}
    problems = [
        Problem("INVALID_INPUT", f"Say the {name}, in 1 to {TEXT_CHARACTERS_MAX} characters.", f"{field}.{name}")
        for name, text in texts.items()
        if not text.strip() or len(text) > TEXT_CHARACTERS_MAX or not text.isprintable()
    ]
    numbers = {
        "slots": (item.slots, 0, SLOTS_MAX),
        "nodes": (item.nodes, 1, SLOTS_MAX),
        "wattsPerAccelerator": (item.watts_per_accelerator, 0, WATTS_MAX),
        "carbonGramsPerKwh": (item.carbon_grams_per_kwh or 0, 0, CARBON_GRAMS_PER_KWH_MAX),
        "walltimeSecondsMax": (item.walltime_seconds_max, 1, WALLTIME_SECONDS_MAX),
        "cpuPerNode": (1 if item.cpu_per_node is None else item.cpu_per_node, 1, 2**31 - 1),
        "memoryBytesPerNode": (1 if item.memory_bytes_per_node is None else item.memory_bytes_per_node, 1, 2**62),
    }
    problems += [
        Problem("OUT_OF_RANGE", f"{name} is a whole number from {least} to {most}.", f"{field}.{name}")
        for name, (value, least, most) in numbers.items()
        if not least <= value <= most
    ]
    return problems


async def _apply_cluster(
    session: WriteSession, actor: Actor, item: PoolSetting, *, at: datetime, new_id: IdSource
) -> tuple[Change, UUID]:
    cluster = await session.scalar(select(Cluster).where(Cluster.name == item.cluster).with_for_update(key_share=True))
    wanted = _cluster_values(item)
    before = None if cluster is None else {name: getattr(cluster, name) for name in wanted}
    if cluster is None:
        cluster = Cluster(id=new_id(), name=item.cluster, created_at=at, **wanted)
        session.add(cluster)
    for name, value in wanted.items():
        setattr(cluster, name, value)
    await session.flush()
    action = await _recorded(session, actor, ResourceRef("Cluster", cluster.id), before, wanted, at=at, new_id=new_id)
    return Change("Cluster", item.cluster, action), cluster.id


def _cluster_values(item: PoolSetting) -> dict[str, object]:
    """What a pool's setting says of its cluster."""
    return {"region": item.region, "kind": item.kind.value, "carbon_grams_per_kwh": item.carbon_grams_per_kwh}


async def _apply_pool(
    session: WriteSession,
    actor: Actor,
    item: PoolSetting,
    cluster_id: UUID,
    *,
    field: str,
    at: datetime,
    new_id: IdSource,
) -> Change:
    pool = await session.scalar(select(Pool).where(Pool.name == item.name).with_for_update(key_share=True))
    wanted = {
        "cluster_id": cluster_id,
        "accelerator": item.accelerator,
        "slots": item.slots,
        "nodes": item.nodes,
        "watts_per_accelerator": item.watts_per_accelerator,
        "walltime_seconds_max": item.walltime_seconds_max,
        "cpu_per_node": item.cpu_per_node,
        "memory_bytes_per_node": item.memory_bytes_per_node,
    }
    before = None if pool is None else {name: getattr(pool, name) for name in wanted}
    if pool is None:
        pool = Pool(id=new_id(), name=item.name, created_at=at, **wanted)
        session.add(pool)
    elif pool.cluster_id != cluster_id and await _in_use(session, pool.id):
        raise PoolInUse(
            f"Jobs run on the pool {item.name}: it cannot move to another cluster.", field=f"{field}.cluster"
        )
    for name, value in wanted.items():
        setattr(pool, name, value)
    await session.flush()
    action = await _recorded(session, actor, ResourceRef("Pool", pool.id), before, wanted, at=at, new_id=new_id)
    return Change("Pool", item.name, action)


async def _in_use(session: WriteSession, pool_id: UUID) -> bool:
    return await session.scalar(select(SlotUse.slot).where(SlotUse.pool_id == pool_id).limit(1)) is not None


async def _recorded(
    session: WriteSession,
    actor: Actor,
    resource: ResourceRef,
    before: Mapping[str, object] | None,
    wanted: Mapping[str, object],
    *,
    at: datetime,
    new_id: IdSource,
) -> ChangeAction:
    """What changes nothing leaves no event."""
    if before == wanted:
        return ChangeAction.UNCHANGED
    await record(
        session, actor, action=PERMISSION, resources=[resource], before=before, after=wanted, at=at, new_id=new_id
    )
    return ChangeAction.CREATED if before is None else ChangeAction.UPDATED
