"""What commits, what rolls back, and what a read may not do."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError

from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database, WriteSession
from guildhall.outbox.tables import OutboxRow


async def add(session: WriteSession, clock: SimulatedClock, **values: object) -> UUID:
    now, row_id = clock.now(), new_id()
    row = {"id": row_id, "topic": "t", "payload": {}, "created_at": now, "available_at": now, "attempts": 0}
    await session.execute(insert(OutboxRow).values(row | values))
    return row_id


async def count(database: Database) -> int:
    async with database.read() as session:
        return (await session.execute(select(func.count()).select_from(OutboxRow))).scalar_one()


class TestTransaction:
    async def test_commits_at_the_end_and_not_before(self, fresh_database: Database, clock: SimulatedClock) -> None:
        async with fresh_database.transaction() as session:
            await add(session, clock)
            assert await count(fresh_database) == 0
        assert await count(fresh_database) == 1

    async def test_an_error_takes_everything_back(self, fresh_database: Database, clock: SimulatedClock) -> None:
        async def failing() -> None:
            async with fresh_database.transaction() as session:
                await add(session, clock)
                await add(session, clock, attempts=-1)

        with pytest.raises(DBAPIError, match="ck_outbox_attempts_not_negative"):
            await failing()
        assert await count(fresh_database) == 0

    async def test_cancelling_takes_everything_back(self, fresh_database: Database, clock: SimulatedClock) -> None:
        written = asyncio.Event()

        async def slow() -> None:
            async with fresh_database.transaction() as session:
                await add(session, clock)
                written.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(slow())
        await written.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert await count(fresh_database) == 0

    async def test_is_read_committed_under_the_service_role(self, database: Database) -> None:
        async with database.transaction() as session:
            found = await session.execute(
                text("SELECT current_setting('transaction_isolation'), current_user, current_setting('TimeZone')")
            )
            assert tuple(found.one()) == ("read committed", "guildhall_service", "UTC")


class TestRead:
    async def test_cannot_write(self, fresh_database: Database, clock: SimulatedClock) -> None:
        async def write() -> None:
            async with fresh_database.read() as session:
                await add(session, clock)  # type: ignore[arg-type]

        with pytest.raises(DBAPIError, match="read-only transaction"):
            await write()
        assert await count(fresh_database) == 0

    async def test_leaves_its_connection_writable(self, fresh_database: Database, clock: SimulatedClock) -> None:
        async with fresh_database.read() as session:
            await session.execute(text("SELECT 1"))
        async with fresh_database.transaction() as session:
            await add(session, clock)
        assert await count(fresh_database) == 1

    async def test_serves_many_at_once(self, database: Database) -> None:
        async def one() -> int:
            async with database.read() as session:
                return int((await session.execute(text("SELECT 1 FROM pg_sleep(0.001)"))).scalar_one())

        assert await asyncio.gather(*(one() for _ in range(100))) == [1] * 100
