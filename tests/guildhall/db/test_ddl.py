"""What a table that is a record refuses, to the service and to its owner alike."""

import pytest
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from guildhall.db import ddl
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE, create_owner_engine
from guildhall.db.transaction import Database


def make_record(connection: Connection) -> None:
    op = Operations(MigrationContext.configure(connection))
    op.execute("CREATE TABLE chronicle (id int PRIMARY KEY)")
    ddl.append_only(op, "chronicle")


CHANGES = ["UPDATE chronicle SET id = 2", "DELETE FROM chronicle", "TRUNCATE chronicle"]


class TestAppendOnly:
    @pytest.mark.parametrize("change", CHANGES)
    async def test_rows_are_added_and_never_changed(
        self, server: EmbeddedServer, fresh_database: Database, change: str
    ) -> None:
        name = fresh_database.engine.url.database
        assert name is not None
        owner = create_owner_engine(server.url(OWNER_ROLE, name))
        async with owner.begin() as connection:
            await connection.run_sync(make_record)
        async with fresh_database.transaction() as session:
            await session.execute(text("INSERT INTO chronicle VALUES (1)"))

        async def as_service() -> None:
            async with fresh_database.transaction() as session:
                await session.execute(text(change))

        async def as_owner() -> None:
            async with owner.begin() as connection:
                await connection.execute(text(change))

        with pytest.raises(DBAPIError, match="permission denied for table chronicle"):
            await as_service()
        with pytest.raises(DBAPIError, match="rows of chronicle are a record: they are added, never changed"):
            await as_owner()
        await owner.dispose()
        async with fresh_database.read() as reading:
            assert (await reading.scalars(text("SELECT id FROM chronicle"))).all() == [1]


class TestServiceMay:
    async def test_narrows_to_exactly_these_rights(self, server: EmbeddedServer, fresh_database: Database) -> None:
        name = fresh_database.engine.url.database
        assert name is not None
        owner = create_owner_engine(server.url(OWNER_ROLE, name))

        def narrow(connection: Connection) -> None:
            op = Operations(MigrationContext.configure(connection))
            op.execute("CREATE TABLE chronicle (id int PRIMARY KEY)")
            ddl.service_may(op, "chronicle", "SELECT, INSERT")

        async with owner.begin() as connection:
            await connection.run_sync(narrow)
        await owner.dispose()
        async with fresh_database.read() as session:
            rights = await session.scalars(
                text(
                    "SELECT privilege_type FROM information_schema.role_table_grants "
                    "WHERE table_name = 'chronicle' AND grantee = 'guildhall_service' ORDER BY 1"
                )
            )
            assert rights.all() == ["INSERT", "SELECT"]
