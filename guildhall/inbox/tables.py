"""The tables of events and of who was told of them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Json, Timestamp
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
