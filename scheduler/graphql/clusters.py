"""Clusters: what they are made of and how they are, and the mutations that connect them and let go of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from guildhall.auth.authorize import require
from guildhall.auth.tables import Team
from guildhall.errors import Invalid
from guildhall.graphql.context import Call, Context
from guildhall.graphql.declare import (
    column,
    connection,
    extend,
    many,
    node,
    object_type,
    one,
    payload,
    reason,
    resolver,
)
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID, BigInt
from guildhall.keys import load_keyring
from scheduler.clusters.installation import installation_id
from scheduler.clusters.kept_credentials import REGISTER
from scheduler.clusters.probing import ClusterProber, ProbedCluster, require_reachable_by_pods
from scheduler.clusters.registration import (
    check_registration,
    register_cluster,
    unregister_cluster,
    update_cluster,
    update_credentials,
)
from scheduler.clusters.tables import REQUESTS_PER_SECOND_DEFAULT, Cluster, ClusterKind, ClusterState, MachineRow, Pool

POOL_READ = "scheduler:pool:read"


class CredentialsAmbiguous(Invalid):
    """Neither or both of a kubeconfig and the pod's own account were given."""

    code = "CREDENTIALS_AMBIGUOUS"


@node("Cluster", table=Cluster, visible=None, permission=POOL_READ)
class ClusterType:
    """Machines under one executor, in one region."""

    name: str = column(Cluster.name)
    region: str = column(Cluster.region)
    carbon_grams_per_kwh: int | None = column(
        Cluster.carbon_grams_per_kwh, description="How much carbon dioxide a kilowatt-hour of its grid stands for."
    )
    kind: ClusterKind = column(Cluster.kind)
    state: ClusterState = column(Cluster.state, description="Jobs start only where it is READY; what runs goes on.")
    state_reason = reason(Cluster.state_code, Cluster.state_message)
    version: str | None = column(Cluster.version, description="What it calls its own version.")
    requests_per_second: int = column(Cluster.requests_per_second, description="How hard each worker may ask it.")
    jobs_lost_after_seconds: int | None = column(
        Cluster.jobs_lost_after_seconds,
        description="After how long without an answer its jobs count as lost; null: never. None is started elsewhere.",
    )
    observed_at: datetime | None = column(Cluster.observed_at, description="When it was last compared with our record.")
    last_seen_at: datetime | None = column(Cluster.seen_at, description="When it last answered.")
    pools = many("Pool", local=Cluster.id, remote=Pool.cluster_id, order_by=[Pool.name])
    nodes = connection(
        "Machine",
        local=Cluster.id,
        remote=MachineRow.cluster_id,
        default_order=[MachineRow.name],
        description="Its machines as they were last read.",
    )


@object_type("MachineAccelerators")
class MachineAcceleratorsType:
    """Accelerators of a machine under one resource: those that pods may have, and those that pods of others have."""

    resource: str
    allocatable: int
    foreign: int


@object_type("Machine", table=MachineRow)
class MachineType:
    """One node of a Kubernetes cluster."""

    name: str = column(MachineRow.name)
    schedulable: bool = column(MachineRow.schedulable)
    reason: str | None = column(MachineRow.reason, description="Why it takes nothing new, as: is cordoned.")
    cpu_millis: BigInt = column(MachineRow.cpu_millis, description="In thousandths of a core.")
    memory_bytes: BigInt = column(MachineRow.memory_bytes)

    @resolver(
        needs={"allocatable": MachineRow.accelerators, "foreign": MachineRow.foreign_accelerators},
        returns="MachineAccelerators",
        many=True,
    )
    def accelerators(_context: Context, values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """By resource, in the order of their names."""
        return [
            {"resource": name, "allocatable": number, "foreign": values["foreign"].get(name, 0)}
            for name, number in sorted(values["allocatable"].items())
        ]


@input_type
class RegisterClusterInput(MutationInput):
    """A Kubernetes cluster: its kubeconfig, or inCluster for the one that Guildhall runs in."""

    name: str
    region: str
    kubeconfig: str | None = None
    in_cluster: bool = False
    carbon_grams_per_kwh: int | None = None
    requests_per_second: int = REQUESTS_PER_SECOND_DEFAULT
    jobs_lost_after_seconds: int | None = None


@input_type
class UpdateClusterCredentialsInput(MutationInput):
    """Other credentials for the same cluster."""

    cluster_id: ID
    kubeconfig: str | None = None
    in_cluster: bool = False


@input_type
class UpdateClusterInput(MutationInput):
    """Both are set; without jobsLostAfterSeconds its jobs never count as lost because it is away."""

    cluster_id: ID
    requests_per_second: int = REQUESTS_PER_SECOND_DEFAULT
    jobs_lost_after_seconds: int | None = None


@input_type
class UnregisterClusterInput(MutationInput):
    """Which cluster to let go of."""

    cluster_id: ID


@payload
class ClusterPayload:
    """The cluster."""

    cluster = one("Cluster", local="cluster")


@dataclass(frozen=True, kw_only=True)
class _Probe:
    kubeconfig: str | None
    probed: ProbedCluster


async def _look_before_registering(context: Context, given: RegisterClusterInput) -> _Probe:
    async with context.database.read() as session:
        await check_registration(
            session, context.actor, name=given.name, region=given.region,
            carbon_grams_per_kwh=given.carbon_grams_per_kwh, requests_per_second=given.requests_per_second,
            jobs_lost_after_seconds=given.jobs_lost_after_seconds,
        )  # fmt: skip
        teams = (await session.scalars(select(Team.name).order_by(Team.name))).all()
    require_reachable_by_pods(context.settings.jobs_url)
    return await _look(context, given, given.requests_per_second, teams)


async def _look_before_updating(context: Context, given: UpdateClusterCredentialsInput) -> _Probe:
    require(context.actor, REGISTER, team_id=None)
    # Whose namespaces are ours was looked at when the cluster was registered; an expiring token cannot wait for one.
    return await _look(context, given, REQUESTS_PER_SECOND_DEFAULT, teams=())


async def _look(
    context: Context,
    given: RegisterClusterInput | UpdateClusterCredentialsInput,
    requests_per_second: int,
    teams: Sequence[str],
) -> _Probe:
    if (given.kubeconfig is None) != given.in_cluster:
        raise CredentialsAmbiguous("Give either a kubeconfig or inCluster: true.", field="kubeconfig")
    prober = context.services.get(ClusterProber)  # type: ignore[type-abstract]  # found by the protocol that it follows
    probed = await prober.probe(
        given.kubeconfig,
        requests_per_second=requests_per_second,
        installation_id=await installation_id(context.database, at=context.at, new_id=context.new_id),
        teams=teams,
    )
    return _Probe(kubeconfig=given.kubeconfig, probed=probed)


@extend("Mutation")
class ClusterMutations:
    """Clusters come and go."""

    @mutation(permission=REGISTER, payload=ClusterPayload, prepare=_look_before_registering)
    async def register_cluster(call: Call, given: RegisterClusterInput) -> Mapping[str, Any]:
        """Connect a Kubernetes cluster, after looking whether jobs could run there."""
        probe: _Probe = call.prepared
        cluster_id = await register_cluster(
            call.session, call.actor, name=given.name, region=given.region,
            carbon_grams_per_kwh=given.carbon_grams_per_kwh, kubeconfig=probe.kubeconfig,
            requests_per_second=given.requests_per_second, jobs_lost_after_seconds=given.jobs_lost_after_seconds,
            probed=probe.probed, keyring=load_keyring(call.settings.credentials_key_file), at=call.at,
            new_id=call.new_id,
        )  # fmt: skip
        return {"cluster": cluster_id}

    @mutation(permission=REGISTER, payload=ClusterPayload, prepare=_look_before_updating)
    async def update_cluster_credentials(call: Call, given: UpdateClusterCredentialsInput) -> Mapping[str, Any]:
        """Reach the same cluster with other credentials from now on."""
        cluster_id = decode_id(given.cluster_id, "Cluster", field="clusterId")
        probe: _Probe = call.prepared
        await update_credentials(
            call.session, call.actor, cluster_id=cluster_id, kubeconfig=probe.kubeconfig, probed=probe.probed,
            keyring=load_keyring(call.settings.credentials_key_file), at=call.at, new_id=call.new_id,
        )  # fmt: skip
        return {"cluster": cluster_id}

    @mutation(permission=REGISTER, payload=ClusterPayload)
    async def update_cluster(call: Call, given: UpdateClusterInput) -> Mapping[str, Any]:
        """Set how hard a cluster is asked, and after how long away its jobs count as lost."""
        cluster_id = decode_id(given.cluster_id, "Cluster", field="clusterId")
        await update_cluster(
            call.session, call.actor, cluster_id=cluster_id, requests_per_second=given.requests_per_second,
            jobs_lost_after_seconds=given.jobs_lost_after_seconds, at=call.at, new_id=call.new_id,
        )  # fmt: skip
        return {"cluster": cluster_id}

    @mutation(permission=REGISTER, payload=ClusterPayload)
    async def unregister_cluster(call: Call, given: UnregisterClusterInput) -> Mapping[str, Any]:
        """Let go of a cluster on which no job is; its pools admit nothing any more."""
        cluster_id = decode_id(given.cluster_id, "Cluster", field="clusterId")
        await unregister_cluster(call.session, call.actor, cluster_id=cluster_id, at=call.at, new_id=call.new_id)
        return {"cluster": cluster_id}


TYPES = [ClusterType, MachineAcceleratorsType, MachineType, ClusterPayload, ClusterMutations]
