"""Pools: what there is to run on, what is used, and what it costs."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, or_, select

from guildhall.graphql.context import Context
from guildhall.graphql.declare import (
    column,
    connection,
    embedded,
    extend,
    find,
    many,
    node,
    object_type,
    one,
    resolver,
)
from guildhall.graphql.sources import Clauses, Orders
from marketplace.tables import Quote, Rate
from scheduler.clusters.tables import Cluster, Pool, SlotUse
from scheduler.graphql.clusters import POOL_READ
from scheduler.jobs.states import JobState
from scheduler.jobs.tables import Job

RATES_MAX = 200

POOL_ORDERS = Orders("Pool", {"NAME": Pool.name, "SLOTS": Pool.slots})


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


@object_type("NodeLabel")
class NodeLabelType:
    """A label of a node."""

    name: str
    value: str


@node("Pool", table=Pool, visible=None, permission=POOL_READ)
class PoolType:
    """One kind of accelerator at one cluster."""

    name: str = column(Pool.name)
    accelerator: str = column(Pool.accelerator)
    cluster = one("Cluster", local=Pool.cluster_id, nullable=False)
    capacity = embedded("PoolCapacity")
    nodes: int = column(Pool.nodes)
    image: str | None = column(Pool.image, description="What jobs run in that name no image of their own.")
    accelerator_resource: str | None = column(
        Pool.accelerator_resource, description="Under which name the nodes of its cluster offer the accelerators."
    )

    @resolver(needs={"labels": Pool.node_selector}, returns="NodeLabel", many=True, nullable=False)
    def node_selector(_context: Context, values: Mapping[str, Any]) -> list[Mapping[str, str]]:
        """The labels that a node of its cluster must have to belong to it."""
        return [{"name": name, "value": value} for name, value in sorted(values["labels"].items())]

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


TYPES = [PoolCapacityType, NodeLabelType, PoolType, RatePool, PoolQueries]
