"""Enqueue in the transaction of the cause; claim, work without a session, apply only where the lease still holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Update, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.clock import Clock, IdSource
from guildhall.clock import new_id as new_uuid
from guildhall.db.among import among
from guildhall.db.transaction import Database
from guildhall.outbox.tables import OutboxRow

ATTEMPTS_MAX = 12
CLAIM_ROWS_MAX = 100
BACKOFF_SECONDS_FIRST = 1
BACKOFF_SECONDS_MAX = 300
ERROR_CHARACTERS_MAX = 2_000


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One row on loan: whoever holds `token` may finish it until `expires_at`."""

    id: UUID
    topic: str
    payload: dict[str, Any]
    attempts: int
    token: UUID
    expires_at: datetime


async def enqueue(
    session: AsyncSession,
    topic: str,
    payload: dict[str, Any],
    *,
    at: datetime,
    available_at: datetime | None = None,
    new_id: IdSource = new_uuid,
) -> UUID:
    """Write one effect that starts only if this transaction commits, at `available_at` (or at once).

    The payload is JSON: ids and moments as strings. Handlers may run more than once for one row and must be idempotent.
    """
    row_id = new_id()
    await session.execute(
        insert(OutboxRow).values(
            id=row_id, topic=topic, payload=payload, created_at=at, available_at=available_at or at, attempts=0
        )
    )
    return row_id


async def enqueue_all(
    session: AsyncSession, topic: str, payloads: Sequence[dict[str, Any]], *, at: datetime, new_id: IdSource
) -> None:
    """As `enqueue`, for many effects at once, in one statement."""
    if payloads:
        common = {"topic": topic, "created_at": at, "available_at": at, "attempts": 0}
        await session.execute(insert(OutboxRow), [{"id": new_id(), "payload": each, **common} for each in payloads])


async def claim(
    database: Database,
    topics: Sequence[str],
    *,
    owner: str,
    clock: Clock,
    lease_seconds: int,
    limit: int = CLAIM_ROWS_MAX,
    new_id: IdSource = new_uuid,
) -> list[Claim]:
    """Lease the oldest waiting rows of these topics that nobody holds; rows that a rival is taking are skipped."""
    assert 1 <= limit <= CLAIM_ROWS_MAX, f"a claim takes 1 to {CLAIM_ROWS_MAX} rows"
    now = clock.now()
    free = (
        select(OutboxRow)
        .where(OutboxRow.topic.in_(topics), OutboxRow.done_at.is_(None), OutboxRow.given_up_at.is_(None))
        .where(OutboxRow.available_at <= now)
        .where(OutboxRow.lease_expires_at.is_(None) | (OutboxRow.lease_expires_at <= now))
        .order_by(OutboxRow.available_at, OutboxRow.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    claims = []
    async with database.transaction() as session:
        for row in await session.scalars(free):
            row.lease_owner = owner
            row.lease_token = new_id()
            row.lease_expires_at = now + timedelta(seconds=lease_seconds)
            row.attempts += 1
            claims.append(
                Claim(
                    id=row.id,
                    topic=row.topic,
                    payload=row.payload,
                    attempts=row.attempts,
                    token=row.lease_token,
                    expires_at=row.lease_expires_at,
                )
            )
    return claims


async def complete(session: AsyncSession, claimed: Claim, *, at: datetime) -> bool:
    """Mark the effect as done, in the transaction of its result. False: the lease was lost, so roll back and forget."""
    return await _finish(session, claimed, {"done_at": at, "last_error": None})


async def complete_all(session: AsyncSession, claims: Sequence[Claim], *, at: datetime) -> set[UUID]:
    """Mark these effects as done, in the transaction of their results; the ids of those whose lease was not lost.

    Of the others nothing may be written. Locks the rows in id order.
    """
    # No two rows ever have the same token, so that both lists together say what their pairs would.
    held = (
        select(OutboxRow)
        .where(
            among(OutboxRow.id, [each.id for each in claims]),
            among(OutboxRow.lease_token, [each.token for each in claims]),
        )
        .order_by(OutboxRow.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    rows = (await session.scalars(held)).all()
    for row in rows:
        row.done_at, row.last_error = at, None
        row.lease_owner = row.lease_token = row.lease_expires_at = None
    return {row.id for row in rows}


async def fail(session: AsyncSession, claimed: Claim, error: str, *, at: datetime) -> bool:
    """Put the row back to wait longer than last time, or give it up after `ATTEMPTS_MAX`. False: the lease was lost."""
    values: dict[str, Any] = {"last_error": error[:ERROR_CHARACTERS_MAX]}
    if claimed.attempts >= ATTEMPTS_MAX:
        values["given_up_at"] = at
    else:
        values["available_at"] = at + timedelta(seconds=backoff_seconds(claimed.attempts))
    return await _finish(session, claimed, values)


def backoff_seconds(attempts: int) -> int:
    """How long a row waits after its nth failure: doubling from one second, five minutes at most."""
    assert attempts >= 1, "only an attempted row has failed"
    return min(BACKOFF_SECONDS_FIRST << min(attempts - 1, 30), BACKOFF_SECONDS_MAX)


async def _finish(session: AsyncSession, claimed: Claim, values: dict[str, Any]) -> bool:
    released = {"lease_owner": None, "lease_token": None, "lease_expires_at": None}
    return await _applied(session, _held(claimed).values(**values, **released))


def _held(claimed: Claim) -> Update:
    """Only the row whose token still matches; an expired lease that nobody has taken over still counts."""
    return (
        update(OutboxRow)
        .where(OutboxRow.id == claimed.id, OutboxRow.lease_token == claimed.token)
        .execution_options(synchronize_session=False)
    )


async def _applied(session: AsyncSession, statement: Update) -> bool:
    result = await session.execute(statement.returning(OutboxRow.id))
    return result.scalar_one_or_none() is not None
