"""Which pools can run a job, and for each that cannot the first reason."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from guildhall.db.transaction import ReadSession
from guildhall.errors import Problem
from marketplace.price_lists import load_tariffs
from marketplace.tariffs import Tariff
from scheduler.capacity import closed_reason, read_accelerators
from scheduler.clusters.executor import Reason
from scheduler.clusters.tables import Cluster, ClusterKind, Pool
from scheduler.jobs.spec import JobSpec
from scheduler.plan import accelerators
from scheduler.quoting.references import Found

POOLS_MAX = 1_000


@dataclass(frozen=True, kw_only=True)
class Offer:
    """A pool, its cluster, and why it cannot run the job; None: it can, at the tariff."""

    pool: Pool
    cluster: Cluster
    tariff: Tariff | None
    reason: Reason | None


async def read_offers(
    session: ReadSession, *, spec: JobSpec, found: Found, chosen: Collection[str] | None, at: datetime
) -> list[Offer]:
    """Every pool as an offer, by name. `chosen` narrows the choice to pools of these names."""
    statement = select(Pool, Cluster).join(Cluster, Cluster.id == Pool.cluster_id).order_by(Pool.name).limit(POOLS_MAX)
    rows = (await session.execute(statement)).all()
    machines = await read_accelerators(session)
    ends_at = spec.start_by + timedelta(seconds=spec.walltime_seconds)
    tariffs = await load_tariffs(
        session, pool_ids=[pool.id for pool, _ in rows], tier=spec.tier, starts_at=at, ends_at=ends_at
    )
    return [
        Offer(
            pool=pool,
            cluster=cluster,
            tariff=tariffs.get(pool.id),
            reason=_why_not(pool, spec, chosen)
            or _closed(cluster)
            or _too_small(pool, cluster, machines.get(pool.id, ()), spec)
            or _not_allowed(pool, cluster, spec, found)
            or _no_rate(tariffs.get(pool.id), spec, at, ends_at),
        )
        for pool, cluster in rows
    ]


def no_offer_problem(offers: Sequence[Offer], spec: JobSpec) -> Problem:
    """What to mend when no pool can run the job: the field that excludes the nearest ones."""
    kinds = sorted({offer.pool.accelerator for offer in offers})
    if not kinds:
        return Problem("NO_POOL", "There are no pools yet: an administrator makes them by configuration.", "job")
    wanted = spec.per_node.accelerator
    matching = [offer for offer in offers if wanted in {None, offer.pool.accelerator}]
    if not matching:
        message = f"No pool has accelerators of kind {wanted}; there are {', '.join(kinds)}."
        return Problem("UNKNOWN_ACCELERATOR", message, "job.perNode.accelerator")
    reasons = {offer.reason.code: offer for offer in matching if offer.reason is not None}
    fields = {
        "TOO_FEW": "job.perNode.acceleratorCount",
        "TOO_FEW_NODES": "job.nodes",
        "TOO_LITTLE_CPU": "job.perNode.cpu",
        "TOO_LITTLE_MEMORY": "job.perNode.memoryBytes",
        "WALLTIME_TOO_LONG": "job.walltimeSeconds",
        "NO_RATE": "job.tier",
        "IMAGE_NOT_LOCAL": "job.source.image",
        "IMAGE_MISSING": "job.source.image",
    }
    code = next(iter(reasons)) if len(reasons) == 1 else "NO_ELIGIBLE_POOL"
    told = "; ".join(f"{offer.pool.name}: {offer.reason.message}" for offer in matching if offer.reason is not None)
    return Problem(code, f"No pool can run this job. {told}.", fields.get(code, "job"))


def _why_not(pool: Pool, spec: JobSpec, chosen: Collection[str] | None) -> Reason | None:
    if chosen is not None and pool.name not in chosen:
        return Reason("NOT_CHOSEN", "the job names other pools")
    if spec.per_node.accelerator not in {None, pool.accelerator}:
        return Reason("ACCELERATOR_MISMATCH", f"has {pool.accelerator}, not {spec.per_node.accelerator}")
    return None


def _too_small(pool: Pool, cluster: Cluster, machines: Sequence[int], spec: JobSpec) -> Reason | None:
    """Whether the job would fit if it were alone there. `machines`: the accelerators of each machine of the pool."""
    node = spec.per_node
    if cluster.kind == ClusterKind.KUBERNETES and not machines:
        return Reason("NO_MACHINES", _finds_nothing(pool, cluster))
    if node.accelerator_count > pool.slots_per_node:
        wanted = accelerators(node.accelerator_count)
        return Reason("TOO_FEW", f"its nodes have {accelerators(pool.slots_per_node)}, the job wants {wanted}")
    room = sum(slots // node.accelerator_count for slots in machines) if machines else pool.nodes
    if spec.nodes > room:
        each = f" with {accelerators(node.accelerator_count)} each" if machines else ""
        return Reason("TOO_FEW_NODES", f"has room for {room} nodes{each}, the job wants {spec.nodes}")
    if node.cpu is not None and pool.cpu_per_node is not None and node.cpu > pool.cpu_per_node:
        return Reason("TOO_LITTLE_CPU", f"its nodes have {pool.cpu_per_node} cores, the job wants {node.cpu:g}")
    if node.memory_bytes is not None and (pool.memory_bytes_per_node or node.memory_bytes) < node.memory_bytes:
        told = f"its nodes have {pool.memory_bytes_per_node} bytes of memory, the job wants {node.memory_bytes}"
        return Reason("TOO_LITTLE_MEMORY", told)
    if spec.walltime_seconds > pool.walltime_seconds_max:
        told = f"lets jobs run {pool.walltime_seconds_max} seconds, the job wants {spec.walltime_seconds}"
        return Reason("WALLTIME_TOO_LONG", told)
    return None


def _finds_nothing(pool: Pool, cluster: Cluster) -> str:
    if cluster.machines_at is None:
        return f"is at cluster {cluster.name}, whose nodes have not been read yet"
    labels = ", ".join(f"{name}={value}" for name, value in sorted(pool.node_selector.items()))
    marked = f" with {labels}" if labels else ""
    return (
        f"has no nodes: none of cluster {cluster.name}{marked} offers {pool.accelerator_resource} and has only taints "
        "that the pool tolerates"
    )


def _closed(cluster: Cluster) -> Reason | None:
    reason = closed_reason(cluster)
    return (
        None
        if reason is None
        else Reason(reason.code, f"waits for its cluster {cluster.name}: {cluster.state_message}")
    )


def _not_allowed(pool: Pool, cluster: Cluster, spec: JobSpec, found: Found) -> Reason | None:
    regions = found.regions
    if regions is not None and cluster.region not in regions:
        allowed = " or ".join(sorted(regions)) or "no common region"
        return Reason("REGION", f"is in {cluster.region}, the inputs may only be in {allowed}")
    if cluster.kind == ClusterKind.LOCAL:
        if found.sensitive:
            return Reason("RESTRICTED_NOT_LOCAL", "runs jobs on this machine, which cannot keep RESTRICTED data apart")
        if spec.image is not None:
            return Reason("IMAGE_NOT_LOCAL", "runs packages as processes, no images")
        if spec.nodes > 1:
            return Reason("TOO_FEW_NODES", "is one machine")
    elif spec.image is None and pool.image is None:
        return Reason("IMAGE_MISSING", "has no image for jobs that bring a package: the job must name one")
    return None


def _no_rate(tariff: Tariff | None, spec: JobSpec, at: datetime, ends_at: datetime) -> Reason | None:
    if tariff is None or not tariff.covers(at, ends_at):
        return Reason(
            "NO_RATE", f"has no rate of tier {spec.tier} for all of the time until {ends_at:%Y-%m-%d %H:%M} UTC"
        )
    return None
