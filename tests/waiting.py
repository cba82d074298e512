"""Rivals that are forced in at a line: until one of them waits for what another holds."""

import asyncio

from sqlalchemy import text

from guildhall.db.transaction import Database

PATIENCE_SECONDS = 120

_WAITING = text("""
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
""")

ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended('guildhall policy', 0))")
"""What ends access takes at its commit: reads that are to be announced wait for it."""


async def until_one_waits(database: Database) -> None:
    """Return as soon as a transaction on this database waits for a lock that another one has."""
    await until_so_many_wait(database, 1)


async def until_so_many_wait(database: Database, number: int) -> None:
    """Return as soon as that many do."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await so_many_wait(database) < number:
            await asyncio.sleep(0.01)


async def so_many_wait(database: Database) -> int:
    """How many do at this moment."""
    async with database.read() as session:
        return int((await session.execute(_WAITING)).scalar_one())
