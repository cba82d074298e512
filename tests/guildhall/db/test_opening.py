"""Opening the database as the settings say, and refusing one that does not fit."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE, SERVICE_ROLE
from guildhall.db.opening import open_database
from guildhall.db.transaction import Database, DatabaseUnavailable
from guildhall.settings import Settings
from tests.conftest import run_as_superuser


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gh-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def empty(server: EmbeddedServer) -> AsyncIterator[str]:
    await run_as_superuser(server, f"CREATE DATABASE never_migrated OWNER {OWNER_ROLE}")
    yield server.url(SERVICE_ROLE, "never_migrated")
    await run_as_superuser(server, "DROP DATABASE never_migrated WITH (FORCE)")


async def refused(settings: Settings) -> str:
    with pytest.raises(DatabaseUnavailable) as refusal:
        async with open_database(settings):
            pytest.fail("it was opened")
    return refusal.value.message


class TestOpenDatabase:
    async def test_without_settings_an_embedded_one_is_migrated_and_kept(self, folder: Path) -> None:
        for round_ in range(2):
            async with open_database(Settings(data_dir=folder)) as database, database.read() as session:
                assert (await session.execute(text("SELECT current_user"))).scalar_one() == SERVICE_ROLE
                assert (await session.execute(text("SELECT count(*) FROM outbox"))).scalar_one() == 0, round_

    async def test_a_login_with_more_rights_still_acts_as_the_service(
        self, server: EmbeddedServer, database: Database
    ) -> None:
        name = database.engine.url.database
        assert name is not None
        await run_as_superuser(server, f"GRANT {SERVICE_ROLE} TO {OWNER_ROLE} WITH SET TRUE")
        async with (
            open_database(Settings(database_url=server.url(OWNER_ROLE, name))) as opened,
            opened.read() as session,
        ):
            found = await session.execute(text("SELECT session_user, current_user"))
            assert tuple(found.one()) == (OWNER_ROLE, SERVICE_ROLE)
        await run_as_superuser(server, f"REVOKE {SERVICE_ROLE} FROM {OWNER_ROLE}")

    async def test_one_that_was_never_migrated_is_refused(self, empty: str) -> None:
        sentence = await refused(Settings(database_url=empty))
        assert sentence.startswith("The database is at revision none, and this program needs ")
        assert sentence.endswith(": run `python -m guildhall migrate`.")

    async def test_one_of_a_newer_program_is_refused(self, server: EmbeddedServer, fresh_database: Database) -> None:
        connection = await server.connect(database=fresh_database.engine.url.database or "")
        await connection.execute("UPDATE alembic_version SET version_num = '9999'")
        await connection.close()
        assert "The database is at revision 9999" in await refused(Settings(database_url=fresh_database.url))

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("postgresql+asyncpg://ada:geheim@127.0.0.1:1/guildhall", "Connect call failed"),
            ("postgresql+asyncpg://ada:geheim@/guildhall?host=/nonexistent", "No such file or directory"),
        ],
    )
    async def test_one_that_is_away_is_told_without_the_password(self, url: str, reason: str) -> None:
        sentence = await refused(Settings(database_url=url))
        assert sentence.startswith("The database cannot be used: ")
        assert reason in sentence
        assert "geheim" not in sentence

    async def test_a_wrong_password_is_told(self, database: Database) -> None:
        url = database.engine.url.set(password="geheim").render_as_string(hide_password=False)
        sentence = await refused(Settings(database_url=url))
        assert "password authentication failed" in sentence
        assert "geheim" not in sentence
