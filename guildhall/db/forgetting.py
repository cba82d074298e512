"""Deleting what is old, some at a time, so that no transaction holds many rows and no round takes for ever."""

from typing import Any

from sqlalchemy import Select, delete, func, select

from guildhall.db.transaction import Database

ROWS_MAX = 1_000
"""Rows of one transaction."""
BATCHES_MAX = 20
"""Transactions of one round; what is left goes in the next."""


async def delete_some(database: Database, table: Any, which: Select[Any], *, lock: int) -> int:  # noqa: ANN401 -- any of ours
    """Delete the rows whose ids are selected; how many. Where another holds the lock it is left to them."""
    gone = 0
    for _ in range(BATCHES_MAX):
        async with database.transaction() as session:
            if not await session.scalar(select(func.pg_try_advisory_xact_lock(lock))):
                break
            statement = delete(table).where(table.id.in_(which.limit(ROWS_MAX))).returning(table.id)
            rows = len((await session.scalars(statement.execution_options(synchronize_session=False))).all())
        gone += rows
        if rows < ROWS_MAX:
            break
    return gone
