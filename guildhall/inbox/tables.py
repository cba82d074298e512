"""The tables of events, of who was told of them, and of what leaves the house about them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Json, Timestamp
from guildhall.db.leases import Leasable
from guildhall.inbox.kinds import EventKind

_KINDS = ", ".join(repr(kind.value) for kind in EventKind)


class InboxEvent(Base):
    """One thing that happened, or is about to: once for each kind and subject, whoever notices it how often.

    `subject_type` is the GraphQL type of what `subject_id` names; `team_id` the team that it is for, if it is for one.
    `facts` are what the sentences are made from, by `guildhall.inbox.wording`: names and figures as the recipients knew
    them then, no secret and no data.
    """

    __tablename__ = "inbox_events"
    __table_args__ = (
        CheckConstraint(f"kind IN ({_KINDS})", name="kind_known"),
        UniqueConstraint("subject_id", "kind"),
        Index("ix_inbox_events_occurred_at", "occurred_at"),
    )

    id: Mapped[Id]
    kind: Mapped[str]
    subject_type: Mapped[str]
    subject_id: Mapped[UUID]
    team_id: Mapped[UUID | None] = mapped_column(ForeignKey("teams.id"))
    facts: Mapped[Json]
    occurred_at: Mapped[Timestamp]


class Notification(Base):
    """That one person is told of an event, and when they read it; theirs alone."""

    __tablename__ = "notifications"
    __table_args__ = (
        UniqueConstraint("event_id", "user_id"),
        Index("ix_notifications_inbox", "user_id", "created_at", "id"),
        Index("ix_notifications_unread", "user_id", "created_at", "id", postgresql_where=text("read_at IS NULL")),
        Index("ix_notifications_read_at", "read_at", postgresql_where=text("read_at IS NOT NULL")),
    )

    id: Mapped[Id]
    event_id: Mapped[UUID] = mapped_column(ForeignKey("inbox_events.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[Timestamp]
    read_at: Mapped[datetime | None]


class Webhook(Base):
    """An address that is told of events: of its team's, or without a team of everybody's.

    `kinds` are the events that it is told of. While it is paused nothing is sent and what comes up waits; while it
    rests, until `rests_until`, it has asked for that itself.
    """

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint("cardinality(kinds) > 0", name="kinds_some"),
        CheckConstraint("num_nonnulls(paused_at, pause_code, pause_message) IN (0, 3)", name="pause_whole"),
        Index("ix_webhooks_team_id", "team_id"),
    )

    id: Mapped[Id]
    team_id: Mapped[UUID | None] = mapped_column(ForeignKey("teams.id"))
    label: Mapped[str]
    url: Mapped[str]
    kinds: Mapped[list[str]] = mapped_column(ARRAY(String))
    paused_at: Mapped[datetime | None]
    pause_code: Mapped[str | None]
    pause_message: Mapped[str | None]
    rests_until: Mapped[datetime | None]
    created_at: Mapped[Timestamp]


class WebhookSecret(Base):
    """What a webhook is signed with, encrypted; the one that has no end is the newest, others count until theirs."""

    __tablename__ = "webhook_secrets"
    __table_args__ = (
        Index("uq_webhook_secrets_newest", "webhook_id", unique=True, postgresql_where=text("expires_at IS NULL")),
        Index("ix_webhook_secrets_webhook_id", "webhook_id"),
    )

    id: Mapped[Id]
    webhook_id: Mapped[UUID] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    key_name: Mapped[str]
    nonce: Mapped[bytes]
    ciphertext: Mapped[bytes]
    created_at: Mapped[Timestamp]
    expires_at: Mapped[datetime | None]


class Delivery(Leasable, Base):
    """One message that leaves the house: an event, or a ping without one, to a webhook; or a notification as a mail.

    A WAITING one is leased while somebody sends it, and counts each attempt when it begins. `status` is what the
    receiver answered last: of HTTP, or of SMTP.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint("channel IN ('WEBHOOK', 'MAIL')", name="channel"),
        CheckConstraint("state IN ('WAITING', 'DELIVERED', 'DEAD')", name="state"),
        CheckConstraint("(channel = 'WEBHOOK') = (webhook_id IS NOT NULL)", name="webhook_of_its_channel"),
        CheckConstraint("(channel = 'MAIL') = (notification_id IS NOT NULL)", name="notification_of_its_channel"),
        CheckConstraint("(event_id IS NULL) = (kind = 'PING')", name="event_or_ping"),
        CheckConstraint("(state = 'WAITING') = (ended_at IS NULL)", name="ended_once"),
        CheckConstraint("num_nonnulls(lease_owner, lease_token, lease_expires_at) IN (0, 3)", name="lease_whole"),
        CheckConstraint("attempts >= 0", name="attempts_not_negative"),
        UniqueConstraint("event_id", "webhook_id"),
        UniqueConstraint("notification_id"),
        Index("ix_deliveries_due", "channel", "webhook_id", "due_at", postgresql_where=text("state = 'WAITING'")),
        Index("ix_deliveries_webhook_id", "webhook_id", "created_at"),
        Index("ix_deliveries_created_at", "created_at"),
        Index("ix_deliveries_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    )

    id: Mapped[Id]
    channel: Mapped[str]
    webhook_id: Mapped[UUID | None] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    notification_id: Mapped[UUID | None] = mapped_column(ForeignKey("notifications.id", ondelete="CASCADE"))
    event_id: Mapped[UUID | None] = mapped_column(ForeignKey("inbox_events.id", ondelete="CASCADE"))
    kind: Mapped[str]
    state: Mapped[str]
    attempts: Mapped[int]
    due_at: Mapped[Timestamp]
    status: Mapped[int | None]
    reason_code: Mapped[str | None]
    reason_message: Mapped[str | None]
    created_at: Mapped[Timestamp]
    ended_at: Mapped[datetime | None]


class InboxSettings(Base):
    """What somebody wants beside the inbox itself; who has no row wants no mail."""

    __tablename__ = "inbox_settings"
    __table_args__ = (CheckConstraint("mail IN ('ALL', 'NONE')", name="mail"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), primary_key=True)
    mail: Mapped[str]
    changed_at: Mapped[Timestamp]
