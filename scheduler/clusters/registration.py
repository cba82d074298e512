"""Connecting Kubernetes clusters and letting go of them. What a cluster answered was found out before, by a probe.

No event of the audit record and no answer holds credentials: they say which kind was given.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.leases import RETURNED
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import Database, ReadSession, WriteSession
from guildhall.errors import Conflict, InvalidInput, NotFound, Problem
from guildhall.keys import Keyring
from guildhall.slugs import require_slug
from scheduler.clusters.kept_credentials import REGISTER, forget_credentials, keep_credentials
from scheduler.clusters.pool_settings import CARBON_GRAMS_PER_KWH_MAX, TEXT_CHARACTERS_MAX
from scheduler.clusters.probing import ProbedCluster
from scheduler.clusters.tables import (
    REQUESTS_PER_SECOND_MAX,
    Cluster,
    ClusterKind,
    ClusterState,
    CredentialsKind,
    MachineRow,
    Pool,
)
from scheduler.jobs.states import LIVE_ATTEMPT_STATES
from scheduler.jobs.tables import Attempt, Job
from scheduler.machines import derive_pools
from scheduler.waking import wake_workers

LOST_AFTER_SECONDS_MAX = 30 * 24 * 3_600
UNREGISTERED = "it is not registered any more"


class UnknownCluster(NotFound):
    """No Kubernetes cluster that is registered has this id."""

    code = "UNKNOWN_CLUSTER"


class ClusterNameTaken(Conflict):
    """Another cluster has the name."""

    code = "CLUSTER_NAME_TAKEN"


class ClusterRegisteredTwice(Conflict):
    """The same Kubernetes under a second name: its accelerators would be given out twice."""

    code = "CLUSTER_REGISTERED_TWICE"


class AnotherCluster(Conflict):
    """Credentials that lead to another Kubernetes than the one that is registered."""

    code = "ANOTHER_CLUSTER"


class ClusterInUse(Conflict):
    """Jobs are on the cluster."""

    code = "CLUSTER_IN_USE"


async def check_registration(
    session: ReadSession,
    actor: Actor,
    *,
    name: str,
    region: str,
    carbon_grams_per_kwh: int | None,
    requests_per_second: int,
    jobs_lost_after_seconds: int | None,
) -> None:
    """What can be refused before the cluster is looked at; nobody without the permission makes us connect anywhere."""
    require(actor, REGISTER, team_id=None)
    require_slug(name, "name")
    problems = _rule_problems(requests_per_second, jobs_lost_after_seconds)
    if not region.strip() or len(region) > TEXT_CHARACTERS_MAX or not region.isprintable():
        message = f"Say the region, in 1 to {TEXT_CHARACTERS_MAX} characters."
        problems.append(Problem("INVALID_INPUT", message, "region"))
    if not 0 <= (carbon_grams_per_kwh or 0) <= CARBON_GRAMS_PER_KWH_MAX:
        message = f"carbonGramsPerKwh is a whole number from 0 to {CARBON_GRAMS_PER_KWH_MAX}."
        problems.append(Problem("OUT_OF_RANGE", message, "carbonGramsPerKwh"))
    if problems:
        raise InvalidInput(problems)
    taken = select(Cluster.id).where(Cluster.name == name, Cluster.state != ClusterState.UNREGISTERED)
    if await session.scalar(taken) is not None:
        raise _name_taken(name)


async def register_cluster(
    session: WriteSession,
    actor: Actor,
    *,
    name: str,
    region: str,
    carbon_grams_per_kwh: int | None,
    kubeconfig: str | None,
    requests_per_second: int,
    jobs_lost_after_seconds: int | None,
    probed: ProbedCluster,
    keyring: Keyring,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Keep a cluster that was probed, READY, and return its id. One that was let go of comes back as what it was.

    Raises what `check_registration` does, ClusterNameTaken and ClusterRegisteredTwice.
    """
    wanted = {
        "region": region,
        "carbon_grams_per_kwh": carbon_grams_per_kwh,
        "requests_per_second": requests_per_second,
        "jobs_lost_after_seconds": jobs_lost_after_seconds,
    }
    await check_registration(
        session, actor, name=name, region=region, carbon_grams_per_kwh=carbon_grams_per_kwh,
        requests_per_second=requests_per_second, jobs_lost_after_seconds=jobs_lost_after_seconds,
    )  # fmt: skip
    columns = {**wanted, "uid": probed.uid, "version": probed.version, "seen_at": at, **_state(ClusterState.READY)}
    twin = await session.scalar(select(Cluster.name).where(Cluster.uid == probed.uid))
    if twin is not None:
        raise _registered_twice(twin)
    gone = await session.scalar(
        select(Cluster.id).where(Cluster.name == name, Cluster.state == ClusterState.UNREGISTERED).with_for_update()
    )
    if gone is None:
        row = {"id": new_id(), "name": name, "kind": ClusterKind.KUBERNETES.value, "created_at": at, **columns}
        made = insert(Cluster).values(row).on_conflict_do_nothing().returning(Cluster.id)
        cluster_id = await session.scalar(made)
        if cluster_id is None:  # a rival has been quicker
            raise _name_taken(name)
    else:
        cluster_id = gone
        await session.execute(update(Cluster).where(Cluster.id == cluster_id).values(columns))
    await keep_credentials(session, cluster_id, kubeconfig, keyring=keyring, at=at)
    after = {"name": name, **wanted, "credentials": _kind(kubeconfig), "uid": probed.uid}
    await record(
        session, actor, action=REGISTER, resources=[ResourceRef("Cluster", cluster_id)], after=after, at=at,
        new_id=new_id,
    )  # fmt: skip
    wake_workers(session)
    return cluster_id


async def update_credentials(
    session: WriteSession,
    actor: Actor,
    *,
    cluster_id: UUID,
    kubeconfig: str | None,
    probed: ProbedCluster,
    keyring: Keyring,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Reach the same cluster with other credentials from now on; jobs there do not notice.

    Raises UnknownCluster, and AnotherCluster for credentials of another one: its jobs would count as lost.
    """
    require(actor, REGISTER, team_id=None, resource=ResourceRef("Cluster", cluster_id))
    cluster = await _lock(session, cluster_id)
    if cluster.uid not in {None, probed.uid}:
        raise AnotherCluster(
            f"These credentials lead to another cluster than the one that is registered as {cluster.name}: register "
            "that one under a name of its own.",
            field="kubeconfig",
        )
    await keep_credentials(session, cluster_id, kubeconfig, keyring=keyring, at=at)
    values = {"version": probed.version, "seen_at": at, **_state(ClusterState.READY)}
    await session.execute(update(Cluster).where(Cluster.id == cluster_id).values(values))
    await record(
        session, actor, action=REGISTER, resources=[ResourceRef("Cluster", cluster_id)],
        after={"credentials": _kind(kubeconfig)}, at=at, new_id=new_id,
    )  # fmt: skip
    wake_workers(session)


async def update_cluster(
    session: WriteSession,
    actor: Actor,
    *,
    cluster_id: UUID,
    requests_per_second: int,
    jobs_lost_after_seconds: int | None,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Set how hard the cluster is asked, and after how long away its jobs count as lost; None: never."""
    require(actor, REGISTER, team_id=None, resource=ResourceRef("Cluster", cluster_id))
    problems = _rule_problems(requests_per_second, jobs_lost_after_seconds)
    if problems:
        raise InvalidInput(problems)
    cluster = await _lock(session, cluster_id)
    after = {"requests_per_second": requests_per_second, "jobs_lost_after_seconds": jobs_lost_after_seconds}
    before = {name: getattr(cluster, name) for name in after}
    for name, value in after.items():
        setattr(cluster, name, value)
    await session.flush()
    if before != after:
        await record(
            session, actor, action=REGISTER, resources=[ResourceRef("Cluster", cluster_id)], before=before, after=after,
            at=at, new_id=new_id,
        )  # fmt: skip
    wake_workers(session)


async def unregister_cluster(
    session: WriteSession, actor: Actor, *, cluster_id: UUID, at: datetime, new_id: IdSource
) -> None:
    """Forget its credentials and machines; pools and what ran there stay on record, and admit nothing.

    Raises ClusterInUse while a job is there. What has ended and is still to be cleared away is left to the cluster.
    """
    require(actor, REGISTER, team_id=None, resource=ResourceRef("Cluster", cluster_id))
    cluster = await _lock(session, cluster_id)
    there = select(Attempt.id).join(Pool, Pool.id == Attempt.pool_id).where(Pool.cluster_id == cluster_id)
    live = await session.scalar(
        select(func.count())
        .select_from(Attempt)
        .join(Job, Job.id == Attempt.job_id)
        .where(Attempt.id.in_(there), Attempt.state.in_(LIVE_ATTEMPT_STATES) | Job.settled_at.is_(None))
    )
    if live:
        jobs = "1 job is" if live == 1 else f"{live} jobs are"
        raise ClusterInUse(
            f"{jobs} still on the cluster {cluster.name}: let them end, or cancel them; if it is gone for good, say "
            "with updateCluster after how many seconds its jobs count as lost.",
            field="clusterId",
        )
    await session.execute(
        update(Attempt).where(Attempt.id.in_(there), Attempt.removed_at.is_(None)).values(removed_at=at)
    )
    await session.execute(delete(MachineRow).where(MachineRow.cluster_id == cluster_id))
    await forget_credentials(session, cluster_id)
    # Whoever looks at it now finds its lease gone, so that a late answer does not bring it back.
    values = {"uid": None, "machines_at": None, **RETURNED}
    state = _state(ClusterState.UNREGISTERED, "CLUSTER_UNREGISTERED", UNREGISTERED)
    await session.execute(update(Cluster).where(Cluster.id == cluster_id).values({**values, **state}))
    await derive_pools(session, cluster_id)
    await record(
        session, actor, action=REGISTER, resources=[ResourceRef("Cluster", cluster_id)],
        after={"state": ClusterState.UNREGISTERED}, at=at, new_id=new_id,
    )  # fmt: skip
    wake_workers(session)


async def read_cluster_states(database: Database) -> dict[str, str]:
    """The state of each cluster by its name, for whoever watches them."""
    async with database.read() as session:
        return dict((await session.execute(select(Cluster.name, Cluster.state))).all())


async def _lock(session: WriteSession, cluster_id: UUID) -> Cluster:
    rows = await lock_rows(session, Cluster, [cluster_id])
    if not rows or rows[0].kind != ClusterKind.KUBERNETES or rows[0].state == ClusterState.UNREGISTERED:
        raise UnknownCluster("There is no registered Kubernetes cluster with this id.", field="clusterId")
    return rows[0]


def _rule_problems(requests_per_second: int, jobs_lost_after_seconds: int | None) -> list[Problem]:
    numbers = {
        "requestsPerSecond": (requests_per_second, REQUESTS_PER_SECOND_MAX),
        "jobsLostAfterSeconds": (jobs_lost_after_seconds, LOST_AFTER_SECONDS_MAX),
    }
    return [
        Problem("OUT_OF_RANGE", f"{name} is a whole number from 1 to {most}.", name)
        for name, (value, most) in numbers.items()
        if value is not None and not 1 <= value <= most
    ]


def _state(state: ClusterState, code: str | None = None, message: str | None = None) -> dict[str, object]:
    return {"state": state.value, "state_code": code, "state_message": message}


def _kind(kubeconfig: str | None) -> str:
    return (CredentialsKind.IN_CLUSTER if kubeconfig is None else CredentialsKind.KUBECONFIG).value


def _name_taken(name: str) -> ClusterNameTaken:
    return ClusterNameTaken(
        f"There is a cluster named {name} already: change its credentials with updateClusterCredentials, or choose "
        "another name.",
        field="name",
    )


def _registered_twice(name: str) -> ClusterRegisteredTwice:
    return ClusterRegisteredTwice(
        f"This Kubernetes is registered already, as {name}: under two names its accelerators would be given out twice.",
        field="kubeconfig",
    )
