"""`migrate --wait` looks on, as the service, until somebody else has migrated."""

import argparse
import asyncio
import logging
from dataclasses import replace
from itertools import count

import pytest

from guildhall.cli import migrating
from guildhall.cli.migrating import run_migrate
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE, SERVICE_ROLE
from guildhall.db.migrating import migrate
from guildhall.db.transaction import DatabaseUnavailable
from guildhall.settings import Settings
from tests.conftest import run_as_superuser

WAITING = argparse.Namespace(wait=True)
_numbers = count(1)


@pytest.fixture
async def empty(server: EmbeddedServer) -> str:
    """The name of a database without tables."""
    name = f"waited_for_{next(_numbers)}"
    await run_as_superuser(server, f"CREATE DATABASE {name} OWNER {OWNER_ROLE}")
    return name


class TestWait:
    async def test_ends_when_another_has_migrated_and_has_changed_nothing_itself(
        self, settings: Settings, server: EmbeddedServer, empty: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        waiting = replace(settings, database_url=server.url(SERVICE_ROLE, empty))
        with caplog.at_level(logging.WARNING, "guildhall.cli.migrating"):
            looking = asyncio.create_task(run_migrate(waiting, WAITING))
            async with asyncio.timeout(60):
                while not caplog.messages:
                    await asyncio.sleep(0.05)
                assert not looking.done()
                await migrate(server.url(OWNER_ROLE, empty))
                await looking
        assert caplog.messages[0].startswith("Waiting: The database is at revision none, and this program needs ")
        await run_as_superuser(server, f"DROP DATABASE {empty} WITH (FORCE)")

    async def test_says_what_it_waited_for_when_the_time_is_over(
        self, settings: Settings, server: EmbeddedServer, empty: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(migrating, "WAIT_SECONDS_MAX", 0.0)
        with pytest.raises(DatabaseUnavailable, match="run `python -m guildhall migrate`"):
            await run_migrate(replace(settings, database_url=server.url(SERVICE_ROLE, empty)), WAITING)
        await run_as_superuser(server, f"DROP DATABASE {empty} WITH (FORCE)")
