"""The scheduler's share of the configuration: clusters and pools. What is named is made or changed, nothing else."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.changes import Change, ChangeAction, compared
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict, Invalid, InvalidInput, Problem
from scheduler.clusters.pool_settings import PoolSetting, check_settings, kind_problems
from scheduler.clusters.tables import Cluster, ClusterKind, ClusterState, Pool, SlotUse
from scheduler.machines import derive_pools
from scheduler.waking import wake_workers

PERMISSION = "scheduler:pool:change"


class PoolInUse(Conflict):
    """Jobs run on the pool, so that it cannot move to another cluster."""

    code = "POOL_IN_USE"


class UnknownCluster(Invalid):
    """A pool names a cluster that was not registered."""

    code = "UNKNOWN_CLUSTER"


async def apply_pools(
    session: WriteSession, actor: Actor, items: Sequence[PoolSetting], *, at: datetime, new_id: IdSource
) -> list[Change]:
    """Make or change pools and their clusters; a Change for each cluster named, then one for each pool, in order."""
    if not items:
        return []
    require(actor, PERMISSION, team_id=None)
    check_settings(items)
    changes = []
    clusters: dict[str, Cluster] = {}
    for index, item in enumerate(items):
        if item.cluster not in clusters:
            place = f"pools[{index}].cluster"
            change, clusters[item.cluster] = await _apply_cluster(session, actor, item, place, at=at, new_id=new_id)
            changes.append(change)
    problems = [
        problem
        for index, item in enumerate(items)
        for problem in kind_problems(item, ClusterKind(clusters[item.cluster].kind), f"pools[{index}]")
    ]
    if problems:
        raise InvalidInput(problems)
    for index, item in enumerate(items):
        changes.append(
            await _apply_pool(
                session, actor, item, clusters[item.cluster], field=f"pools[{index}]", at=at, new_id=new_id
            )
        )
    for cluster in clusters.values():
        if cluster.kind == ClusterKind.KUBERNETES:
            await derive_pools(session, cluster.id)
    wake_workers(session)
    return changes


async def pools_by_name(session: ReadSession) -> dict[str, UUID]:
    """Every pool, for price lists, which name them."""
    return dict((await session.execute(select(Pool.name, Pool.id))).all())


async def _apply_cluster(
    session: WriteSession, actor: Actor, item: PoolSetting, field: str, *, at: datetime, new_id: IdSource
) -> tuple[Change, Cluster]:
    """Make or change a LOCAL cluster; of a registered one only what is stated of region and carbon."""
    cluster = await session.scalar(select(Cluster).where(Cluster.name == item.cluster).with_for_update(key_share=True))
    kind = item.kind or (ClusterKind.LOCAL if cluster is None else ClusterKind(cluster.kind))
    known = cluster is not None and cluster.kind == kind and cluster.state != ClusterState.UNREGISTERED
    if kind is ClusterKind.KUBERNETES and not known:
        raise UnknownCluster(
            f"There is no Kubernetes cluster named {item.cluster}: connect it with registerCluster first.", field=field
        )
    if cluster is not None and cluster.kind != kind:
        raise UnknownCluster(
            f"{item.cluster} is a registered Kubernetes cluster: leave its kind out, or choose another name.",
            field=field,
        )
    if cluster is None and item.region is None:
        message = f"Say the region of the cluster {item.cluster}: where its machines stand."
        raise InvalidInput([Problem("INVALID_INPUT", message, field.replace(".cluster", ".region"))])
    wanted: dict[str, object] = {"region": item.region, "carbon_grams_per_kwh": item.carbon_grams_per_kwh}
    if kind is ClusterKind.KUBERNETES or item.region is None:
        wanted = {name: value for name, value in wanted.items() if value is not None}
    before = None if cluster is None else {name: getattr(cluster, name) for name in wanted}
    if cluster is None:
        cluster = Cluster(id=new_id(), name=item.cluster, kind=kind.value, created_at=at, **wanted)
        session.add(cluster)
    for name, value in wanted.items():
        setattr(cluster, name, value)
    await session.flush()
    action = await _recorded(session, actor, ResourceRef("Cluster", cluster.id), before, wanted, at=at, new_id=new_id)
    return Change("Cluster", item.cluster, action, compared(before, wanted)), cluster


async def _apply_pool(
    session: WriteSession,
    actor: Actor,
    item: PoolSetting,
    cluster: Cluster,
    *,
    field: str,
    at: datetime,
    new_id: IdSource,
) -> Change:
    pool = await session.scalar(select(Pool).where(Pool.name == item.name).with_for_update(key_share=True))
    wanted = {"cluster_id": cluster.id, **item.columns(ClusterKind(cluster.kind))}
    before = None if pool is None else {name: getattr(pool, name) for name in wanted}
    if pool is None:
        # Of a Kubernetes pool nothing is there until its cluster's machines have been looked at, later in here.
        pool = Pool(
            id=new_id(), name=item.name, created_at=at, **{"slots": 0, "nodes": 0, "slots_per_node": 0} | wanted
        )
        session.add(pool)
    elif pool.cluster_id != cluster.id and await _in_use(session, pool.id):
        raise PoolInUse(
            f"Jobs run on the pool {item.name}: it cannot move to another cluster.", field=f"{field}.cluster"
        )
    for name, value in wanted.items():
        setattr(pool, name, value)
    await session.flush()
    action = await _recorded(session, actor, ResourceRef("Pool", pool.id), before, wanted, at=at, new_id=new_id)
    was = None if before is None else await _with_cluster_name(session, before)
    return Change("Pool", item.name, action, compared(was, await _with_cluster_name(session, wanted)))


async def _with_cluster_name(session: WriteSession, columns: Mapping[str, object]) -> dict[str, object]:
    """The columns of a pool as people read them: its cluster by name."""
    name = await session.scalar(select(Cluster.name).where(Cluster.id == columns["cluster_id"]))
    return {"cluster": name, **{column: value for column, value in columns.items() if column != "cluster_id"}}


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
