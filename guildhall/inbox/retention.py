"""Forgetting: what was read long ago leaves, what nobody reads later, and events that are in no inbox any more."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, exists, func, select

from guildhall.db.transaction import Database
from guildhall.inbox.tables import InboxEvent, Notification

ROWS_MAX = 1_000
"""Rows of one transaction."""
FORGETTING_LOCK = 0x696E626F78  # "inbox"; any number that nothing else of ours locks
UNREAD_KEPT = timedelta(days=400)
"""How long what is unread stays, or as long as what was read where that is longer: people are away, not for ever."""
BATCHES_MAX = 20
"""Transactions of one round for each table; what is left goes in the next."""


async def forget_notifications(database: Database, *, read_kept: timedelta, at: datetime) -> int:
    """Delete notifications that were read, or told and never read, so long ago, and events left alone; how many rows.

    Where another is at it, it is left to them.
    """
    read_before, told_before = at - read_kept, at - max(read_kept, UNREAD_KEPT)
    old = select(Notification.id).where(Notification.read_at < read_before).order_by(Notification.read_at)
    unread = (
        select(Notification.id)
        .join(InboxEvent, InboxEvent.id == Notification.event_id)
        .where(InboxEvent.occurred_at < told_before, Notification.read_at.is_(None))
        .order_by(InboxEvent.occurred_at)
    )
    held = exists().where(Notification.event_id == InboxEvent.id)
    unheld = select(InboxEvent.id).where(InboxEvent.occurred_at < read_before, ~held).order_by(InboxEvent.occurred_at)
    gone = await _delete(database, Notification, old) + await _delete(database, Notification, unread)
    return gone + await _delete(database, InboxEvent, unheld)


async def _delete(database: Database, table: Any, which: Select[Any]) -> int:  # noqa: ANN401 -- either of the two
    gone = 0
    for _ in range(BATCHES_MAX):
        async with database.transaction() as session:
            if not await session.scalar(select(func.pg_try_advisory_xact_lock(FORGETTING_LOCK))):
                break
            batch = which.limit(ROWS_MAX)
            statement = delete(table).where(table.id.in_(batch)).returning(table.id)
            rows = len((await session.scalars(statement.execution_options(synchronize_session=False))).all())
        gone += rows
        if rows < ROWS_MAX:
            break
    return gone
