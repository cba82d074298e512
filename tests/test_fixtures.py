"""What the tests stand on: nothing committed stays, deferred rules fire, and no other machine is reached."""

import socket

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from guildhall.db.transaction import Database, WriteSession
from tests.conftest import BeyondLoopback, is_allowed

COUNT = text("SELECT count(*) FROM outbox")
INSERT = text(
    "INSERT INTO outbox (id, topic, payload, created_at, available_at, attempts) "
    "VALUES (gen_random_uuid(), 't', '{}', '2026-03-02T08:00Z', '2026-03-02T08:00Z', 0)"
)


class TestSession:
    @pytest.mark.parametrize("turn", ["first", "second"])
    async def test_leaves_nothing_behind(self, session: WriteSession, turn: str) -> None:
        assert (await session.execute(COUNT)).scalar_one() == 0, turn
        await session.execute(INSERT)
        await session.commit()
        assert (await session.execute(COUNT)).scalar_one() == 1

    async def test_goes_on_after_a_refusal_in_a_savepoint(self, session: WriteSession) -> None:
        await session.execute(INSERT)

        async def refused() -> None:
            async with session.begin_nested():
                await session.execute(text("SELECT 1 / 0"))

        with pytest.raises(DBAPIError, match="division by zero"):
            await refused()
        assert (await session.execute(COUNT)).scalar_one() == 1

    async def test_is_not_seen_by_others(self, session: WriteSession, database: Database) -> None:
        await session.execute(INSERT)
        async with database.read() as other:
            assert (await other.execute(COUNT)).scalar_one() == 0


class TestSockets:
    @pytest.mark.parametrize(
        ("family", "host", "allowed"),
        [
            (socket.AF_INET, "127.0.0.1", True),
            (socket.AF_INET, "127.8.0.1", True),
            (socket.AF_INET, "localhost", True),
            (socket.AF_INET6, "::1", True),
            (socket.AF_INET, "192.0.2.1", False),
            (socket.AF_INET6, "2001:db8::1", False),
            (socket.AF_INET, "example.org", False),
        ],
    )
    def test_loopback_alone(self, family: int, host: str, allowed: bool) -> None:
        assert is_allowed(family, (host, 80)) is allowed

    def test_connecting_beyond_fails_at_once(self) -> None:
        with socket.socket() as one, pytest.raises(BeyondLoopback):
            one.connect(("192.0.2.1", 80))
