"""How workers know how many they are, on a clock of the test's, and in a real database."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from guildhall.db.transaction import Database
from scheduler import crew as module
from scheduler.crew import BELIEVED_SECONDS, LINGERING_SECONDS, LOCK, RECONNECT_SECONDS, Crew

SECONDS_MAX = 60


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def crew(clock: Clock) -> Crew:
    return Crew(clock=clock)


class TestSharers:
    def test_nobody_knows_before_the_first_count(self, crew: Crew, clock: Clock) -> None:
        assert crew.sharers() is None
        crew.joined()
        clock.now += 10
        assert crew.sharers() is None

    def test_who_is_alone_waits_for_what_one_before_it_may_have_sent(self, crew: Crew, clock: Clock) -> None:
        crew.joined()
        crew.counted(1, clock.now)
        assert crew.sharers() is None
        clock.now += LINGERING_SECONDS
        crew.counted(1, clock.now)
        assert crew.sharers() == 1

    def test_who_comes_to_others_waits_until_they_must_know(self, crew: Crew, clock: Clock) -> None:
        crew.joined()
        crew.counted(2, clock.now)
        clock.now += LINGERING_SECONDS + BELIEVED_SECONDS - 0.01
        crew.counted(2, clock.now)
        assert crew.sharers() is None
        clock.now += 0.01
        assert crew.sharers() == 2

    def test_a_count_is_believed_for_a_moment(self, crew: Crew, clock: Clock) -> None:
        crew.joined()
        clock.now += LINGERING_SECONDS
        crew.counted(1, clock.now)
        clock.now += BELIEVED_SECONDS - 0.01
        assert crew.sharers() == 1
        clock.now += 0.01
        assert crew.sharers() is None

    def test_more_count_at_once_and_fewer_only_when_nothing_of_the_dead_can_linger(
        self, crew: Crew, clock: Clock
    ) -> None:
        crew.joined()
        clock.now += LINGERING_SECONDS
        seen = []
        for count in (1, 3, 3, 1, 1, 2, 1, 1, 1):
            crew.counted(count, clock.now)
            seen.append(crew.sharers())
            clock.now += LINGERING_SECONDS / 2
        assert seen == [1, 3, 3, 3, 3, 2, 2, 2, 1]

    def test_who_has_lost_its_place_begins_anew(self, crew: Crew, clock: Clock) -> None:
        crew.joined()
        clock.now += LINGERING_SECONDS
        crew.counted(1, clock.now)
        crew.joined()
        crew.counted(1, clock.now)
        assert crew.sharers() is None


@asynccontextmanager
async def working(database: Database) -> AsyncIterator[Crew]:
    crew = Crew()
    async with at_work(crew, database):
        yield crew


@asynccontextmanager
async def at_work(crew: Crew, database: Database) -> AsyncIterator[None]:
    task = asyncio.create_task(crew.run(database.url))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not reached():
            await asyncio.sleep(0.05)


class TestRun:
    async def test_workers_count_each_other_come_and_go(self, database: Database) -> None:
        async with working(database) as first:
            await until(lambda: first.sharers() == 1)
            async with working(database) as second:
                await until(lambda: first.sharers() == second.sharers() == 2)
            await until(lambda: first.sharers() == 1)

    async def test_a_lost_connection_is_made_anew(self, database: Database) -> None:
        async with working(database) as crew:
            await until(lambda: crew.sharers() == 1)
            statement = text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 "
                "AND classid = CAST(:use AS int)::oid AND granted "
                # The server is shared with other tests, whose databases have workers of their own.
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            async with database.transaction() as session:
                ended = (await session.scalars(statement, {"use": LOCK[0]})).all()
            assert ended == [True]
            await until(lambda: crew.sharers() is None)
            await asyncio.sleep(RECONNECT_SECONDS)
            await until(lambda: crew.sharers() == 1)

    async def test_nothing_is_asked_of_the_database_while_nobody_asks(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "ASKED_SECONDS", 0.0)
        counted: list[int] = []

        class Noting(Crew):
            def counted(self, count: int, asked_at: float) -> None:
                counted.append(count)
                super().counted(count, asked_at)

        crew = Noting()
        async with at_work(crew, database):
            await until(lambda: counted == [1])
            await asyncio.sleep(module.COUNTED_EVERY_SECONDS * 3)
            assert counted == [1]
            await until(lambda: crew.sharers() == 1)
            assert len(counted) > 1
