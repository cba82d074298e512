"""The whole record, checked page by page."""

from uuid import UUID

import pytest
from sqlalchemy import func, select

from guildhall.audit import verifying
from guildhall.audit.mac import AuditKey
from guildhall.audit.record import record
from guildhall.audit.verifying import Verification, verify_record
from guildhall.auth.actor import system_actor
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database
from tests.conftest import AUDIT_KEY

KEY = AuditKey(AUDIT_KEY)
WORKER = system_actor("worker")


async def write(database: Database, clock: SimulatedClock, number: int) -> list[UUID]:
    async with database.transaction() as session:
        return [
            await record(session, WORKER, action="registry:dataset:read", at=clock.now(), new_id=new_id)
            for _ in range(number)
        ]


async def alter(server: EmbeddedServer, database: Database, statement: str) -> None:
    """As a superuser, with the trigger switched off."""
    async with database.read() as session:
        name = str((await session.scalars(select(func.current_database()))).one())
    connection = await server.connect(database=name)
    await connection.execute("ALTER TABLE audit_events DISABLE TRIGGER ALL")
    await connection.execute(statement)
    await connection.close()


class TestVerifyRecord:
    @pytest.mark.parametrize("number", [0, 1, 3, 4])
    async def test_an_untouched_record(
        self, fresh_database: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        monkeypatch.setattr(verifying, "PAGE_ROWS", 2)
        await write(fresh_database, clock, number)
        assert await verify_record(fresh_database, KEY) == Verification(checked=number)

    async def test_every_altered_event_is_counted_and_the_first_are_named(
        self, fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(verifying, "PAGE_ROWS", 2)
        monkeypatch.setattr(verifying, "ALTERED_MAX", 2)
        events = await write(fresh_database, clock, 5)
        touched = ", ".join(f"'{event}'" for event in events[1:4])
        await alter(server, fresh_database, f"UPDATE audit_events SET bytes = 0 WHERE id IN ({touched})")
        assert await verify_record(fresh_database, KEY) == Verification(checked=5, altered=3, named=events[1:3])

    async def test_what_was_written_under_another_key_is_told_apart(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await write(fresh_database, clock, 2)
        assert await verify_record(fresh_database, AuditKey(b"x" * 32)) == Verification(checked=2, other_key=2)
