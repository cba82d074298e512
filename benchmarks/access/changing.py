"""From the commit of a change until it is in force in several processes, at a policy of so many lines in PostgreSQL."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
from sqlalchemy import text

from benchmarks.access.lines import NOW
from benchmarks.processes import ROOT, python
from guildhall.auth.policy import PolicyRules
from guildhall.auth.roles import MEMBER
from guildhall.clock import new_id
from guildhall.db.embedded import DATABASE, EmbeddedServer
from guildhall.db.migrating import migrate
from guildhall.db.transaction import Database, connect_database

CREATED = NOW - timedelta(days=30)
READY_SECONDS_MAX = 900
FORCE_SECONDS_MAX = 60
PAUSE_SECONDS = 0.05

_Row = tuple[object, ...]


@dataclass(frozen=True)
class Changed:
    """Of all changes and processes: how long it took, in milliseconds, and how often half of one decided."""

    milliseconds: list[float]
    halves: int


@dataclass(frozen=True)
class Organisation:
    """The policy in a database, and one person whose two roles changes exchange."""

    database: Database
    url: str
    person: UUID

    async def exchange(self, role: str) -> tuple[int, int]:
        """One change in two statements: the person has the other role. The version, and when the commit returned."""
        async with self.database.transaction() as session:
            await session.execute(
                text("DELETE FROM role_bindings WHERE subject_id = :person AND role <> :role"),
                {"person": self.person, "role": role},
            )
            await session.execute(
                text("""
                    INSERT INTO role_bindings (id, subject_kind, subject_id, role, created_at)
                    VALUES (:id, 'USER', :person, :role, :at)
                """),
                {"id": new_id(), "person": self.person, "role": role, "at": NOW},
            )
            version = (await session.execute(text("SELECT version FROM policy_state"))).scalar_one()
        return version, time.clock_gettime_ns(time.CLOCK_MONOTONIC)


@asynccontextmanager
async def opened(rules: PolicyRules) -> AsyncIterator[Organisation]:
    """A server of its own with that policy in its tables, removed with the block."""
    with tempfile.TemporaryDirectory(prefix="guildhall-bench-access-") as folder:
        async with EmbeddedServer(Path(folder) / "server", durable=True, max_connections=60) as server:
            await migrate(server.owner_url)
            person = new_id()
            connection = await server.connect(database=DATABASE)
            try:
                await _fill(connection, rules, person)
            finally:
                await connection.close()
            database = connect_database(server.service_url, pool_size=2)
            try:
                organisation = Organisation(database, server.service_url, person)
                await organisation.exchange("role-0")
                yield organisation
            finally:
                await database.close()


async def measure(organisation: Organisation, *, processes: int, changes: int, deaf: bool) -> Changed:
    """Each change is made when the one before is in force in every process."""
    found, halves = [], 0
    async with contextlib.AsyncExitStack() as stack:
        followers = [await stack.enter_async_context(_follower(organisation, deaf=deaf)) for _ in range(processes)]
        for number in range(changes):
            version, committed = await organisation.exchange(f"role-{(number + 1) % 2}")
            for told in await asyncio.gather(*(_until(version, each) for each in followers)):
                found.append((told[0] - committed) / 1e6)
                halves += told[1]
            await asyncio.sleep(PAUSE_SECONDS)
    return Changed(found, halves)


@asynccontextmanager
async def _follower(organisation: Organisation, *, deaf: bool) -> AsyncIterator[asyncio.StreamReader]:
    words = ("deaf",) if deaf else ()
    command = python("-m", "benchmarks.access.follower", organisation.url, str(organisation.person), *words)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(READY_SECONDS_MAX):
            line = await process.stdout.readline()
        assert line.strip().endswith(b"ready"), "a follower that ended"
        yield process.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _until(version: int, told: asyncio.StreamReader) -> tuple[int, int]:
    """When that version was first decided with, and how often half of a change was on the way there."""
    halves = 0
    async with asyncio.timeout(FORCE_SECONDS_MAX):
        while True:  # ends by its time limit
            line = await told.readline()
            assert line, "a follower that ended"
            seen, at, whole = map(int, line.split())
            halves += not whole
            if seen >= version:
                return at, halves


async def _fill(connection: "asyncpg.Connection[asyncpg.Record]", rules: PolicyRules, person: UUID) -> None:
    """As a superuser and without triggers, which a million rows need not go through one by one."""
    await connection.execute("SET session_replication_role = replica")
    roles = [role for role in rules.roles if role != MEMBER]
    copies: list[tuple[str, Sequence[str], Iterable[_Row]]] = [
        ("roles", ["name", "sentence"], ((role, "of the benchmark") for role in roles)),
        ("role_permissions", ["role", "permission", "effect"], (
            (role, name, effect)
            for role in roles
            for effect, names in (("allow", rules.roles[role].allowed), ("deny", rules.roles[role].denied))
            for name in names if effect == "allow" or not name.startswith("guildhall:audit:")
        )),
        ("teams", ["id", "name", "title", "parent_id", "created_at"], (
            (key, name, name, rules.parents.get(key), CREATED) for key, name in rules.teams.items()
        )),
        ("users", ["id", "name", "email", "created_at"], (
            (key, "Somebody", f"{key}@example.org", CREATED)
            for key in (person, *(subject.id for subject in rules.bindings))
        )),
        ("role_bindings", ["id", "subject_kind", "subject_id", "team_id", "role", "ends_at", "created_at"], (
            (new_id(), "USER", subject.id, each.team_id, each.role, each.ends_at, CREATED)
            for subject, held in rules.bindings.items() for each in held
        )),
    ]  # fmt: skip
    for table, columns, rows in copies:
        await connection.copy_records_to_table(table, columns=columns, records=rows)
    await connection.execute("VACUUM (ANALYZE)")
