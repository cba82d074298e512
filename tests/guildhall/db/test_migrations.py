"""The migrated database is what the tables say, and belongs to its owner alone."""

import re

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, text
from sqlalchemy.exc import DBAPIError

from guildhall.db.base import Base
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.migrating import migrate, newest_revision
from guildhall.db.transaction import Database
from tests.conftest import TEMPLATE

PARTITION = re.compile(r"audit_(events|personal|resources)_(default|\d{4}_\d{2})")


def differences(connection: Connection) -> list[object]:
    options = {"include_name": lambda name, kind, _: not (kind == "table" and PARTITION.fullmatch(name or ""))}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), Base.metadata))


RULES = text("""
    SELECT concat(relname, relowner, relacl, relnatts) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT concat(tgname, tgenabled) FROM pg_trigger
    UNION ALL SELECT concat(proname, md5(prosrc)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT rolname FROM pg_roles
    UNION ALL SELECT version_num FROM alembic_version
    ORDER BY 1
""")


async def house_rules(database: Database) -> list[str]:
    async with database.read() as session:
        return list(await session.scalars(RULES))


CHECKS = text("""
    SELECT conrelid::regclass::text || ': ' || conname FROM pg_constraint
    WHERE contype = 'c' AND connamespace = 'public'::regnamespace
        AND conrelid NOT IN (SELECT inhrelid FROM pg_inherits)
""")


class TestMigrations:
    async def test_tables_and_database_agree(self, database: Database) -> None:
        async with database.engine.connect() as connection:
            assert await connection.run_sync(differences) == []

    async def test_checks_agree(self, database: Database) -> None:
        async with database.read() as session:
            stored = set(await session.scalars(CHECKS))
        named = database.engine.dialect.identifier_preparer
        declared = {
            f"{table.name}: {named.format_constraint(constraint)}"
            for table in Base.metadata.tables.values()
            for constraint in table.constraints
            if isinstance(constraint, CheckConstraint)
        }
        assert stored == declared

    async def test_a_second_run_changes_nothing(self, server: EmbeddedServer, database: Database) -> None:
        name = database.engine.url.database
        assert name is not None
        assert name != TEMPLATE
        assert await migrate(server.url(OWNER_ROLE, name)) == newest_revision()

    async def test_there_is_one_chain(self) -> None:
        assert newest_revision() is not None  # raises when there are two heads


class TestServiceRole:
    async def test_owns_nothing_and_is_nobody_special(self, database: Database) -> None:
        async with database.read() as session:
            owned = await session.scalars(
                text("""
                    SELECT relname FROM pg_class WHERE relowner = 'guildhall_service'::regrole
                    UNION ALL SELECT proname FROM pg_proc WHERE proowner = 'guildhall_service'::regrole
                    UNION ALL SELECT nspname FROM pg_namespace WHERE nspowner = 'guildhall_service'::regrole
                    UNION ALL SELECT datname FROM pg_database WHERE datdba = 'guildhall_service'::regrole
                """)
            )
            assert owned.all() == []
            rights = await session.execute(
                text("""
                    SELECT rolsuper, rolcreaterole, rolcreatedb, rolbypassrls, rolreplication,
                        (SELECT count(*) FROM pg_auth_members WHERE member = r.oid)
                    FROM pg_roles r WHERE rolname = 'guildhall_service'
                """)
            )
            assert tuple(rights.one()) == (False, False, False, False, False, 0)

    @pytest.mark.parametrize(
        "statement",
        [
            "ALTER TABLE outbox ADD COLUMN more text",
            "ALTER TABLE outbox DISABLE TRIGGER ALL",
            "DROP TABLE outbox",
            "TRUNCATE outbox",
            "CREATE TABLE mine (id int)",
            "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE SCHEMA mine",
            "CREATE ROLE mine",
            "SET ROLE guildhall_owner",
            "SET session_replication_role = replica",
            "UPDATE alembic_version SET version_num = '0000'",
            "CREATE OR REPLACE FUNCTION guildhall_refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
        ],
    )
    async def test_cannot_change_the_house_rules(self, database: Database, statement: str) -> None:
        async def attempt() -> None:
            async with database.transaction() as session:
                await session.execute(text(statement))

        before = await house_rules(database)
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            await attempt()
        assert await house_rules(database) == before

    async def test_cannot_pass_on_its_rights(self, database: Database) -> None:
        before = await house_rules(database)
        async with database.transaction() as session:
            await session.execute(text("GRANT ALL ON outbox TO PUBLIC"))  # to PostgreSQL that is only worth a warning
        assert await house_rules(database) == before
