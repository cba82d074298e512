"""Single reads on kept connections: what they give, what they refuse, and what becomes of a connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import select, text

from guildhall.audit.record import compose_event
from guildhall.audit.tables import AuditEvent
from guildhall.audit.writing import insertion_of
from guildhall.auth.actor import system_actor
from guildhall.clock import new_id
from guildhall.db import kept_statements
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.kept_statements import PLANNED_ANEW, KeptStatements
from guildhall.db.timing import StatementsTimed
from guildhall.db.transaction import Database, DatabaseBusy, DatabaseUnavailable, StatementTimeout, UnstorableText
from tests.conftest import AUDIT_KEY, MONDAY_MORNING, run_as_superuser

PID = "SELECT pg_backend_pid()"
ACTIVE = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(29)' AND state = 'active'"


@pytest.fixture
async def kept(database: Database) -> AsyncIterator[KeptStatements]:
    opened = KeptStatements(database.url, connections_max=1, statement_seconds=30)
    yield opened
    await opened.close()


async def value(kept: KeptStatements, sql: str, *arguments: Any) -> Any:
    row = await kept.fetch(sql, arguments)
    return None if row is None else row[0]


class TestFetch:
    async def test_a_statement_is_prepared_once_and_its_values_are_bound(self, kept: KeptStatements) -> None:
        assert [await value(kept, "SELECT $1::int + 1", number) for number in (1, 2)] == [2, 3]
        assert await value(kept, "SELECT count(*) FROM pg_prepared_statements") == 2
        assert await kept.fetch("SELECT 1 WHERE false", []) is None

    async def test_no_more_are_kept_than_the_maximum(
        self, kept: KeptStatements, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kept_statements, "STATEMENTS_MAX", 2)
        for number in range(5):
            assert await value(kept, f"SELECT {number}") == number
        assert await value(kept, "SELECT count(*) FROM pg_prepared_statements") <= 3

    async def test_one_may_be_planned_for_its_values_each_time(self, kept: KeptStatements) -> None:
        mode = "SELECT current_setting('plan_cache_mode')"
        anew = f"{mode}, 1 / $1::int {PLANNED_ANEW}"
        for number in (1, 2):
            assert await value(kept, anew, number) == "force_custom_plan"
            assert await value(kept, mode) == "force_generic_plan"
        with pytest.raises(asyncpg.DivisionByZeroError):
            await kept.fetch(anew, [0])
        assert await value(kept, mode) == "force_generic_plan"

        async def fail() -> None:
            async with kept.transaction() as transaction:
                assert await transaction.fetch(anew, [1]) is not None
                await transaction.fetch(anew, [0])

        with pytest.raises(asyncpg.DivisionByZeroError):
            await fail()
        assert await value(kept, mode) == "force_generic_plan"

    async def test_it_cannot_write(self, kept: KeptStatements) -> None:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await kept.fetch("UPDATE policy_state SET version = version RETURNING 1", [])
        assert await value(kept, "SELECT 1") == 1

    async def test_it_acts_as_the_service(self, kept: KeptStatements) -> None:
        assert await value(kept, "SELECT current_user::text") == "guildhall_service"

    async def test_a_wrong_value_is_the_statement_s_fault_and_the_connection_stays(self, kept: KeptStatements) -> None:
        before = await value(kept, PID)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await kept.fetch("SELECT 1 / $1::int", [0])
        with pytest.raises(asyncpg.DataError):
            await kept.fetch("SELECT $1::int", ["x"])
        with pytest.raises(UnstorableText):
            await kept.fetch("SELECT $1::text", ["\x00"])
        assert await value(kept, PID) == before

    async def test_one_that_runs_too_long_is_ended(self, database: Database) -> None:
        kept = KeptStatements(database.url, connections_max=1, statement_seconds=1)
        with pytest.raises(StatementTimeout, match="took too long"):
            await kept.fetch("SELECT pg_sleep(30)", [])
        assert await value(kept, "SELECT 1") == 1
        await kept.close()

    async def test_it_is_timed(self, kept: KeptStatements) -> None:
        with StatementsTimed() as times:
            await kept.fetch("SELECT 7", [])
        assert [sql for _, sql in times.found] == ["SELECT 7"]


class TestTransaction:
    async def test_what_it_wrote_is_there_when_it_ends(self, kept: KeptStatements, database: Database) -> None:
        before = await value(kept, PID)
        event_id = new_id()
        async with kept.transaction() as transaction:
            assert [*(await transaction.fetch("SELECT $1::int + 1", [1]) or ())] == [2]
            assert await transaction.fetch(*event(event_id)) is None
        assert await is_there(database, event_id)
        assert await value(kept, PID) == before
        assert await value(kept, "SELECT current_setting('transaction_read_only')") == "on"

    async def test_nothing_is_there_where_it_fails(self, kept: KeptStatements, database: Database) -> None:
        before = await value(kept, PID)
        event_id = new_id()

        async def fail() -> None:
            async with kept.transaction() as transaction:
                await transaction.fetch(*event(event_id))
                await transaction.fetch("SELECT 1 / $1::int", [0])

        with pytest.raises(asyncpg.DivisionByZeroError):
            await fail()
        assert not await is_there(database, event_id)
        assert await value(kept, PID) == before

    async def test_a_failure_that_nobody_told_is_no_commit(self, kept: KeptStatements, database: Database) -> None:
        event_id = new_id()

        async def hide() -> None:
            async with kept.transaction() as transaction:
                await transaction.fetch(*event(event_id))
                with contextlib.suppress(asyncpg.DivisionByZeroError):
                    await transaction.fetch("SELECT 1 / $1::int", [0])

        with pytest.raises(AssertionError, match="nobody said so"):
            await hide()
        assert not await is_there(database, event_id)
        assert await value(kept, "SELECT 1") == 1

    async def test_a_connection_that_was_lost_while_idle_is_not_noticed(
        self, kept: KeptStatements, database: Database, server: EmbeddedServer
    ) -> None:
        pid = await value(kept, PID)
        await run_as_superuser(server, f"SELECT pg_terminate_backend({pid}, 5000)")
        event_id = new_id()
        async with kept.transaction() as transaction:
            await transaction.fetch(*event(event_id))
        assert await is_there(database, event_id)

    async def test_one_that_is_lost_in_the_middle_is(self, kept: KeptStatements, database: Database) -> None:
        event_id = new_id()

        async def lose() -> None:
            async with kept.transaction() as transaction:
                await transaction.fetch(*event(event_id))
                await transaction.fetch("SELECT pg_terminate_backend(pg_backend_pid())", [])

        with pytest.raises(DatabaseUnavailable, match="was lost"):
            await lose()
        assert not await is_there(database, event_id)
        assert await value(kept, "SELECT 1") == 1

    async def test_who_is_cancelled_leaves_nothing(self, kept: KeptStatements, database: Database) -> None:
        event_id, written = new_id(), asyncio.Event()

        async def wait() -> None:
            async with kept.transaction() as transaction:
                await transaction.fetch(*event(event_id))
                written.set()
                await asyncio.Event().wait()

        waiting = asyncio.create_task(wait())
        await written.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await value(kept, "SELECT 1") == 1
        assert not await is_there(database, event_id)

    async def test_a_database_that_is_away(self) -> None:
        away = KeptStatements("postgresql+asyncpg://nobody@127.0.0.1:1/nothing", connections_max=1, statement_seconds=1)
        with pytest.raises(DatabaseUnavailable):
            async with away.transaction():
                pytest.fail("there is no transaction")
        await away.close()


def event(event_id: UUID) -> tuple[str, tuple[Any, ...]]:
    """The statement that records something."""
    composed = compose_event(
        system_actor("worker"), action="registry:dataset:read", at=MONDAY_MORNING, new_id=lambda: event_id
    )
    return insertion_of([composed], AUDIT_KEY)


async def is_there(database: Database, event_id: UUID) -> bool:
    async with database.read() as session:
        return await session.scalar(select(AuditEvent.id).where(AuditEvent.id == event_id)) is not None


class TestConnections:
    async def test_who_comes_when_all_are_busy_waits(self, kept: KeptStatements) -> None:
        found = await asyncio.gather(*(value(kept, f"SELECT {number}, pg_sleep(0.01)") for number in range(5)))
        assert found == [0, 1, 2, 3, 4]
        assert await value(kept, "SELECT count(*) FROM pg_stat_activity WHERE pid = pg_backend_pid()") == 1

    async def test_but_not_for_ever(self, kept: KeptStatements, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kept_statements, "POOL_WAIT_SECONDS_MAX", 0.05)
        busy = asyncio.create_task(kept.fetch("SELECT pg_sleep(0.5)", []))
        await asyncio.sleep(0)
        with pytest.raises(DatabaseBusy, match="no free connection"):
            await kept.fetch("SELECT 1", [])
        assert await busy is not None

    async def test_one_that_was_lost_while_idle_is_not_noticed(self, kept: KeptStatements, server: Any) -> None:
        pid = await value(kept, PID)
        await run_as_superuser(server, f"SELECT pg_terminate_backend({pid}, 5000)")
        assert await value(kept, PID) != pid

    async def test_one_that_is_lost_again_and_again_is(self, kept: KeptStatements) -> None:
        with pytest.raises(DatabaseUnavailable, match="was lost"):
            await kept.fetch("SELECT pg_terminate_backend(pg_backend_pid())", [])
        assert await value(kept, "SELECT 1") == 1

    async def test_a_database_that_is_away(self) -> None:
        away = KeptStatements("postgresql+asyncpg://nobody@127.0.0.1:1/nothing", connections_max=1, statement_seconds=1)
        with pytest.raises(DatabaseUnavailable):
            await away.fetch("SELECT 1", [])
        await away.close()

    async def test_who_is_cancelled_cancels_the_statement(self, kept: KeptStatements, database: Database) -> None:
        async def active() -> int:
            async with database.read() as session:
                found: int = (await session.execute(text(ACTIVE))).scalar_one()
                return found

        sleeping = asyncio.create_task(kept.fetch("SELECT pg_sleep(29)", []))
        while not await active():
            await asyncio.sleep(0.01)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        async with asyncio.timeout(120):
            while await active():
                await asyncio.sleep(0.01)
        assert await value(kept, "SELECT 1") == 1
