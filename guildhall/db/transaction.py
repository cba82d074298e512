"""One mutation is one `async with database.transaction() as session`; domain code never commits."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from guildhall.db.announcing import Announcer
from guildhall.db.engine import create_service_engine
from guildhall.errors import Invalid, Unavailable

AUDIT_KEY = "audit_key"
"""Where a session that may write carries the key of the audit record, in `session.info`."""

_STATES_AWAY = ("08", "57P", "53")  # connection lost, server stopping or starting, out of connections or memory
_STATE_DISK_FULL = "53100"
_STATES_TEXT = ("22021", "22P05")  # a null character in a text, or in a text within JSON
_STATES_BUSY = ("55P03", "40P01", "40001")  # lock timed out, deadlock, serialisation
_STATE_CANCELLED = "57014"  # the statement's own budget, or an operator


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached, or is not at the revision that this program was written for.

    After a lost connection nobody knows whether the commit went through: repeat with the same idempotency key.
    """

    code = "DATABASE_UNAVAILABLE"


class DatabaseBusy(Unavailable):
    """The database ended the transaction because it waited or circled too long. Nothing was changed."""

    code = "DATABASE_BUSY"


class StatementTimeout(DatabaseBusy):
    """A statement ran longer than any may, and was ended. Nothing was changed; the same again would end the same."""

    code = "STATEMENT_TIMEOUT"


class UnstorableText(Invalid):
    """A text of the input with a character that PostgreSQL cannot keep. The last to notice, so no field is named."""

    code = "INVALID_TEXT"


class ReadSession(AsyncSession):
    """A session of a read: its transaction is READ ONLY, so PostgreSQL itself refuses every write."""


class WriteSession(ReadSession):
    """A session of a mutation. It can do all that a `ReadSession` can, so reading functions take either."""


AnySession = TypeVar("AnySession", bound=AsyncSession)


class Database:
    """The database of one process: hands out short sessions, each in a transaction of its own.

    Isolation is READ COMMITTED. An AsyncSession serves one task at a time: concurrent resolvers each take their own.
    """

    def __init__(self, engine: AsyncEngine, *, audit_key: bytes | None = None) -> None:
        self.engine = engine
        self.session_info = {} if audit_key is None else {AUDIT_KEY: audit_key}
        self._read_engine = engine.execution_options(postgresql_readonly=True)
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._announcer = Announcer(engine)

    @property
    def url(self) -> str:
        """The address with its password, for what needs a connection of its own (LISTEN, a child process)."""
        return self.engine.url.render_as_string(hide_password=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[WriteSession]:
        """Commits when the block ends, rolls back when it raises. What the commit refuses is raised here.

        What the session announced is told after the commit. A database that is away or overloaded is raised as
        DatabaseUnavailable or DatabaseBusy.
        """
        opened = WriteSession(self.engine, expire_on_commit=False, info=self.session_info)
        async with _in_transaction(opened) as session:
            yield session
        self._announcer.committed(opened)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadSession]:
        """A short READ ONLY transaction; raises as `transaction` does."""
        async with _in_transaction(ReadSession(self._read_engine, expire_on_commit=False)) as session:
            yield session

    def close_with(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have connections to the same database that somebody else opens closed together with ours."""
        self._closing.append(close)

    async def close(self) -> None:
        """Send what is still to be told, and close every connection."""
        await self._announcer.flush()
        for close in self._closing:
            await close()
        self._closing.clear()
        await self.engine.dispose()


def connect_database(
    url: str, *, pool_size: int = 10, statement_seconds: int = 30, audit_key: bytes | None = None
) -> Database:
    """A `Database` on the address; no connection is made before the first session needs one.

    Without the key of the audit record nothing that is audited can be done with it.
    """
    engine = create_service_engine(url, pool_size=pool_size, statement_seconds=statement_seconds)
    return Database(engine, audit_key=audit_key)


@asynccontextmanager
async def _in_transaction(session: AnySession) -> AsyncIterator[AnySession]:
    try:
        async with session, session.begin():
            await _connect(session)
            yield session
    except DBAPIError as error:
        raise _translated(error) from error


async def _connect(session: AsyncSession) -> None:
    """Take the connection now: only here is an OSError the database's, and not that of the work in the block."""
    try:
        _ = await session.connection()
    except (OSError, TimeoutError) as error:
        raise DatabaseUnavailable("The database is away; try again in a moment.") from error
    except PoolTimeoutError as error:
        raise DatabaseBusy("The database has no free connection for us; try again in a moment.") from error


def refusal_of_state(state: str) -> Exception | None:
    """What is the database's own trouble, as a sentence; None for what is the statement's."""
    if state in _STATES_BUSY:
        return DatabaseBusy("The database was too busy for this; nothing was changed. Try again in a moment.")
    if state == _STATE_CANCELLED:
        return StatementTimeout("The database took too long for this and was stopped; nothing was changed.")
    if state in _STATES_TEXT:
        return UnstorableText("A text holds a null character, which cannot be stored.")
    if state == _STATE_DISK_FULL:
        return DatabaseUnavailable("The disk of the database is full; nothing was changed. Who runs it must make room.")
    if state.startswith(_STATES_AWAY):
        return DatabaseUnavailable("The connection to the database was lost; try again in a moment.")
    return None


def _translated(error: DBAPIError) -> Exception:
    """The database's own trouble as a sentence; anything else is for the caller, as it came."""
    refusal = refusal_of_state(str(getattr(error.orig, "sqlstate", None) or ""))
    if refusal is None and error.connection_invalidated:
        return DatabaseUnavailable("The connection to the database was lost; try again in a moment.")
    return refusal or error
