"""What became of data that left: an event of intent before the first byte, one of outcome after the last.

The outcome repeats who, what and why from its intent and points at it; the intent stays as it was written. What it says
of persons stands beside the intent alone.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from guildhall.audit.record import reason_columns, sign_event
from guildhall.audit.tables import AuditEvent, Outcome
from guildhall.clock import IdSource
from guildhall.errors import GuildhallError

SWEEP_MAX = 500
"""How many abandoned intents one sweep concludes."""

# What a conclusion says anew; all else it takes over from its intent.
_ANEW = frozenset(
    {"id", "occurred_at", "outcome", "rows", "bytes", "concludes_id", "commitments", "mac", "mac_key", "xid"}
)
_TAKEN_OVER = [column.name for column in AuditEvent.__table__.columns if column.name not in _ANEW]


class NoLongerKnown(GuildhallError):
    """The process that sent the data ended without saying what became of it."""

    code = "OUTCOME_UNKNOWN"


async def conclude(
    session: AsyncSession,
    event_id: UUID,
    *,
    outcome: Outcome,
    at: datetime,
    new_id: IdSource,
    rows: int | None = None,
    bytes: int | None = None,  # noqa: A002 -- the column's name and the auditor's word
    reason: GuildhallError | None = None,
) -> UUID | None:
    """Say how an intent ended: COMPLETED or ABORTED, with what really left. None when that has been said already."""
    assert outcome in {Outcome.COMPLETED, Outcome.ABORTED}, "an intent is completed or aborted"
    intent = (await session.scalars(select(AuditEvent).where(AuditEvent.id == event_id))).one()
    assert intent.outcome == Outcome.STARTED, "only an intent is concluded"
    values: dict[str, Any] = {name: getattr(intent, name) for name in _TAKEN_OVER}
    values |= {
        "id": new_id(),
        "occurred_at": at,
        "outcome": outcome.value,
        "rows": rows,
        "bytes": bytes,
        "commitments": None,
        "concludes_id": event_id,
        **reason_columns(reason),
    }
    statement = (
        insert(AuditEvent)
        .values(sign_event(session, values))
        .on_conflict_do_nothing(
            index_elements=[AuditEvent.concludes_id, AuditEvent.act_at],
            index_where=AuditEvent.concludes_id.is_not(None),
        )
        .returning(AuditEvent.id)
    )
    return (await session.scalars(statement)).one_or_none()


async def open_intents(
    session: AsyncSession, *, older_than: datetime, maximum: int = SWEEP_MAX
) -> Sequence[AuditEvent]:
    """Intents from before that moment of which nobody said how they ended, oldest first."""
    conclusion = aliased(AuditEvent)
    statement = (
        select(AuditEvent)
        .where(AuditEvent.outcome == Outcome.STARTED, AuditEvent.act_at < older_than)
        .where(
            ~select(conclusion.id)
            .where(conclusion.concludes_id == AuditEvent.id, conclusion.act_at == AuditEvent.act_at)
            .exists()
        )
        .order_by(AuditEvent.act_at, AuditEvent.id)
        .limit(maximum)
    )
    return (await session.scalars(statement)).all()


async def abort_stale_intents(session: AsyncSession, *, older_than: datetime, at: datetime, new_id: IdSource) -> int:
    """Conclude as ABORTED what a crashed process left open, at most `SWEEP_MAX`; returns how many.

    `older_than` lies further back than any transfer may take: a conclusion is final, and the first one counts.
    """
    concluded = 0
    for intent in await open_intents(session, older_than=older_than):
        reason = NoLongerKnown("The server that sent this ended before it could say how much had left.")
        written = await conclude(session, intent.id, outcome=Outcome.ABORTED, reason=reason, at=at, new_id=new_id)
        concluded += written is not None
    return concluded
