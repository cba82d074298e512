"""The table of effects that wait for their transaction to commit."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Id, Json, Timestamp
from guildhall.db.leases import Leasable


class OutboxRow(Leasable, Base):
    """One effect to carry out: `topic` names the handler, `payload` is its input (ids as strings).

    A row is leased while somebody works on it, done when `done_at` is set, and given up when `attempts` has reached the
    maximum; a row given up keeps `last_error` and stays visible.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name="lease_whole"),
        CheckConstraint("(lease_token IS NULL) = (lease_owner IS NULL)", name="lease_owned"),
        CheckConstraint("attempts >= 0", name="attempts_not_negative"),
        CheckConstraint("done_at IS NULL OR given_up_at IS NULL", name="ends_once"),
        Index(
            "ix_outbox_waiting",
            "topic",
            "available_at",
            postgresql_where=text("done_at IS NULL AND given_up_at IS NULL"),
        ),
        Index("ix_outbox_done", "done_at", postgresql_where=text("done_at IS NOT NULL")),
    )

    id: Mapped[Id]
    topic: Mapped[str]
    payload: Mapped[Json]
    created_at: Mapped[Timestamp]
    available_at: Mapped[Timestamp]
    attempts: Mapped[int] = mapped_column(default=0)
    done_at: Mapped[datetime | None]
    given_up_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
