"""Every test runs on a real PostgreSQL that the real migrations have made; nothing reaches beyond this machine.

`session` is for most tests: its outer transaction is rolled back. `database` is for tests that must commit: a database
of the module's own, dropped afterwards; `fresh_database` is one for a single test.
"""

import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from guildhall.clock import SimulatedClock
from guildhall.db import engine
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE, SERVICE_ROLE
from guildhall.db.migrating import load_tables, migrate
from guildhall.db.transaction import Database, WriteSession, connect_database
from guildhall.settings import Settings

pytest_plugins = ["tests.cluster.fixtures"]

TEMPLATE = "guildhall_template"
OTHER_PROGRAMS = os.environ.get("TEST_POSTGRES_BIN")
"""A folder with `initdb` and `postgres` of another version, to see that it serves as well as the wheel's."""
MONDAY_MORNING = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
LOCK_WAIT_SECONDS = 120
"""How long a rival that a test forces in may wait for what the test does meanwhile, on the slowest machine."""
IN_FAILED_TRANSACTION = "25P02"
AUDIT_KEY = b"the audit key of all the tests.."

_numbers = count(1)

# Two lanes of property tests: `make test` must answer soon and always the same, `make test-long` may search.
hypothesis.settings.register_profile("short", max_examples=30, derandomize=True, deadline=None)
hypothesis.settings.register_profile("long", max_examples=2_000, deadline=None, print_blob=True)

load_tables()  # as a running server has them: foreign keys by table name cross the packages


class BeyondLoopback(AssertionError):
    """A test tried to reach another machine."""


def is_allowed(family: int, address: Any) -> bool:
    """Unix sockets and loopback; a name other than localhost would ask a name server."""
    if family not in {socket.AF_INET, socket.AF_INET6}:
        return True
    host = address[0]
    if host in {"localhost", ""}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def sockets_closed() -> Iterator[None]:
    """Connecting beyond loopback is a failure of the test, not a wait for a time-out."""
    patch = pytest.MonkeyPatch()
    for name in ("connect", "connect_ex"):
        original = getattr(socket.socket, name)

        def guarded(self: socket.socket, address: Any, original: Any = original) -> Any:
            if not is_allowed(self.family, address):
                raise BeyondLoopback(f"a test may not connect to {address!r}")
            return original(self, address)

        patch.setattr(socket.socket, name, guarded)
    yield
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def no_settings_from_outside() -> Iterator[None]:
    """The developer's own GUILDHALL_* variables do not reach the tests."""
    patch = pytest.MonkeyPatch()
    for name in [name for name in os.environ if name.startswith("GUILDHALL_")]:
        patch.delenv(name)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A folder with a short name: the path of a Unix socket has room for about a hundred bytes."""
    folder = Path(tempfile.mkdtemp(prefix="gh-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def server(server_folder: Path) -> AsyncIterator[EmbeddedServer]:
    """One PostgreSQL for each test process, with a migrated template to clone."""
    patch = pytest.MonkeyPatch()
    if OTHER_PROGRAMS is not None:
        patch.setattr("guildhall.db.embedded.binary", Path(OTHER_PROGRAMS).joinpath)
    async with EmbeddedServer(server_folder, durable=False, max_connections=200) as running:
        await run_as_superuser(running, f"CREATE DATABASE {TEMPLATE} OWNER {OWNER_ROLE}")
        await migrate(running.url(OWNER_ROLE, TEMPLATE))
        yield running
    patch.undo()


async def run_as_superuser(server: EmbeddedServer, statement: str) -> None:
    """One statement outside any transaction."""
    connection = await server.connect()
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def cloned_database(server: EmbeddedServer) -> AsyncIterator[Database]:
    """A migrated database under the service's role, dropped at the end even where connections are left open."""
    name = f"guildhall_{next(_numbers)}"
    await run_as_superuser(server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {OWNER_ROLE}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "LOCK_WAIT_SECONDS_MAX", LOCK_WAIT_SECONDS)
        database = connect_database(
            server.url(SERVICE_ROLE, name), pool_size=20, statement_seconds=LOCK_WAIT_SECONDS, audit_key=AUDIT_KEY
        )
    try:
        yield database
    finally:
        await database.close()
        await run_as_superuser(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
async def database(server: EmbeddedServer) -> AsyncIterator[Database]:
    """A database of the module's own, for tests that truly commit."""
    async with cloned_database(server) as cloned:
        yield cloned


@pytest.fixture
async def fresh_database(server: EmbeddedServer) -> AsyncIterator[Database]:
    """A database of one test, for tests that need to know all that is in it."""
    async with cloned_database(server) as cloned:
        yield cloned


@pytest.fixture
async def session(database: Database) -> AsyncIterator[WriteSession]:
    """A session whose outer transaction is rolled back. Deferred constraints are checked first, as a commit would."""
    async with database.engine.connect() as connection:
        outer = await connection.begin()
        async with WriteSession(
            connection, expire_on_commit=False, join_transaction_mode="create_savepoint", info=database.session_info
        ) as rolled_back:
            yield rolled_back
            try:
                await rolled_back.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
            except PendingRollbackError:
                pass  # a flush that was refused leaves the same behind
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != IN_FAILED_TRANSACTION:
                    raise  # a test that expects a refusal leaves a failed transaction behind; that one has been checked
        await outer.rollback()


@pytest.fixture
def clock() -> SimulatedClock:
    """Monday, 2 March 2026, eight in the morning."""
    return SimulatedClock(MONDAY_MORNING)


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    """Settings of a server on the module's database, with a data folder of the test's own."""
    return Settings(data_dir=tmp_path, database_url=database.url)
