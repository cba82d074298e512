"""Rows are locked in id order, whatever order they are asked in."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from guildhall.clock import SimulatedClock, new_id
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import Database
from guildhall.outbox.tables import OutboxRow

WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()")


async def make_rows(database: Database, clock: SimulatedClock, number: int) -> list[OutboxRow]:
    now = clock.now()
    rows = []
    async with database.transaction() as session:
        for _ in range(number):
            row = OutboxRow(id=new_id(), topic="t", payload={}, created_at=now, available_at=now, attempts=0)
            session.add(row)
            rows.append(row)
    return sorted(rows, key=lambda row: row.id)


async def until_somebody_waits(database: Database) -> None:
    for _ in range(1_000):
        async with database.read() as session:
            if (await session.execute(WAITING)).scalar_one() > 0:
                return
        await asyncio.sleep(0.005)
    pytest.fail("nobody came to wait for a lock")


class TestLockRows:
    async def test_takes_the_lowest_id_first(self, fresh_database: Database, clock: SimulatedClock) -> None:
        low, high = await make_rows(fresh_database, clock, 2)

        async def take_both() -> list[object]:
            async with fresh_database.transaction() as session:
                return [row.id for row in await lock_rows(session, OutboxRow, [high.id, low.id, high.id])]

        async with fresh_database.transaction() as rival:
            await lock_rows(rival, OutboxRow, [low.id])
            task = asyncio.create_task(take_both())
            await until_somebody_waits(fresh_database)
            # It waits for the low one and does not hold the high one yet.
            free = text("SELECT id FROM outbox WHERE id = :id FOR UPDATE NOWAIT")
            assert (await rival.execute(free, {"id": high.id})).scalar_one() == high.id
        assert await task == [low.id, high.id]

    async def test_a_locked_row_can_still_be_referenced(self, fresh_database: Database, clock: SimulatedClock) -> None:
        (row,) = await make_rows(fresh_database, clock, 1)
        async with fresh_database.transaction() as session, fresh_database.transaction() as other:
            await lock_rows(session, OutboxRow, [row.id])
            key_share = text("SELECT id FROM outbox WHERE id = :id FOR KEY SHARE NOWAIT")
            assert (await other.execute(key_share, {"id": row.id})).scalar_one() == row.id
            with pytest.raises(DBAPIError, match="could not obtain lock"):
                await other.execute(
                    text("SELECT id FROM outbox WHERE id = :id FOR NO KEY UPDATE NOWAIT"), {"id": row.id}
                )

    async def test_sees_what_the_rival_committed(self, fresh_database: Database, clock: SimulatedClock) -> None:
        (row,) = await make_rows(fresh_database, clock, 1)
        async with fresh_database.transaction() as session:
            stale = await session.get(OutboxRow, row.id)
            assert stale is not None
            async with fresh_database.transaction() as rival:
                await rival.execute(text("UPDATE outbox SET attempts = 7"))
            (fresh,) = await lock_rows(session, OutboxRow, [row.id])
            assert fresh.attempts == 7

    async def test_leaves_out_ids_without_a_row(self, fresh_database: Database) -> None:
        async with fresh_database.transaction() as session:
            assert await lock_rows(session, OutboxRow, [new_id()]) == []
            assert await lock_rows(session, OutboxRow, []) == []
