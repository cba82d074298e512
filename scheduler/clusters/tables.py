"""The tables of clusters, of pools, and of the slots of pools that attempts use."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Timestamp
from guildhall.slugs import SLUG_PATTERN

SLOTS_MAX = 10_000


class ClusterKind(StrEnum):
    """What runs the jobs of a cluster. LOCAL is this machine: for a laptop, and never for RESTRICTED data."""

    LOCAL = "LOCAL"
    KUBERNETES = "KUBERNETES"


class Cluster(Base):
    """Machines under one executor, in one region. Whoever holds the lease compares it with the database."""

    __tablename__ = "clusters"
    __table_args__ = (
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),
        CheckConstraint("kind IN ('LOCAL', 'KUBERNETES')", name="kind_known"),
        CheckConstraint("region <> ''", name="region_given"),
        CheckConstraint("carbon_grams_per_kwh >= 0", name="carbon_not_negative"),
        CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name="lease_whole"),
        CheckConstraint("(lease_token IS NULL) = (lease_owner IS NULL)", name="lease_owned"),
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    region: Mapped[str]
    carbon_grams_per_kwh: Mapped[int | None]
    kind: Mapped[str]
    created_at: Mapped[Timestamp]
    observed_at: Mapped[datetime | None]
    lease_owner: Mapped[str | None]
    lease_token: Mapped[UUID | None]
    lease_expires_at: Mapped[datetime | None]


class Pool(Base):
    """One kind of accelerator at one cluster: `nodes` machines with `slots` accelerators in all."""

    __tablename__ = "pools"
    __table_args__ = (
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),
        CheckConstraint("accelerator <> ''", name="accelerator_given"),
        CheckConstraint(f"slots BETWEEN 0 AND {SLOTS_MAX}", name="slots_in_range"),
        CheckConstraint("nodes > 0", name="nodes_positive"),
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
    watts_per_accelerator: Mapped[int]
    walltime_seconds_max: Mapped[int]
    cpu_per_node: Mapped[int | None]
    memory_bytes_per_node: Mapped[int | None] = mapped_column(BigInteger)
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
