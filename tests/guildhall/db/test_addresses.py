"""Every kind of connection is encrypted as the address says, and none goes on where it cannot be."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from guildhall.db.addresses import driver_address
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE, SERVICE_ROLE
from guildhall.db.kept_statements import KeptStatements
from guildhall.db.migrating import migrate, newest_revision
from guildhall.db.notify import open_connection
from guildhall.db.transaction import Database, DatabaseUnavailable, connect_database
from tests.cluster.certificates import Authority
from tests.encrypted_database import EncryptedDatabase, encrypted_database


@pytest.fixture
async def front(server: EmbeddedServer, tmp_path: Path) -> AsyncIterator[EncryptedDatabase]:
    async with encrypted_database(server, Authority(tmp_path)) as listening:
        yield listening


def name_of(database: Database) -> str:
    return str(database.engine.url.database)


class TestDriverAddress:
    def test_what_stands_in_it_comes_through(self) -> None:
        url = "postgresql+asyncpg://a%40b:p%2Fw%3F@[::1]:6432/x?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.crt"
        assert driver_address(url) == (
            "postgresql://a%40b:p%2Fw%3F@[::1]:6432/x?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.crt"
        )


class TestEncryption:
    async def test_all_connections_are_checked_against_the_authority(
        self, front: EncryptedDatabase, fresh_database: Database, tmp_path: Path
    ) -> None:
        name = name_of(fresh_database)
        checked = f"?sslmode=verify-full&sslrootcert={tmp_path / 'ca.crt'}"
        url = front.url(SERVICE_ROLE, name, options=checked)
        database = connect_database(url)
        kept = KeptStatements(database.url, connections_max=1, statement_seconds=30)
        try:
            async with database.read() as session:
                assert (await session.execute(text("SELECT current_user"))).scalar_one() == SERVICE_ROLE
            assert front.encrypted == 1
            row = await kept.fetch("SELECT current_user", [])
            assert row is not None
            assert row[0] == SERVICE_ROLE
            assert front.encrypted == 2
            listening = await open_connection(database.url)
            await listening.close()
            assert front.encrypted == 3
            assert await migrate(front.url(OWNER_ROLE, name, options=checked)) == newest_revision()
            assert front.encrypted > 3
        finally:
            await kept.close()
            await database.close()
        assert front.refused == 0

    async def test_none_goes_on_with_a_server_that_somebody_else_signed(
        self, front: EncryptedDatabase, fresh_database: Database, tmp_path: Path
    ) -> None:
        (tmp_path / "other").mkdir()
        Authority(tmp_path / "other")
        checked = f"?sslmode=verify-full&sslrootcert={tmp_path / 'other' / 'ca.crt'}"
        database = connect_database(front.url(SERVICE_ROLE, name_of(fresh_database), options=checked))
        kept = KeptStatements(database.url, connections_max=1, statement_seconds=30)
        try:
            with pytest.raises(DatabaseUnavailable):
                async with database.read() as session:
                    await session.execute(text("SELECT 1"))
            with pytest.raises(DatabaseUnavailable):
                await kept.fetch("SELECT 1", [])
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                await open_connection(database.url)
        finally:
            await kept.close()
            await database.close()
        assert front.encrypted == 0
        assert front.refused == 0
