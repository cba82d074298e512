"""A database with rows of an older program is brought to the newest revision, and nothing of them is missing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from guildhall.clock import new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.migrating import migrate, newest_revision
from tests.conftest import run_as_superuser

BEFORE = "0022"
"""The first revision from which rows are known to have been upgraded here."""
BEFORE_MONTHS = "0028"
DIGESTS = ("a" * 64, "b" * 64)
WAIT_SECONDS = 120

EVENT = """
INSERT INTO audit_events (
    id, act_at, occurred_at, actor_kind, actor_id, action, permission_class, outcome, resource_types, resource_ids,
    concludes_id, mac_key, mac
) VALUES (
    $1, '2026-03-02 08:00Z', '2026-03-02 08:00Z', 'USER', gen_random_uuid(), 'registry:dataset:read', 'DATA_READ', $2,
    array_fill('Dataset'::varchar, ARRAY[cardinality($3::uuid[])]), $3, $4, 'key', decode(repeat('00', 32), 'hex')
)
"""
PART = """
INSERT INTO artifact_parts (artifact_id, number, size_bytes, sha256, storage_key, received_at)
VALUES ($1, $2, 5, $3, $4, '2026-03-02 08:00Z')
"""
OPENING = """
INSERT INTO input_openings (attempt_id, index, access_grant_id, opened_at) VALUES ($1, $2, NULL, '2026-03-02 08:00Z')
"""
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE '%-migrate' AND wait_event_type = 'Lock'
"""
WAITERS = WAITING.replace("AND application_name LIKE '%-migrate' ", "")
PLACES = "SELECT tableoid::regclass::text, event_id FROM audit_resources ORDER BY event_id"
RESOURCES = "SELECT event_id, resource_id FROM audit_resources ORDER BY event_id, resource_id"


@asynccontextmanager
async def old_database(server: EmbeddedServer, revision: str = BEFORE) -> AsyncIterator[str]:
    """A database of its own, as the older program left it; its name."""
    name = f"old_{new_id().hex}"
    await run_as_superuser(server, f"CREATE DATABASE {name} OWNER {OWNER_ROLE}")
    try:
        await migrate(server.url(OWNER_ROLE, name), revision)
        yield name
    finally:
        await run_as_superuser(server, f"DROP DATABASE {name} WITH (FORCE)")


async def to_newest(server: EmbeddedServer, name: str) -> None:
    assert await migrate(server.url(OWNER_ROLE, name)) == newest_revision()


@asynccontextmanager
async def superuser(server: EmbeddedServer, name: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Writes rows without those that they point to."""
    connection = await server.connect(database=name)
    await connection.execute("SET session_replication_role = replica")
    try:
        yield connection
    finally:
        await connection.close()


class TestUpgrade:
    async def test_rows_that_were_there(self, server: EmbeddedServer) -> None:
        first, second, intent, outcome = sorted(new_id() for _ in range(4))
        artifact, attempt, one, other = (new_id() for _ in range(4))
        async with old_database(server) as name, superuser(server, name) as connection:
            await connection.execute(EVENT, first, "ALLOWED", [one, other, one], None)
            await connection.execute(EVENT, second, "ALLOWED", [], None)
            await connection.execute(EVENT, intent, "STARTED", [other], None)
            await connection.execute(EVENT, outcome, "COMPLETED", [other], intent)
            for number, digest in enumerate(DIGESTS, start=1):
                await connection.execute(PART, artifact, number, digest, f"key-{number}")
                await connection.execute(OPENING, attempt, number)

            await to_newest(server, name)

            told = {tuple(row) for row in await connection.fetch(RESOURCES)}
            assert told == {(first, one), (first, other), (intent, other)}
            parts = await connection.fetch(
                "SELECT number, sha256, sha256_so_far, storage_offset FROM artifact_parts ORDER BY number"
            )
            assert [tuple(row) for row in parts] == [(1, DIGESTS[0], DIGESTS[0], 0), (2, DIGESTS[1], None, 0)]
            openings = await connection.fetch("SELECT id, attempt_id, index FROM input_openings ORDER BY index")
            assert [tuple(row)[1:] for row in openings] == [(attempt, 1), (attempt, 2)]
            assert len({row["id"] for row in openings} - {None}) == 2

    async def test_an_event_that_is_being_written_meanwhile(self, server: EmbeddedServer) -> None:
        before, meanwhile, resource = *sorted(new_id() for _ in range(2)), new_id()
        async with old_database(server) as name, superuser(server, name) as connection:
            await connection.execute(EVENT, before, "ALLOWED", [resource], None)
            async with superuser(server, name) as writer:
                writing = writer.transaction()
                await writing.start()
                await writer.execute(EVENT, meanwhile, "ALLOWED", [resource], None)
                upgrade = asyncio.create_task(to_newest(server, name))
                try:
                    async with asyncio.timeout(WAIT_SECONDS):
                        while not await connection.fetchval(WAITING):
                            await asyncio.sleep(0.05)
                finally:
                    await writing.commit()
                    await upgrade
            assert [tuple(row) for row in await connection.fetch(RESOURCES)] == [
                (before, resource), (meanwhile, resource),
            ]  # fmt: skip

    async def test_what_acts_are_about_moves_into_its_months(self, server: EmbeddedServer) -> None:
        first, second, meanwhile, afterwards = sorted(new_id() for _ in range(4))
        resource = new_id()
        async with old_database(server, BEFORE_MONTHS) as name, superuser(server, name) as connection:
            await connection.execute("SET session_replication_role = origin")
            await connection.execute(EVENT, first, "ALLOWED", [resource], None)  # into the default partition
            await connection.execute("SELECT audit_make_partitions('2026-04-02Z', 1)")
            await connection.execute(EVENT.replace("2026-03-02", "2026-04-02"), second, "ALLOWED", [resource], None)
            async with superuser(server, name) as writer, superuser(server, name) as holder:
                await writer.execute("SET session_replication_role = origin")
                holding = holder.transaction()
                await holding.start()
                await holder.execute("LOCK TABLE alembic_version IN SHARE MODE")
                upgrade = asyncio.create_task(to_newest(server, name))
                await waiting_for_locks(connection, 1)  # the rows are moved, and it says so at last
                writing = asyncio.create_task(writer.execute(EVENT, meanwhile, "ALLOWED", [resource], None))
                await waiting_for_locks(connection, 2)
                await holding.rollback()
                await upgrade
                await writing
            await connection.execute("SELECT audit_make_partitions('2026-05-02Z', 1)")
            await connection.execute(EVENT.replace("2026-03-02", "2026-05-02"), afterwards, "ALLOWED", [resource], None)
            assert [tuple(row) for row in await connection.fetch(PLACES)] == [
                ("audit_resources_default", first),
                ("audit_resources_2026_04", second),
                ("audit_resources_default", meanwhile),
                ("audit_resources_2026_05", afterwards),
            ]


async def waiting_for_locks(connection: "asyncpg.Connection[asyncpg.Record]", number: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while await connection.fetchval(WAITERS) != number:
            await asyncio.sleep(0.05)
