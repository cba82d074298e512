"""Clusters and pools: what there is to run on, what is used, and what it costs."""

from datetime import datetime

from sqlalchemy import func, or_, select

from guildhall.graphql.context import Context
from guildhall.graphql.declare import column, connection, embedded, extend, find, many, node, object_type, one
from guildhall.graphql.sources import Clauses, Orders
from marketplace.tables import Quote, Rate
from scheduler.clusters.tables import Cluster, ClusterKind, Pool, SlotUse
from scheduler.jobs.states import JobState
from scheduler.jobs.tables import Job

POOL_READ = "scheduler:pool:read"
RATES_MAX = 200

POOL_ORDERS = Orders("Pool", {"NAME": Pool.name, "SLOTS": Pool.slots})


@node("Cluster", table=Cluster, visible=None, permission=POOL_READ)
class ClusterType:
    """Machines under one executor, in one region."""

    name: str = column(Cluster.name)
    region: str = column(Cluster.region)
    carbon_grams_per_kwh: int | None = column(
        Cluster.carbon_grams_per_kwh, description="How much carbon dioxide a kilowatt-hour of its grid stands for."
    )
    kind: ClusterKind = column(Cluster.kind)
    observed_at: datetime | None = column(Cluster.observed_at, description="When it was last compared with our record.")
    pools = many("Pool", local=Cluster.id, remote=Pool.cluster_id, order_by=[Pool.name])


@object_type("PoolCapacity", table=Pool)
class PoolCapacityType:
    """Accelerators of a pool: all, those in use, and those that waiting jobs which may run here ask for."""

    total: int = column(Pool.slots)
    used: int = column(
        select(func.count())
        .select_from(SlotUse)
        .where(SlotUse.pool_id == Pool.id)
        .correlate(Pool.__table__)
        .scalar_subquery()
    )
    waiting: int = column(
        select(func.coalesce(func.sum(Job.slots), 0))
        .join(Quote, Quote.id == Job.quote_id)
        .where(Job.state == JobState.QUEUED, Pool.id == func.any(Quote.eligible_pool_ids))
        .correlate(Pool.__table__)
        .scalar_subquery()
    )


def _still_valid(context: Context) -> Clauses:
    return [or_(Rate.valid_to.is_(None), Rate.valid_to > context.at)]


@node("Pool", table=Pool, visible=None, permission=POOL_READ)
class PoolType:
    """One kind of accelerator at one cluster."""

    name: str = column(Pool.name)
    accelerator: str = column(Pool.accelerator)
    cluster = one("Cluster", local=Pool.cluster_id, nullable=False)
    capacity = embedded("PoolCapacity")
    nodes: int = column(Pool.nodes)
    watts_per_accelerator: int = column(Pool.watts_per_accelerator)
    walltime_seconds_max: int = column(Pool.walltime_seconds_max)
    rates = many(
        "Rate",
        local=Pool.id,
        remote=Rate.pool_id,
        order_by=[Rate.valid_from, Rate.tier, Rate.position],
        where=_still_valid,
        maximum=RATES_MAX,
        description="Rates that hold now or later; at each moment the price list that began last decides.",
    )


@extend("Rate", permission=POOL_READ)
class RatePool:
    """What the scheduler knows of a rate."""

    pool = one("Pool", local=Rate.pool_id)


@extend("Query", permission=POOL_READ)
class PoolQueries:
    """What everybody may know before they ask for a quote."""

    pools = connection("Pool", orders=POOL_ORDERS, default_order=[Pool.name])
    clusters = connection("Cluster", default_order=[Cluster.name])

    @find("Pool", permission=POOL_READ)
    def pool(name: str) -> Clauses:
        """A pool by its name."""
        return [Pool.name == name]


TYPES = [ClusterType, PoolCapacityType, PoolType, RatePool, PoolQueries]
