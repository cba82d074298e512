"""The first answers of mutations that were called with an idempotency key."""

from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, LargeBinary
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from guildhall.db.base import Base, Timestamp

KEY_CHARACTERS_MAX = 200


class IdempotencyKey(Base):
    """One key of one caller for one operation: written first in the mutation's transaction, so that rivals wait for it.

    `answer` is what the domain call returned, from which the payload is resolved again; it is set before the commit, so
    a committed row without one does not exist, and a mutation that failed leaves no row.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        CheckConstraint(f"char_length(key) BETWEEN 1 AND {KEY_CHARACTERS_MAX}", name="key_length"),
        CheckConstraint("octet_length(input_hash) = 32", name="input_hash_is_sha256"),
    )

    actor_id: Mapped[UUID] = mapped_column(primary_key=True)
    operation: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    input_hash: Mapped[bytes] = mapped_column(LargeBinary)
    answer: Mapped[Any | None] = mapped_column(JSONB)
    created_at: Mapped[Timestamp]
