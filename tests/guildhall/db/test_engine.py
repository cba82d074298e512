"""Connections that were idle: one that the database has ended meanwhile costs a query, not the work."""

import pytest
from sqlalchemy import text

from guildhall.db import engine
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database
from tests.conftest import run_as_superuser


async def backend(database: Database) -> int:
    async with database.read() as session:
        pid: int = (await session.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        return pid


async def end(server: EmbeddedServer, pid: int) -> None:
    """As an operator, or a restart, would."""
    await run_as_superuser(server, f"SELECT pg_terminate_backend({pid}, 5000)")


class TestIdleConnections:
    async def test_the_last_one_used_is_used_again(self, fresh_database: Database) -> None:
        async with fresh_database.read(), fresh_database.read():
            pass
        assert await backend(fresh_database) == await backend(fresh_database)

    async def test_one_that_has_ended_is_replaced(
        self, server: EmbeddedServer, fresh_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "UNTRIED_SECONDS_MAX", -1.0)
        pid = await backend(fresh_database)
        assert await backend(fresh_database) == pid
        await end(server, pid)
        assert await backend(fresh_database) != pid
