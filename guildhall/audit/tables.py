"""The audit record: append-only events by month, the values of persons beside them, and the tree over both.

`audit_events`, `audit_personal` and `audit_resources` are partitioned by `act_at`; `audit_make_partitions` makes the
months ahead, and what no month is there for goes into the default partition. The service may INSERT and SELECT; of
personal values it may take the content away, once.
"""

import builtins
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    FetchedValue,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    Uuid,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import Mapped, column_property, mapped_column
from sqlalchemy.types import UserDefinedType

from guildhall.db.base import Base, Id, Timestamp


class Xid8(UserDefinedType[str]):
    """The number of a transaction, which never comes again; as text on our side."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:  # noqa: ANN401 -- SQLAlchemy's signature
        """Its name in PostgreSQL."""
        return "xid8"


ischema_names["xid8"] = Xid8  # what SQLAlchemy makes of that column when it reads a database


class Outcome(StrEnum):
    """ALLOWED and REFUSED are whole acts. Data that leaves is STARTED before, then COMPLETED or ABORTED after."""

    ALLOWED = "ALLOWED"
    REFUSED = "REFUSED"
    STARTED = "STARTED"
    COMPLETED = "COMPLETED"
    ABORTED = "ABORTED"


POLICY_ACTIONS = (
    "guildhall:role:bind",
    "guildhall:role:change",
    "guildhall:role:escalate",
    "guildhall:role:take",
    "guildhall:emergency:review",
    "guildhall:group:map",
    "guildhall:team:change",
    "guildhall:service-account:change",
    "guildhall:user:change",
    "guildhall:configuration:apply",
    "registry:purpose:change",
    "registry:dataset:steward",
    "registry:restriction:loosen",
    "registry:restriction:decide",
)
"""The permissions whose use changes who may what; an index has just those, so that another one takes a migration."""

_ACTIONS = ", ".join(f"'{action}'" for action in POLICY_ACTIONS)
POLICY_CHANGE = f"permission_class = 'ADMIN_WRITE' AND action IN ({_ACTIONS})"
"""Which events those are, as SQL without a value that is bound."""

USE_OF_GRANT = (
    "access_grant_id IS NOT NULL AND permission_class = 'DATA_READ' AND outcome <> 'REFUSED' AND concludes_id IS NULL"
)
"""Which events say that data was read by an access grant: intents and whole acts, and nothing that was refused."""


class AuditEvent(Base):
    """One act of one caller under one permission, about one or more resources.

    `resource_types` and `resource_ids` go in pairs. `concludes_id` points from an outcome to its intent, at most once;
    `act_at` is the moment of the act, for an outcome that of its intent, so that both lie in one partition.
    `commitments` holds a salted hash of each person's values, which are in `audit_personal`, by the person's id. `mac`
    authenticates all other columns but `xid` under the key named in `mac_key`, which the database does not have. `xid`
    is the transaction that wrote the row: by it the sealer knows what it has not seen.
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
        CheckConstraint("concludes_id IS NOT NULL OR act_at = occurred_at", name="act_at_of_intent"),
        CheckConstraint("rows >= 0 AND bytes >= 0", name="counts_not_negative"),
        CheckConstraint("octet_length(mac) = 32", name="mac_is_whole"),
        Index("ix_audit_events_act_at_id", "act_at", "id"),
        Index("ix_audit_events_actor_id_act_at", "actor_id", "act_at"),
        Index(
            "ix_audit_events_responsible",
            text("COALESCE(on_behalf_of_id, actor_id)"),
            "act_at",
            "id",
            postgresql_where=text("concludes_id IS NULL"),
        ),
        Index(
            "ix_audit_events_access_grant_id_act_at",
            "access_grant_id",
            "act_at",
            postgresql_where=text("access_grant_id IS NOT NULL"),
        ),
        Index("ix_audit_events_policy", "act_at", "id", postgresql_where=text(POLICY_CHANGE)),
        Index(
            "ix_audit_events_no_grant",
            "act_at",
            "id",
            postgresql_where=text("permission_class = 'DATA_READ' AND access_grant_id IS NULL"),
        ),
        Index("ix_audit_events_xid_id", "xid", "id"),
        Index(
            "uq_audit_events_concludes_id",
            "concludes_id",
            "act_at",
            unique=True,
            postgresql_where=text("concludes_id IS NOT NULL"),
        ),
        {"postgresql_partition_by": "RANGE (act_at)"},
    )

    id: Mapped[Id]
    act_at: Mapped[Timestamp] = mapped_column(primary_key=True)
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
    access_grant_id: Mapped[UUID | None]
    reason_code: Mapped[str | None]
    reason_message: Mapped[str | None]
    request_id: Mapped[str | None]
    client: Mapped[str | None]
    rows: Mapped[int | None] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    before: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    commitments: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    concludes_id: Mapped[UUID | None]
    mac_key: Mapped[str]
    mac: Mapped[builtins.bytes] = mapped_column(LargeBinary)
    xid: Mapped[str] = mapped_column(Xid8, server_default=FetchedValue(), deferred=True)
    if TYPE_CHECKING:
        justification: Mapped[str | None]  # read from the personal values, which are defined below


class AuditResource(Base):
    """An act that is about this resource, beside the array in the event, which no index keeps in the order of time.

    Written by a trigger with the event; `verify-audit` compares both. Outcomes have none: they follow their intent.
    """

    __tablename__ = "audit_resources"
    __table_args__ = ({"postgresql_partition_by": "RANGE (act_at)"},)

    resource_id: Mapped[UUID] = mapped_column(primary_key=True)
    act_at: Mapped[Timestamp] = mapped_column(primary_key=True)
    event_id: Mapped[UUID] = mapped_column(primary_key=True)


class AuditUsedGrant(Base):
    """An access grant by which data was read, and the first such event that was written; it stays when events leave.

    Written by the same trigger, and compared by `verify-audit` with what is in the database.
    """

    __tablename__ = "audit_used_grants"

    access_grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    act_at: Mapped[Timestamp]
    event_id: Mapped[UUID]


class AuditPersonal(Base):
    """What an event says of one person: their address, their words, their name. Its salted hash is in the event.

    Erased means that `salt` and `content` are gone and `erased_at` says since when; the event and the proof stay.
    """

    __tablename__ = "audit_personal"
    __table_args__ = (
        CheckConstraint("(content IS NULL) = (salt IS NULL)", name="salt_goes_with_content"),
        CheckConstraint("(content IS NULL) = (erased_at IS NOT NULL)", name="erased_or_there"),
        Index("ix_audit_personal_person_id", "person_id", postgresql_where=text("content IS NOT NULL")),
        {"postgresql_partition_by": "RANGE (act_at)"},
    )

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(primary_key=True)
    act_at: Mapped[Timestamp] = mapped_column(primary_key=True)
    salt: Mapped[builtins.bytes | None] = mapped_column(LargeBinary)
    content: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    erased_at: Mapped[datetime | None]


AuditEvent.justification = column_property(
    select(AuditPersonal.content["justification"].astext)
    .where(
        AuditPersonal.event_id == func.coalesce(AuditEvent.concludes_id, AuditEvent.id),
        AuditPersonal.act_at == AuditEvent.act_at,
        AuditPersonal.person_id == func.coalesce(AuditEvent.on_behalf_of_id, AuditEvent.actor_id),
    )
    .correlate_except(AuditPersonal)
    .scalar_subquery()
)


class AuditLeaf(Base):
    """One leaf of the tree, numbered from zero: `entry` is the SHA-256 of the event's line, see `mac.entry_of`."""

    __tablename__ = "audit_leaves"
    __table_args__ = (CheckConstraint("octet_length(entry) = 32", name="entry_is_whole"),)

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_id: Mapped[UUID] = mapped_column(unique=True)
    act_at: Mapped[Timestamp]
    entry: Mapped[builtins.bytes] = mapped_column(LargeBinary)


class AuditTile(Base):
    """Up to 256 hashes of one level of the tree, as C2SP tlog-tiles has them; the last one of a level still grows."""

    __tablename__ = "audit_tiles"

    level: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hashes: Mapped[builtins.bytes] = mapped_column(LargeBinary)


class AuditSeal(Base):
    """How far the record is sealed; one row, whose lock makes one sealer of many.

    All that `sealed_snapshot` sees is sealed. While `pending_snapshot` is set, what it sees is being sealed in the
    order of (xid, id), up to `pending_xid` and `pending_id`; `anew` asks for every event that has no leaf, whatever its
    xid. `note` is the signed head of the `size` leaves.
    """

    __tablename__ = "audit_seal"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger)
    sealed_snapshot: Mapped[str] = mapped_column(Text)
    pending_snapshot: Mapped[str | None] = mapped_column(Text)
    pending_xid: Mapped[str | None] = mapped_column(Text)
    pending_id: Mapped[UUID | None]
    anew: Mapped[bool]
    note: Mapped[str | None] = mapped_column(Text)
    sealed_at: Mapped[datetime | None]


class AuditTreeHead(Base):
    """A head that was published outside of the database, with the witnesses' signatures that came back."""

    __tablename__ = "audit_tree_heads"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    note: Mapped[str] = mapped_column(Text)
    published_at: Mapped[Timestamp]


class AuditArchive(Base):
    """A month that has left for the archive: its events lie in a file of that SHA-256, their leaves stay here.

    `mac` is over all other columns under an audit key, so that nobody passes a deletion off as an archive.
    `uses_sha256` is of the rows in `audit_archived_uses`; what left before there were such rows has none.
    """

    __tablename__ = "audit_archives"

    name: Mapped[str] = mapped_column(primary_key=True)
    begins_at: Mapped[Timestamp]
    ends_at: Mapped[Timestamp]
    events: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    archived_at: Mapped[Timestamp]
    mac_key: Mapped[str]
    mac: Mapped[builtins.bytes] = mapped_column(LargeBinary)
    uses_sha256: Mapped[str | None]


class AuditArchivedUse(Base):
    """How often, and from when to when, data was read by an access grant in a month that has left for its archive."""

    __tablename__ = "audit_archived_uses"

    access_grant_id: Mapped[UUID] = mapped_column(primary_key=True)
    archive: Mapped[str] = mapped_column(primary_key=True)
    times: Mapped[int] = mapped_column(BigInteger)
    first_used_at: Mapped[Timestamp]
    last_used_at: Mapped[Timestamp]


class AuditStream(Base):
    """How far a stream to somebody else's system has come: `next_leaf` is the first that was not delivered.

    Only who holds the lease sends and moves it. `trouble` is what the receiver said last, none since it took something.
    """

    __tablename__ = "audit_streams"
    __table_args__ = (
        CheckConstraint("num_nonnulls(lease_owner, lease_token, lease_expires_at) IN (0, 3)", name="lease_is_whole"),
    )

    name: Mapped[str] = mapped_column(primary_key=True)
    next_leaf: Mapped[int] = mapped_column(BigInteger)
    delivered_at: Mapped[datetime | None]
    trouble: Mapped[str | None] = mapped_column(Text)
    lease_owner: Mapped[str | None]
    lease_token: Mapped[UUID | None]
    lease_expires_at: Mapped[datetime | None]


class PolicyHistory(Base):
    """One line of the policy as it became at a moment; `line` is NULL where it ended. Written by triggers.

    `key` is the id of a role binding or of a team, or the role and the permission of a rule.
    """

    __tablename__ = "policy_history"
    __table_args__ = (
        CheckConstraint("kind IN ('BINDING', 'RULE', 'TEAM')", name="kind"),
        Index("ix_policy_history_kind_key_changed_at", "kind", "key", "changed_at"),
    )

    id: Mapped[Id]
    changed_at: Mapped[Timestamp]
    kind: Mapped[str]
    key: Mapped[str]
    line: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
