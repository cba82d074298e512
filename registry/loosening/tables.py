"""The tables of loosenings: what was asked for, which sources the stewards saw, and who approved."""

from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, String, Uuid, text
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Timestamp


class RestrictedProperty(StrEnum):
    """What of the inherited restrictions a decision loosens; one decision is about one of them."""

    CLASSIFICATION = "CLASSIFICATION"
    PERMITTED_PURPOSES = "PERMITTED_PURPOSES"
    REGIONS = "REGIONS"
    RETENTION = "RETENTION"


class LooseningState(StrEnum):
    """A loosening waits for stewards (PENDING), is decided once, and if APPROVED counts until it is WITHDRAWN."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REFUSED = "REFUSED"
    WITHDRAWN = "WITHDRAWN"


class Loosening(Base):
    """A model version is to inherit less from its sources, in one property (`registry.lineage.contributions`).

    Purposes and regions are those to be allowed as well. A retention without a day has no end.
    """

    __tablename__ = "loosenings"
    __table_args__ = (
        CheckConstraint(
            "property IN ('CLASSIFICATION', 'PERMITTED_PURPOSES', 'REGIONS', 'RETENTION')", name="property"
        ),
        CheckConstraint("(property = 'CLASSIFICATION') = (classification IS NOT NULL)", name="classification_given"),
        CheckConstraint("classification IN ('PUBLIC', 'INTERNAL', 'CONFIDENTIAL')", name="classification_loose"),
        CheckConstraint(
            "(property = 'PERMITTED_PURPOSES') = (coalesce(cardinality(permitted_purposes), 0) > 0)",
            name="purposes_given",
        ),
        CheckConstraint("(property = 'REGIONS') = (coalesce(cardinality(regions), 0) > 0)", name="regions_given"),
        CheckConstraint("property = 'RETENTION' OR retention_ends_on IS NULL", name="retention_given"),
        CheckConstraint("state IN ('PENDING', 'APPROVED', 'REFUSED', 'WITHDRAWN')", name="state"),
        CheckConstraint("(decided_at IS NULL) = (decided_by IS NULL)", name="decided_by_somebody"),
        CheckConstraint("state NOT IN ('APPROVED', 'REFUSED') OR decided_at IS NOT NULL", name="decided_has_moment"),
        CheckConstraint("decided_by <> requester_id", name="second_person_decides"),
        CheckConstraint(
            "num_nonnulls(withdrawn_at, withdrawn_by, withdrawal_reason) = "
            "CASE WHEN state = 'WITHDRAWN' THEN 3 ELSE 0 END",
            name="withdrawn_by_somebody",
        ),
        CheckConstraint("btrim(justification) <> ''", name="has_justification"),
        Index("ix_loosenings_model_version_id", "model_version_id"),
        Index("ix_loosenings_created_at", "created_at", "id"),
        Index(
            "uq_loosenings_pending",
            "model_version_id",
            "property",
            unique=True,
            postgresql_where=text("state = 'PENDING'"),
        ),
    )

    id: Mapped[Id]
    model_version_id: Mapped[UUID] = mapped_column(ForeignKey("model_versions.id"))
    property: Mapped[str]
    classification: Mapped[str | None]
    permitted_purposes: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    regions: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    retention_ends_on: Mapped[date | None]
    justification: Mapped[str]
    requester_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    state: Mapped[str]
    created_at: Mapped[Timestamp]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    decision_reason: Mapped[str | None]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    withdrawal_reason: Mapped[str | None]


class LooseningSource(Base):
    """A version of a data set that restricts, with the legal record that the stewards saw. Append only.

    The decision covers it while its data set is in no respect stricter than that.
    """

    __tablename__ = "loosening_sources"

    loosening_id: Mapped[UUID] = mapped_column(ForeignKey("loosenings.id"), primary_key=True)
    dataset_version_id: Mapped[UUID] = mapped_column(ForeignKey("dataset_versions.id"), primary_key=True)
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"), index=True)
    classification: Mapped[str]
    permitted_purposes: Mapped[list[str]] = mapped_column(ARRAY(String))
    regions: Mapped[list[str]] = mapped_column(ARRAY(String))
    retention_ends_on: Mapped[date | None]


class LooseningApproval(Base):
    """One steward's approval, for the data sets that they answered for at that moment. Append only."""

    __tablename__ = "loosening_approvals"
    __table_args__ = (CheckConstraint("cardinality(dataset_ids) > 0", name="for_some_data"),)

    loosening_id: Mapped[UUID] = mapped_column(ForeignKey("loosenings.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    dataset_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid(as_uuid=True)))
    reason: Mapped[str | None]
    approved_at: Mapped[Timestamp]
