"""Reads of one statement each, on connections that keep what they have prepared.

A pool that resets its connections, and a layer that makes a transaction of every read, cost as much as a short
statement does. Here a read is one statement: it sees one moment by itself, the connection is READ ONLY unless a
transaction says otherwise for itself, and nothing is left on it that the next one would have to wipe away.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from itertools import count
from types import TracebackType
from typing import Any, TypeAlias, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.engine import make_url

from guildhall.db.addresses import driver_address
from guildhall.db.engine import CONNECT_SECONDS_MAX, POOL_WAIT_SECONDS_MAX, server_settings
from guildhall.db.timing import Timed
from guildhall.db.transaction import DatabaseBusy, DatabaseUnavailable, refusal_of_state
from guildhall.turns import Turns

STATEMENTS_MAX = 200
"""How many statements a connection keeps prepared; the one unused for longest goes first."""

PLANNED_ANEW = "/* planned anew */"
"""In a statement: it is planned for its values each time, because one plan for all is far from right for some.

By one process: these are pages of very large tables, which are there before another process has begun."""

_PLAN_ANEW = "SET plan_cache_mode = force_custom_plan; SET max_parallel_workers_per_gather = 0"
_PLAN_AS_EVER = "RESET plan_cache_mode; RESET max_parallel_workers_per_gather"

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Row: TypeAlias = asyncpg.Record
Result = TypeVar("Result")

_SHUTDOWN = (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.CannotConnectNowError)


class _Lost(Exception):
    """The connection ended, with or without the statement."""


class _Reader:
    """One connection, busy with one statement at a time."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        # With each, whether it is planned for its values each time.
        self._prepared: OrderedDict[str, tuple[PreparedStatement[Row], bool]] = OrderedDict()
        self._names = count(1)

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Row | None:
        kept = self._prepared.get(sql)
        if kept is None:
            # Without a name of its own, asyncpg would prepare it again for each execution.
            made = await self.connection.prepare(sql, name=f"kept_{next(self._names)}")
            kept = self._prepared[sql] = made, PLANNED_ANEW in sql
            if len(self._prepared) > STATEMENTS_MAX:
                self._prepared.popitem(last=False)  # closed by asyncpg when nothing refers to it
        else:
            self._prepared.move_to_end(sql)
        statement, planned_anew = kept
        if not planned_anew:
            return await statement.fetchrow(*arguments)
        await self.connection.execute(_PLAN_ANEW)
        try:
            row = await statement.fetchrow(*arguments)
        except Exception:
            with contextlib.suppress(asyncpg.PostgresError):  # within a transaction that failed, its end takes it back
                await self.connection.execute(_PLAN_AS_EVER)
            raise
        await self.connection.execute(_PLAN_AS_EVER)
        return row


class KeptTransaction:
    """A READ WRITE transaction that is open on one of the connections."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Row | None:
        """The first row, as `KeptStatements.fetch` does; what a statement refuses ends the transaction."""
        with _RefusalsTold(), Timed(sql):
            return await _unless_lost(self._reader, self._reader.fetch(sql, arguments))


class KeptStatements:
    """A few connections of one process; whoever comes when all are busy waits in line."""

    def __init__(self, url: str, *, connections_max: int, statement_seconds: int) -> None:
        self._url = make_url(url)
        self._settings = {
            **server_settings(self._url, statement_seconds=statement_seconds),
            "default_transaction_read_only": "on",
            # A page's length is a parameter, for which the planner guesses a tenth of the table: by its own reckoning
            # every plan for known values is better, and it would plan each time, for longer than most statements run.
            "plan_cache_mode": "force_generic_plan",
        }
        self._turns = Turns(connections_max)
        self._idle: list[_Reader] = []
        self._closing: set[asyncio.Task[None]] = set()

    async def fetch(self, sql: str, arguments: Sequence[Any]) -> Row | None:
        """The first row. Raises DatabaseUnavailable, DatabaseBusy or StatementTimeout, as a transaction does."""
        if not self._turns.take():
            await self._wait()
        try:
            with _RefusalsTold(), Timed(sql):
                return await self._fetch(sql, arguments)
        finally:
            self._turns.give_back()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[KeptTransaction]:
        """For a read that has to write what it read: commits when the block ends, rolls back when it raises.

        Raises as `fetch` does. After a connection was lost at its end, nobody knows whether the commit went through.
        """
        if not self._turns.take():
            await self._wait()
        try:
            with _RefusalsTold():
                reader = await self._begun()
            try:
                yield KeptTransaction(reader)
                with _RefusalsTold():
                    told = await _unless_lost(reader, reader.connection.execute("COMMIT"))
                assert told == "COMMIT", "a statement failed, and nobody said so"
            except Exception:
                await self._roll_back(reader)
                raise
            except BaseException:
                self._close(reader)  # cancelled: asyncpg ends the statement before it closes
                raise
            self._idle.append(reader)
        finally:
            self._turns.give_back()

    async def close(self) -> None:
        """Close what is idle; nothing may be fetched afterwards."""
        while self._idle:
            self._close(self._idle.pop())
        if self._closing:
            await asyncio.wait(self._closing)

    async def _wait(self) -> None:
        try:
            await self._turns.wait(POOL_WAIT_SECONDS_MAX)
        except TimeoutError as error:
            raise DatabaseBusy("The database has no free connection for us; try again in a moment.") from error

    async def _fetch(self, sql: str, arguments: Sequence[Any]) -> Row | None:
        if self._idle:
            try:
                return await self._fetch_on(self._idle.pop(), sql, arguments)
            except _Lost:
                pass  # while it lay idle: a read may be done again, so that nobody notices
        return await self._fetch_on(_Reader(await self._connect()), sql, arguments)

    async def _begun(self) -> _Reader:
        if self._idle:
            with contextlib.suppress(_Lost):  # while it lay idle
                return await self._begun_on(self._idle.pop())
        return await self._begun_on(_Reader(await self._connect()))

    async def _begun_on(self, reader: _Reader) -> _Reader:
        try:
            await _unless_lost(reader, reader.connection.execute("BEGIN READ WRITE"))
        except BaseException:
            self._close(reader)
            raise
        return reader

    async def _roll_back(self, reader: _Reader) -> None:
        rolled_back = False
        try:
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                rolled_back = await reader.connection.execute("ROLLBACK") == "ROLLBACK"
        finally:
            if rolled_back:
                self._idle.append(reader)
            else:
                self._close(reader)

    async def _fetch_on(self, reader: _Reader, sql: str, arguments: Sequence[Any]) -> Row | None:
        try:
            row = await reader.fetch(sql, arguments)
        except Exception as error:
            _require_there(reader, error)
            self._idle.append(reader)
            raise
        except BaseException:
            self._close(reader)  # cancelled: asyncpg ends the statement before it closes
            raise
        self._idle.append(reader)
        return row

    def _close(self, reader: _Reader) -> None:
        closing = asyncio.create_task(_close(reader.connection))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _connect(self) -> Connection:
        connection: Connection = await asyncpg.connect(
            driver_address(self._url),
            timeout=CONNECT_SECONDS_MAX,
            server_settings=self._settings,
            statement_cache_size=0,  # what is prepared is kept here
        )
        return connection


class _RefusalsTold:
    """What the database cannot do now, as refusals; anything else as it came."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            return
        if isinstance(error, (_Lost, OSError, TimeoutError, *_SHUTDOWN)):
            raise DatabaseUnavailable("The connection to the database was lost; try again in a moment.") from error
        if isinstance(error, asyncpg.PostgresError):
            refusal = refusal_of_state(error.sqlstate or "")
            if refusal is not None:
                raise refusal from error


async def _unless_lost(reader: _Reader, asked: Awaitable[Result]) -> Result:
    """What the database answers; raises _Lost where the connection ended meanwhile."""
    try:
        return await asked
    except Exception as error:
        _require_there(reader, error)
        raise


def _require_there(reader: _Reader, error: Exception) -> None:
    """Return where the connection is still there after an error; raises _Lost."""
    if reader.connection.is_closed() or isinstance(error, (OSError, *_SHUTDOWN)):
        reader.connection.terminate()
        raise _Lost from error


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=CONNECT_SECONDS_MAX)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        connection.terminate()
