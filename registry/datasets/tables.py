"""The tables of data sets, their stewards and their versions."""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Timestamp
from guildhall.slugs import SLUG_PATTERN


class Visibility(StrEnum):
    """Who may discover: the owning team, or everybody in the organisation. To discover is not to read."""

    TEAM = "TEAM"
    ORGANISATION = "ORGANISATION"


class Classification(StrEnum):
    """How bytes are guarded, from open to closed: the first two by role, the last two by access grant only."""

    PUBLIC = "PUBLIC"
    INTERNAL = "INTERNAL"
    CONFIDENTIAL = "CONFIDENTIAL"
    RESTRICTED = "RESTRICTED"


CLOSED = (Classification.CONFIDENTIAL, Classification.RESTRICTED)
"""What goes by access grant alone; to read a record of it, and not only its bytes, is itself on the record."""


class DatasetVersionState(StrEnum):
    """A version waits for its files (DRAFT) until all were verified (READY)."""

    DRAFT = "DRAFT"
    READY = "READY"


class WithdrawalPolicy(StrEnum):
    """What becomes of running jobs whose access ends: told to stop, with time for a last checkpoint, or flagged."""

    STOP = "STOP"
    FLAG = "FLAG"


class Dataset(Base):
    """A data set with its legal record: licence to retention. `created_by` is a user or a service account."""

    __tablename__ = "datasets"
    __table_args__ = (
        UniqueConstraint("team_id", "name"),
        CheckConstraint(f"name ~ '{SLUG_PATTERN}'", name="name_is_slug"),
        CheckConstraint("visibility IN ('TEAM', 'ORGANISATION')", name="visibility"),
        CheckConstraint(
            "classification IN ('PUBLIC', 'INTERNAL', 'CONFIDENTIAL', 'RESTRICTED')", name="classification"
        ),
        CheckConstraint("cardinality(permitted_purposes) > 0", name="some_purpose"),
        CheckConstraint("cardinality(regions) > 0", name="some_region"),
        CheckConstraint("withdrawal_policy IN ('STOP', 'FLAG')", name="withdrawal_policy"),
    )

    id: Mapped[Id]
    team_id: Mapped[UUID] = mapped_column(ForeignKey("teams.id"))
    name: Mapped[str]
    description: Mapped[str]
    visibility: Mapped[str]
    classification: Mapped[str]
    licence: Mapped[str]
    legal_basis: Mapped[str]
    consent: Mapped[str | None]
    permitted_purposes: Mapped[list[str]] = mapped_column(ARRAY(String))
    retention_ends_on: Mapped[date | None]
    regions: Mapped[list[str]] = mapped_column(ARRAY(String))
    withdrawal_policy: Mapped[str] = mapped_column(default=WithdrawalPolicy.STOP.value)
    created_by: Mapped[UUID]
    created_at: Mapped[Timestamp]


class DatasetSteward(Base):
    """A person who decides about access to the data set. The row is the right; no role in a team replaces it."""

    __tablename__ = "dataset_stewards"

    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    added_by: Mapped[UUID]
    added_at: Mapped[Timestamp]


class DatasetVersion(Base):
    """One state of a data set's files, numbered from 1. `columns` is a list of `{name, type, unit, personal}`."""

    __tablename__ = "dataset_versions"
    __table_args__ = (
        UniqueConstraint("dataset_id", "number"),
        CheckConstraint("state IN ('DRAFT', 'READY')", name="state"),
        CheckConstraint("(state = 'READY') = (ready_at IS NOT NULL)", name="ready_has_moment"),
        CheckConstraint("number >= 1", name="number_from_one"),
        CheckConstraint("rows IS NULL OR rows >= 0", name="rows_not_negative"),
        CheckConstraint("jsonb_typeof(columns) = 'array'", name="columns_are_a_list"),
    )

    id: Mapped[Id]
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"))
    number: Mapped[int]
    state: Mapped[str]
    columns: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    rows: Mapped[int | None] = mapped_column(BigInteger)
    created_by: Mapped[UUID]
    created_at: Mapped[Timestamp]
    ready_at: Mapped[datetime | None]
