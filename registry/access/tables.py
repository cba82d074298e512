"""The tables of access requests and access grants."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Index, String, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Timestamp


class ResourceKind(StrEnum):
    """What access is asked for and granted to. A grant to a data set covers all its versions."""

    DATASET = "DATASET"
    DATASET_VERSION = "DATASET_VERSION"
    MODEL_VERSION = "MODEL_VERSION"


class AccessBasis(StrEnum):
    """Why access is there or asked for: a request of somebody, or the registration by the owning team."""

    REQUEST = "REQUEST"
    OWNERSHIP = "OWNERSHIP"


class AccessRequestState(StrEnum):
    """A request waits for a steward (PENDING) until it is decided, once."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REFUSED = "REFUSED"


class AccessRequest(Base):
    """Somebody asks that a team or a person may read, for one purpose and a time.

    `purpose` is empty only for the owning team's own request (basis OWNERSHIP), which covers every permitted purpose.
    """

    __tablename__ = "access_requests"
    __table_args__ = (
        CheckConstraint("num_nonnulls(beneficiary_team_id, beneficiary_user_id) = 1", name="one_beneficiary"),
        CheckConstraint("basis IN ('REQUEST', 'OWNERSHIP')", name="basis"),
        CheckConstraint("purpose IS NOT NULL OR basis = 'OWNERSHIP'", name="names_a_purpose"),
        CheckConstraint("state IN ('PENDING', 'APPROVED', 'REFUSED')", name="state"),
        CheckConstraint("(state = 'PENDING') = (decided_at IS NULL)", name="decided_has_moment"),
        CheckConstraint("(decided_at IS NULL) = (decided_by IS NULL)", name="decided_has_person"),
        CheckConstraint("decided_by <> requester_id", name="second_person_decides"),
        CheckConstraint("duration_seconds > 0", name="duration_positive"),
        CheckConstraint("btrim(justification) <> ''", name="has_justification"),
        Index("ix_access_requests_state_created_at", "state", "created_at"),
    )

    id: Mapped[Id]
    basis: Mapped[str]
    requester_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), index=True)
    beneficiary_team_id: Mapped[UUID | None] = mapped_column(ForeignKey("teams.id"), index=True)
    beneficiary_user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    purpose: Mapped[str | None] = mapped_column(ForeignKey("purposes.name"))
    justification: Mapped[str]
    duration_seconds: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str]
    created_at: Mapped[Timestamp]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    decision_reason: Mapped[str | None]


class AccessRequestResource(Base):
    """One thing that a request names. No foreign key: the id points into one of three tables."""

    __tablename__ = "access_request_resources"
    __table_args__ = (
        CheckConstraint("resource_kind IN ('DATASET', 'DATASET_VERSION', 'MODEL_VERSION')", name="resource_kind"),
    )

    request_id: Mapped[UUID] = mapped_column(ForeignKey("access_requests.id"), primary_key=True)
    resource_kind: Mapped[str] = mapped_column(primary_key=True)
    resource_id: Mapped[UUID] = mapped_column(primary_key=True, index=True)


class AccessRequestSource(Base):
    """One data set whose stewards a request needs: what it names, or what a model version that it names was made from.

    Written when the request is made, for the stewards' queue; a decision resolves the sources again.
    """

    __tablename__ = "access_request_sources"

    request_id: Mapped[UUID] = mapped_column(ForeignKey("access_requests.id"), primary_key=True)
    dataset_id: Mapped[UUID] = mapped_column(ForeignKey("datasets.id"), primary_key=True, index=True)


class Capacity(StrEnum):
    """As what somebody approves: as a steward of the data, or as a reviewer whom a model's risk tier asks for."""

    STEWARD = "STEWARD"
    REVIEWER = "REVIEWER"


class ReviewSubject(StrEnum):
    """What a named reviewer looks at."""

    ETHICS = "ETHICS"
    DOMAIN = "DOMAIN"


class RiskReviewer(Base):
    """A person whose approval, or that of another of the same subject, access to models of this risk tier needs."""

    __tablename__ = "risk_reviewers"
    __table_args__ = (
        CheckConstraint("risk_tier IN ('LOW', 'LIMITED', 'HIGH')", name="risk_tier"),
        CheckConstraint("subject IN ('ETHICS', 'DOMAIN')", name="subject"),
    )

    risk_tier: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    added_by: Mapped[UUID]
    added_at: Mapped[Timestamp]


class AccessApproval(Base):
    """One person's approval of a request: with the extent to which all who approved so far agree."""

    __tablename__ = "access_approvals"
    __table_args__ = (CheckConstraint("capacity IN ('STEWARD', 'REVIEWER')", name="capacity"),)

    request_id: Mapped[UUID] = mapped_column(ForeignKey("access_requests.id"), primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True, index=True)
    capacity: Mapped[str]
    approved_at: Mapped[Timestamp]
    reason: Mapped[str | None]
    duration_seconds: Mapped[int] = mapped_column(BigInteger)
    resource_kinds: Mapped[list[str]] = mapped_column(ARRAY(String))
    resource_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid(as_uuid=True)))
    columns: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    first_rows: Mapped[int | None] = mapped_column(BigInteger)
    sample_millionths: Mapped[int | None]


class AccessGrant(Base):
    """A team or a person may read from `valid_from` until `valid_to` (exclusive), or until it is withdrawn.

    `purpose` is empty only for the owning team (basis OWNERSHIP): every purpose that the data set permits. `columns`
    limits the grant to those columns, `first_rows` or `sample_millionths` to a sample of each file's rows; empty means
    all. Only an owning team's grant without a request has no approver.
    """

    __tablename__ = "access_grants"
    __table_args__ = (
        CheckConstraint("num_nonnulls(beneficiary_team_id, beneficiary_user_id) = 1", name="one_beneficiary"),
        CheckConstraint("basis IN ('REQUEST', 'OWNERSHIP')", name="basis"),
        CheckConstraint("purpose IS NOT NULL OR basis = 'OWNERSHIP'", name="names_a_purpose"),
        CheckConstraint("(request_id IS NULL) = (approved_by IS NULL)", name="approved_with_request"),
        CheckConstraint("request_id IS NOT NULL OR basis = 'OWNERSHIP'", name="comes_from_request"),
        CheckConstraint("valid_from < valid_to", name="ends_after_start"),
        CheckConstraint("(withdrawn_at IS NULL) = (withdrawn_by IS NULL)", name="withdrawn_by_somebody"),
        CheckConstraint("columns IS NULL OR cardinality(columns) > 0", name="some_column"),
        CheckConstraint("num_nonnulls(first_rows, sample_millionths) <= 1", name="one_sample"),
        CheckConstraint("first_rows > 0", name="some_rows"),
        CheckConstraint("sample_millionths BETWEEN 1 AND 999999", name="a_fraction"),
        Index("ix_access_grants_valid_to", "valid_to"),
    )

    id: Mapped[Id]
    basis: Mapped[str]
    request_id: Mapped[UUID | None] = mapped_column(ForeignKey("access_requests.id"), unique=True)
    beneficiary_team_id: Mapped[UUID | None] = mapped_column(ForeignKey("teams.id"), index=True)
    beneficiary_user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    purpose: Mapped[str | None] = mapped_column(ForeignKey("purposes.name"))
    justification: Mapped[str]
    columns: Mapped[list[str] | None] = mapped_column(ARRAY(String))
    first_rows: Mapped[int | None] = mapped_column(BigInteger)
    sample_millionths: Mapped[int | None]
    valid_from: Mapped[Timestamp]
    valid_to: Mapped[Timestamp]
    approved_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[Timestamp]
    withdrawn_at: Mapped[datetime | None]
    withdrawn_by: Mapped[UUID | None]
    withdrawal_reason: Mapped[str | None]


class AccessGrantResource(Base):
    """One thing that a grant opens. No foreign key: the id points into one of three tables."""

    __tablename__ = "access_grant_resources"
    __table_args__ = (
        CheckConstraint("resource_kind IN ('DATASET', 'DATASET_VERSION', 'MODEL_VERSION')", name="resource_kind"),
    )

    grant_id: Mapped[UUID] = mapped_column(ForeignKey("access_grants.id"), primary_key=True)
    resource_kind: Mapped[str] = mapped_column(primary_key=True)
    resource_id: Mapped[UUID] = mapped_column(primary_key=True, index=True)
