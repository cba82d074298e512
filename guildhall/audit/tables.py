"""The audit record: one append-only table."""

import builtins
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, String, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Timestamp


class Outcome(StrEnum):
    """ALLOWED and REFUSED are whole acts. Data that leaves is STARTED before, then COMPLETED or ABORTED after."""

    ALLOWED = "ALLOWED"
    REFUSED = "REFUSED"
    STARTED = "STARTED"
    COMPLETED = "COMPLETED"
    ABORTED = "ABORTED"


class AuditEvent(Base):
    """One act of one caller under one permission, about one or more resources.

    `resource_types` and `resource_ids` go in pairs. `concludes_id` points from an outcome to its intent, at most once.
    `mac` authenticates all other columns under the key named in `mac_key`, which the database does not have.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        CheckConstraint("actor_kind IN ('USER', 'SERVICE_ACCOUNT', 'JOB', 'SYSTEM')", name="actor_kind"),
        CheckConstraint(
            "permission_class IN ('ADMIN_READ', 'ADMIN_WRITE', 'DATA_READ', 'DATA_WRITE')", name="permission_class"
        ),
        CheckConstraint("outcome IN ('ALLOWED', 'REFUSED', 'STARTED', 'COMPLETED', 'ABORTED')", name="outcome"),
        CheckConstraint("cardinality(resource_types) = cardinality(resource_ids)", name="resources_in_pairs"),
        CheckConstraint("(outcome IN ('COMPLETED', 'ABORTED')) = (concludes_id IS NOT NULL)", name="outcome_concludes"),
        CheckConstraint("rows >= 0 AND bytes >= 0", name="counts_not_negative"),
        CheckConstraint("octet_length(mac) = 32", name="mac_is_whole"),
        Index("ix_audit_events_occurred_at_id", "occurred_at", "id"),
        Index("ix_audit_events_actor_id_occurred_at", "actor_id", "occurred_at"),
        Index("ix_audit_events_resource_ids", "resource_ids", postgresql_using="gin"),
    )

    id: Mapped[Id]
    occurred_at: Mapped[Timestamp]
    actor_kind: Mapped[str]
    actor_id: Mapped[UUID]
    on_behalf_of_id: Mapped[UUID | None]
    team_id: Mapped[UUID | None]
    action: Mapped[str]
    permission_class: Mapped[str]
    outcome: Mapped[str]
    resource_types: Mapped[list[str]] = mapped_column(ARRAY(String))
    resource_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid(as_uuid=True)))
    purpose: Mapped[str | None]
    justification: Mapped[str | None]
    access_grant_id: Mapped[UUID | None]
    reason_code: Mapped[str | None]
    reason_message: Mapped[str | None]
    request_id: Mapped[str | None]
    address: Mapped[str | None]
    client: Mapped[str | None]
    rows: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    concludes_id: Mapped[UUID | None] = mapped_column(ForeignKey("audit_events.id"), unique=True)
    mac_key: Mapped[str]
    mac: Mapped[builtins.bytes] = mapped_column(LargeBinary)
