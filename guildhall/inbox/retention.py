"""Forgetting: what was read long ago leaves, and events that nobody has in their inbox any more."""

from datetime import datetime
from typing import Any

from sqlalchemy import Select, delete, exists, func, select

from guildhall.db.transaction import Database
from guildhall.inbox.tables import InboxEvent, Notification

ROWS_MAX = 1_000
"""Rows of one transaction."""
FORGETTING_LOCK = 0x696E626F78  # "inbox"; any number that nothing else of ours locks
BATCHES_MAX = 20
"""Transactions of one round for each table; what is left goes in the next."""


async def forget_read(database: Database, *, read_before: datetime) -> int:
    """Delete notifications that were read before then, and events as old that nobody has any more; how many rows.

    What is unread stays. Where another is at it, it is left to them.
    """
    old = select(Notification.id).where(Notification.read_at < read_before).order_by(Notification.read_at)
    held = exists().where(Notification.event_id == InboxEvent.id)
    unheld = select(InboxEvent.id).where(InboxEvent.occurred_at < read_before, ~held).order_by(InboxEvent.occurred_at)
    return await _delete(database, Notification, old) + await _delete(database, InboxEvent, unheld)


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
