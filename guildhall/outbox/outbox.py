"""Enqueue in the transaction of the cause; claim, work without a session, apply only where the lease still holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.clock import Clock, IdSource
from guildhall.clock import new_id as new_uuid
from guildhall.db.among import among
from guildhall.db.forgetting import delete_some
from guildhall.db.leases import RETURNED, give_back, lease, unleased
from guildhall.db.transaction import Database
from guildhall.outbox.tables import OutboxRow

ATTEMPTS_MAX = 12
CLAIM_ROWS_MAX = 100
BACKOFF_SECONDS_FIRST = 1
BACKOFF_SECONDS_MAX = 300
ERROR_CHARACTERS_MAX = 2_000
DONE_KEPT = timedelta(days=30)
"""How long a row stays that has nothing left to do, for whoever wants to know when it was done."""
FORGETTING_LOCK = 0x6F7574626F78  # "outbox"; any number that nothing else of ours locks


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
    waiting = (OutboxRow.done_at.is_(None), OutboxRow.given_up_at.is_(None), OutboxRow.available_at <= now)
    oldest = (
        select(OutboxRow.id)
        .where(OutboxRow.topic.in_(topics), *waiting, unleased(OutboxRow, now))
        .order_by(OutboxRow.available_at, OutboxRow.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    token, until = new_id(), now + timedelta(seconds=lease_seconds)
    async with database.transaction() as session:
        ids = (await session.scalars(oldest)).all()
        if not ids:
            return []
        taken = lease(OutboxRow, among(OutboxRow.id, ids), owner=owner, token=token, until=until, at=now)
        rows = await session.scalars(taken.values(attempts=OutboxRow.attempts + 1).returning(OutboxRow))
        in_order = sorted(rows, key=lambda row: (row.available_at, row.id))
    return [
        Claim(id=row.id, topic=row.topic, payload=row.payload, attempts=row.attempts, token=token, expires_at=until)
        for row in in_order
    ]


async def complete(session: AsyncSession, claimed: Claim, *, at: datetime) -> bool:
    """Mark the effect as done, in the transaction of its result. False: the lease was lost, so roll back and forget."""
    return await _finish(session, claimed, {"done_at": at, "last_error": None})


async def complete_all(session: AsyncSession, claims: Sequence[Claim], *, at: datetime) -> set[UUID]:
    """Mark these effects as done, in the transaction of their results; the ids of those whose lease was not lost.

    Of the others nothing may be written. Locks the rows in id order.
    """
    tokens = among(OutboxRow.lease_token, [each.token for each in claims])
    held_now = (
        select(OutboxRow.id)
        .where(among(OutboxRow.id, [each.id for each in claims]), tokens)
        .order_by(OutboxRow.id)
        .with_for_update(key_share=True)
    )
    ids = (await session.scalars(held_now)).all()
    done = update(OutboxRow).where(among(OutboxRow.id, ids)).values(done_at=at, last_error=None, **RETURNED)
    await session.execute(done.execution_options(synchronize_session=False))
    return set(ids)


async def fail(session: AsyncSession, claimed: Claim, error: str, *, at: datetime) -> bool:
    """Put the row back to wait longer than last time, or give it up after `ATTEMPTS_MAX`. False: the lease was lost."""
    values: dict[str, Any] = {"last_error": error[:ERROR_CHARACTERS_MAX]}
    if claimed.attempts >= ATTEMPTS_MAX:
        values["given_up_at"] = at
    else:
        values["available_at"] = at + timedelta(seconds=backoff_seconds(claimed.attempts))
    return await _finish(session, claimed, values)


async def put_back(session: AsyncSession, claimed: Claim, *, available_at: datetime) -> bool:
    """Have the row wait, as if it had not been taken up. False: the lease was lost."""
    return await _finish(session, claimed, {"attempts": OutboxRow.attempts - 1, "available_at": available_at})


async def forget_done(database: Database, *, at: datetime) -> int:
    """Delete rows that were done so long ago; how many. What was given up stays, until somebody has looked at it."""
    old = select(OutboxRow.id).where(OutboxRow.done_at <= at - DONE_KEPT).order_by(OutboxRow.done_at)
    return await delete_some(database, OutboxRow, old, lock=FORGETTING_LOCK)


def backoff_seconds(attempts: int) -> int:
    """How long a row waits after its nth failure: doubling from one second, five minutes at most."""
    assert attempts >= 1, "only an attempted row has failed"
    return min(BACKOFF_SECONDS_FIRST << min(attempts - 1, 30), BACKOFF_SECONDS_MAX)


async def _finish(session: AsyncSession, claimed: Claim, values: dict[str, Any]) -> bool:
    """An expired lease that nobody has taken over still counts."""
    finished = give_back(OutboxRow, [claimed.id], claimed.token, **values)
    return await session.scalar(finished.returning(OutboxRow.id)) is not None
