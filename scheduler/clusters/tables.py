"""The tables of clusters and their machines, of pools, and of the slots of pools that attempts use."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Json, Timestamp
from guildhall.db.leases import Leasable
from guildhall.slugs import SLUG_PATTERN

SLOTS_MAX = 10_000
REQUESTS_PER_SECOND_MAX = 10_000
REQUESTS_PER_SECOND_DEFAULT = 50


class ClusterKind(StrEnum):
    """What runs the jobs of a cluster. LOCAL is this machine: for a laptop, and never for RESTRICTED data."""

    LOCAL = "LOCAL"
    KUBERNETES = "KUBERNETES"


class ClusterState(StrEnum):
    """Whether jobs may start there. Only READY admits; what runs goes on in every state."""

    READY = "READY"
    UNREACHABLE = "UNREACHABLE"
    REFUSING = "REFUSING"
    UNREGISTERED = "UNREGISTERED"


class CredentialsKind(StrEnum):
    """How a Kubernetes cluster is reached: as its kubeconfig says, or under the account of the pod we run in."""

    KUBECONFIG = "KUBECONFIG"
    IN_CLUSTER = "IN_CLUSTER"


class Installation(Base):
    """This Guildhall, in its one row: clusters that serve several tell by the id whose objects are whose."""

    __tablename__ = "installation"
    __table_args__ = (CheckConstraint("single", name="single"),)

    id: Mapped[Id]
    single: Mapped[bool] = mapped_column(unique=True, default=True)
    created_at: Mapped[Timestamp]


class Cluster(Leasable, Base):
    """Machines under one executor, in one region. Whoever holds the lease compares it with the database.

    `state_code` and `state_message` say why it is not READY. `seen_at` is when it answered last, `machines_at` when its
    machines were last read. `uid` is what it calls itself, so that one is not registered twice.
    `jobs_lost_after_seconds` is the rule for one that stays away: None, the default, leaves its jobs as they are for
    ever; a number counts what was there as lost after so long. What was given to one is never started at another.
    """

    __tablename__ = "clusters"
    __table_args__ = (
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),
        CheckConstraint("kind IN ('LOCAL', 'KUBERNETES')", name="kind_known"),
        CheckConstraint("region <> ''", name="region_given"),
        CheckConstraint("carbon_grams_per_kwh >= 0", name="carbon_not_negative"),
        CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name="lease_whole"),
        CheckConstraint("(lease_token IS NULL) = (lease_owner IS NULL)", name="lease_owned"),
        CheckConstraint("state IN ('READY', 'UNREACHABLE', 'REFUSING', 'UNREGISTERED')", name="state_known"),
        CheckConstraint("(state = 'READY') = (state_code IS NULL)", name="state_has_reason"),
        CheckConstraint("(state_code IS NULL) = (state_message IS NULL)", name="state_reason_whole"),
        CheckConstraint(
            f"requests_per_second BETWEEN 1 AND {REQUESTS_PER_SECOND_MAX}", name="requests_per_second_in_range"
        ),
        CheckConstraint("jobs_lost_after_seconds > 0", name="jobs_lost_after_positive"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    region: Mapped[str]
    carbon_grams_per_kwh: Mapped[int | None]
    kind: Mapped[str]
    created_at: Mapped[Timestamp]
    state: Mapped[str] = mapped_column(default=ClusterState.READY.value)
    state_code: Mapped[str | None]
    state_message: Mapped[str | None]
    uid: Mapped[str | None] = mapped_column(unique=True)
    version: Mapped[str | None]
    requests_per_second: Mapped[int] = mapped_column(default=REQUESTS_PER_SECOND_DEFAULT)
    jobs_lost_after_seconds: Mapped[int | None]
    observed_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]
    machines_at: Mapped[datetime | None]


class ClusterCredentials(Base):
    """How to reach a Kubernetes cluster; the kubeconfig encrypted, bound to the cluster's id.

    A table of its own, so that whoever reads clusters never loads it. `revision` counts up when they change, and
    workers connect anew; to encrypt them under another key changes nothing.
    """

    __tablename__ = "cluster_credentials"
    __table_args__ = (
        CheckConstraint("kind IN ('KUBECONFIG', 'IN_CLUSTER')", name="kind_known"),
        CheckConstraint("(kind = 'KUBECONFIG') = (ciphertext IS NOT NULL)", name="kubeconfig_is_kept"),
        CheckConstraint("(ciphertext IS NULL) = (nonce IS NULL)", name="encrypted_whole"),
        CheckConstraint("(ciphertext IS NULL) = (key_name IS NULL)", name="encrypted_under_key"),
        CheckConstraint("revision > 0", name="revision_positive"),
    )

    cluster_id: Mapped[UUID] = mapped_column(ForeignKey("clusters.id"), primary_key=True)
    kind: Mapped[str]
    key_name: Mapped[str | None]
    nonce: Mapped[bytes | None]
    ciphertext: Mapped[bytes | None]
    revision: Mapped[int]
    changed_at: Mapped[Timestamp]


class MachineRow(Base):
    """One node of a Kubernetes cluster as it was last read, and the pools that it belongs to.

    `accelerators` are the allocatable ones by resource, `foreign_accelerators` those that pods of others have. One that
    is not schedulable (cordoned, not ready, with a taint of its own) takes nothing new; its `reason` says why.
    """

    __tablename__ = "machines"
    __table_args__ = (
        UniqueConstraint("cluster_id", "name"),
        CheckConstraint("name <> ''", name="name_given"),
        CheckConstraint("cpu_millis >= 0 AND memory_bytes >= 0", name="size_not_negative"),
        CheckConstraint("schedulable = (reason IS NULL)", name="unschedulable_has_reason"),
    )

    id: Mapped[Id]
    cluster_id: Mapped[UUID] = mapped_column(ForeignKey("clusters.id"))
    name: Mapped[str]
    labels: Mapped[Json]
    taints: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    schedulable: Mapped[bool]
    reason: Mapped[str | None]
    accelerators: Mapped[Json]
    foreign_accelerators: Mapped[Json]
    cpu_millis: Mapped[int] = mapped_column(BigInteger)
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    pool_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))


class Pool(Base):
    """One kind of accelerator at one cluster: `nodes` machines with `slots` accelerators in all.

    At a LOCAL cluster these are typed in. At a Kubernetes cluster a pool says which nodes (`node_selector`, and whose
    taints it tolerates) and which of their resources (`accelerator_resource`); all numbers follow from the machines.
    `slots_per_node` is what the largest machine has. `image` runs jobs that name none.
    """

    __tablename__ = "pools"
    __table_args__ = (
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),
        CheckConstraint("accelerator <> ''", name="accelerator_given"),
        CheckConstraint(f"slots BETWEEN 0 AND {SLOTS_MAX}", name="slots_in_range"),
        CheckConstraint("nodes >= 0", name="nodes_not_negative"),
        CheckConstraint("slots_per_node >= 0", name="slots_per_node_not_negative"),
        CheckConstraint("accelerator_resource <> ''", name="accelerator_resource_given"),
        CheckConstraint("image <> ''", name="image_given"),
        CheckConstraint("watts_per_accelerator >= 0", name="watts_not_negative"),
        CheckConstraint("walltime_seconds_max > 0", name="walltime_positive"),
        CheckConstraint("cpu_per_node > 0", name="cpu_positive"),
        CheckConstraint("memory_bytes_per_node > 0", name="memory_positive"),
        Index("ix_pools_cluster_id", "cluster_id"),
    )

    id: Mapped[Id]
    cluster_id: Mapped[UUID] = mapped_column(ForeignKey("clusters.id"))
    name: Mapped[str] = mapped_column(unique=True)
    accelerator: Mapped[str]
    slots: Mapped[int]
    nodes: Mapped[int]
    slots_per_node: Mapped[int]
    watts_per_accelerator: Mapped[int]
    walltime_seconds_max: Mapped[int]
    cpu_per_node: Mapped[int | None]
    memory_bytes_per_node: Mapped[int | None] = mapped_column(BigInteger)
    accelerator_resource: Mapped[str | None]
    node_selector: Mapped[Json]
    tolerations: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    image: Mapped[str | None]
    writable_root: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[Timestamp]


class SlotUse(Base):
    """One accelerator that an attempt has, from admission until the platform says that it has ended.

    The key lets no accelerator be given out twice, whatever two schedulers believe.
    """

    __tablename__ = "slot_uses"
    __table_args__ = (
        CheckConstraint("slot >= 0", name="slot_not_negative"),
        Index("ix_slot_uses_attempt_id", "attempt_id"),
    )

    pool_id: Mapped[UUID] = mapped_column(ForeignKey("pools.id"), primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt_id: Mapped[UUID] = mapped_column(ForeignKey("attempts.id"))
