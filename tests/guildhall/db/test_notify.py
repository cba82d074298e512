"""Notices arrive after commit only, and a lost connection comes back and says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text

from guildhall.db.announcing import announce
from guildhall.db.notify import Listener, listen
from guildhall.db.transaction import Database


@asynccontextmanager
async def listening(database: Database) -> AsyncIterator["asyncio.Queue[str]"]:
    told: asyncio.Queue[str] = asyncio.Queue()
    listener = Listener(
        channel="tests",
        noticed=lambda payload: told.put_nowait(f"noticed {payload}"),
        connected=lambda: told.put_nowait("connected"),
        lost=lambda: told.put_nowait("lost"),
    )
    task = asyncio.create_task(listen(database.url, listener))
    assert await asyncio.wait_for(told.get(), 10) == "connected"
    yield told
    task.cancel()
    await asyncio.wait([task])


async def send(database: Database, payload: str) -> None:
    async with database.transaction() as session:
        announce(session, "tests", payload)


class TestListen:
    async def test_a_rolled_back_notice_is_never_heard(self, database: Database) -> None:
        async with listening(database) as told:
            async with database.engine.connect() as connection:
                await connection.execute(text("SELECT pg_notify('tests', 'rolled back')"))
                await connection.rollback()
            await send(database, "committed")
            assert await asyncio.wait_for(told.get(), 10) == "noticed committed"
            assert told.empty()

    async def test_comes_back_after_the_connection_was_ended(self, database: Database) -> None:
        async with listening(database) as told:
            async with database.transaction() as session:
                await session.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE application_name = 'guildhall-notices' AND datname = current_database()"
                    )
                )
            assert await asyncio.wait_for(told.get(), 10) == "lost"
            assert await asyncio.wait_for(told.get(), 10) == "connected"
            await send(database, "again")
            assert await asyncio.wait_for(told.get(), 10) == "noticed again"
