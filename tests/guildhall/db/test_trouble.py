"""A database that goes away, stands still or runs in circles: a sentence for the caller, and nothing half done."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import SERVICE_ROLE
from guildhall.db.transaction import Database, DatabaseBusy, DatabaseUnavailable, connect_database
from guildhall.errors import GuildhallError

CALLERS = 8
WRITES_EACH = 40


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="gh-"))
    yield made
    shutil.rmtree(made)


async def prepare(server: EmbeddedServer) -> Database:
    connection = await server.connect(database="guildhall")
    await connection.execute("CREATE TABLE written (caller int, number int, PRIMARY KEY (caller, number))")
    await connection.execute(f"GRANT SELECT, INSERT, UPDATE ON written TO {SERVICE_ROLE}")
    await connection.close()
    return connect_database(server.url(SERVICE_ROLE), pool_size=CALLERS)


class TestRestartUnderLoad:
    async def test_every_acknowledged_write_is_there_once(self, folder: Path) -> None:
        async with EmbeddedServer(folder) as server:
            database = await prepare(server)
            refusals: list[str] = []
            progress = [0] * CALLERS

            async def write(caller: int, number: int) -> None:
                async with database.transaction() as session:
                    await session.execute(
                        text("INSERT INTO written VALUES (:caller, :number) ON CONFLICT DO NOTHING"),
                        {"caller": caller, "number": number},
                    )

            async def call(caller: int) -> None:
                for number in range(WRITES_EACH):
                    for _ in range(2_000):
                        try:
                            await write(caller, number)
                            break
                        except DatabaseUnavailable as refusal:
                            refusals.append(refusal.message)
                            await asyncio.sleep(0.01)
                    else:
                        pytest.fail("the database never came back")
                    progress[caller] = number
                    if number == WRITES_EACH // 2:
                        halfway.release()
                        await killed.wait()

            halfway = asyncio.Semaphore(0)
            killed = asyncio.Event()
            callers = [asyncio.create_task(call(caller)) for caller in range(CALLERS)]
            await halfway.acquire()
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            killed.set()
            await asyncio.gather(*callers)
            async with database.read() as session:
                rows = await session.execute(text("SELECT caller, count(*) FROM written GROUP BY 1 ORDER BY 1"))
                assert [tuple(row) for row in rows] == [(caller, WRITES_EACH) for caller in range(CALLERS)]
            await database.close()
        assert len(refusals) > 0
        assert {message.split(";")[0] for message in refusals} <= {
            "The database is away", "The connection to the database was lost",
        }  # fmt: skip


class TestTrouble:
    async def test_a_lost_connection_in_the_middle(self, database: Database) -> None:
        async def lose() -> None:
            async with database.transaction() as session:
                await session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        with pytest.raises(DatabaseUnavailable):
            await lose()
        async with database.read() as session:
            assert (await session.execute(text("SELECT 1"))).scalar_one() == 1

    @pytest.mark.parametrize(
        ("setting", "code"), [("statement_timeout", "STATEMENT_TIMEOUT"), ("lock_timeout", "DATABASE_BUSY")]
    )
    async def test_a_wait_too_long(self, database: Database, setting: str, code: str) -> None:
        async def wait() -> None:
            async with database.transaction() as session:
                await session.execute(text(f"SET LOCAL {setting} = 20"))
                await session.execute(text("SELECT pg_advisory_xact_lock(1)"))

        async with database.transaction() as rival:
            await rival.execute(text("SELECT pg_advisory_xact_lock(1)"))
            with pytest.raises(DatabaseBusy, match="nothing was changed") as refused:
                await wait()
            assert refused.value.code == code

    async def test_a_circle(self, database: Database) -> None:
        first_has_one = asyncio.Event()
        second_has_two = asyncio.Event()
        lock = text("SELECT pg_advisory_xact_lock(:key)")

        async def first() -> None:
            async with database.transaction() as session:
                await session.execute(lock, {"key": 1})
                first_has_one.set()
                await second_has_two.wait()
                await session.execute(lock, {"key": 2})

        async def second() -> None:
            async with database.transaction() as session:
                await session.execute(lock, {"key": 2})
                second_has_two.set()
                await first_has_one.wait()
                await session.execute(lock, {"key": 1})

        outcomes = await asyncio.gather(first(), second(), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["DatabaseBusy", "NoneType"]

    async def test_no_free_connection(self, database: Database) -> None:
        narrow = connect_database(database.url, pool_size=1)
        narrow.engine.pool._timeout = 0.05  # type: ignore[attr-defined]
        async with narrow.transaction():
            with pytest.raises(DatabaseBusy, match="no free connection"):
                async with narrow.read():
                    pytest.fail("there was one")
        await narrow.close()

    async def test_what_is_not_the_databases_trouble_stays_what_it_is(self, database: Database) -> None:
        async def wrong_sql() -> None:
            async with database.read() as session:
                await session.execute(text("SELECT nonsense"))

        async def wrong_file() -> None:
            async with database.read():
                raise FileNotFoundError("mine")

        with pytest.raises(DBAPIError, match="nonsense") as failure:
            await wrong_sql()
        assert not isinstance(failure.value, GuildhallError)
        with pytest.raises(FileNotFoundError, match="mine"):
            await wrong_file()
