"""Tables of lineage: what was made from what, and the environments that runs happened in."""

from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, Index, UniqueConstraint, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Json, Timestamp

EDGES_ALLOWED = (
    "(kind = 'TRAINED_ON' AND from_kind = 'MODEL_VERSION' AND to_kind = 'DATASET_VERSION') OR "
    "(kind = 'FINE_TUNED_FROM' AND from_kind = 'MODEL_VERSION' AND to_kind = 'MODEL_VERSION') OR "
    "(kind = 'DERIVED_FROM' AND from_kind = 'DATASET_VERSION' AND to_kind IN ('DATASET_VERSION', 'MODEL_VERSION')) OR "
    "(kind = 'BUILT_FROM' AND from_kind IN ('MODEL_VERSION', 'DATASET_VERSION') AND to_kind = 'PACKAGE') OR "
    "(kind = 'RAN_IN' AND from_kind IN ('MODEL_VERSION', 'DATASET_VERSION') AND to_kind = 'ENVIRONMENT') OR "
    "(kind = 'PRODUCED_BY' AND from_kind IN ('MODEL_VERSION', 'DATASET_VERSION') AND to_kind = 'JOB')"
)
"""Which kind of edge may join which kinds of things; the database checks it."""


class EdgeKind(StrEnum):
    """How the thing made relates to its source."""

    TRAINED_ON = "TRAINED_ON"
    FINE_TUNED_FROM = "FINE_TUNED_FROM"
    DERIVED_FROM = "DERIVED_FROM"
    BUILT_FROM = "BUILT_FROM"
    RAN_IN = "RAN_IN"
    PRODUCED_BY = "PRODUCED_BY"


class EdgeBasis(StrEnum):
    """OBSERVED: our API served or received it under the token of a job's attempt. DECLARED: somebody said so."""

    OBSERVED = "OBSERVED"
    DECLARED = "DECLARED"


class NodeKind(StrEnum):
    """What an edge can join."""

    MODEL_VERSION = "MODEL_VERSION"
    DATASET_VERSION = "DATASET_VERSION"
    PACKAGE = "PACKAGE"
    ENVIRONMENT = "ENVIRONMENT"
    JOB = "JOB"


class Environment(Base):
    """The Python, platform and packages that a run happened in; one row for each distinct one, by its digest.

    `description` is {python, platform, packages: {name: version}}.
    """

    __tablename__ = "environments"
    __table_args__ = (
        UniqueConstraint("digest"),
        CheckConstraint("digest ~ '^[0-9a-f]{64}$'", name="digest_sha256"),
    )

    id: Mapped[Id]
    digest: Mapped[str]
    description: Mapped[Json]
    created_at: Mapped[Timestamp]


class LineageEdge(Base):
    """`from` is what was made, `to` what it was made from, with or in. Append only; a trigger refuses a circle.

    `access_grant_ids` are all grants under which the attempt may have read the source; NULL where nobody knows.
    """

    __tablename__ = "lineage_edges"
    __table_args__ = (
        UniqueConstraint("from_id", "to_id", "kind"),
        CheckConstraint(EDGES_ALLOWED, name="kinds_allowed"),
        CheckConstraint("basis IN ('OBSERVED', 'DECLARED')", name="basis_known"),
        CheckConstraint("basis <> 'OBSERVED' OR job_id IS NOT NULL", name="observed_in_a_job"),
        Index("ix_lineage_edges_to_id", "to_id", "from_id"),
    )

    id: Mapped[Id]
    kind: Mapped[str]
    from_kind: Mapped[str]
    from_id: Mapped[UUID]
    to_kind: Mapped[str]
    to_id: Mapped[UUID]
    basis: Mapped[str]
    job_id: Mapped[UUID | None]
    access_grant_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid(as_uuid=True)))
    created_at: Mapped[Timestamp]
