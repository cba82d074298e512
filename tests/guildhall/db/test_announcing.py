"""What a transaction announces is told once it has committed, once, and never holds up a commit."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from guildhall.db.announcing import PAYLOAD_BYTES_MAX, PENDING_MAX, Announcer, announce
from guildhall.db.transaction import Database, connect_database
from tests.guildhall.db.test_notify import listening

PATIENCE_SECONDS = 120


async def heard(told: "asyncio.Queue[str]") -> str:
    return await asyncio.wait_for(told.get(), PATIENCE_SECONDS)


class TestAnnounce:
    async def test_is_told_after_the_commit_and_once(self, database: Database) -> None:
        async with listening(database) as told:
            async with database.transaction() as session:
                for payload in ("first", "second", "first"):
                    announce(session, "tests", payload)
                await session.execute(text("SELECT 1"))
                assert told.empty()
            assert [await heard(told), await heard(told)] == ["noticed first", "noticed second"]
            assert told.empty()

    async def test_what_is_rolled_back_is_not_told(self, database: Database) -> None:
        async with listening(database) as told:
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 -- what is raised must leave the transaction
                async with database.transaction() as session:
                    announce(session, "tests", "never")
                    raise ZeroDivisionError
            async with database.transaction() as session:
                announce(session, "tests", "committed")
            assert await heard(told) == "noticed committed"
            assert told.empty()

    async def test_closing_sends_what_is_left(self, database: Database) -> None:
        async with listening(database) as told:
            short_lived = connect_database(database.url)
            async with short_lived.transaction() as session:
                announce(session, "tests", "last words")
            await short_lived.close()
            assert await heard(told) == "noticed last words"

    async def test_a_database_that_went_away_loses_the_notice_and_nothing_else(
        self, database: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        url = make_url(database.url).set(database="nowhere").render_as_string(hide_password=False)
        away = connect_database(url)
        announcer = Announcer(away.engine)
        async with database.transaction() as session:
            announce(session, "tests", "lost")
            announcer.committed(session)
            await announcer.flush()
        await away.close()
        assert "1 notices could not be sent" in caplog.text

    async def test_a_payload_is_short(self, database: Database) -> None:
        async with database.transaction() as session:
            with pytest.raises(AssertionError):
                announce(session, "tests", "x" * (PAYLOAD_BYTES_MAX + 1))

    async def test_more_than_can_be_sent_is_dropped(self, database: Database, caplog: pytest.LogCaptureFixture) -> None:
        async with listening(database) as told:
            async with database.transaction() as session:
                for number in range(PENDING_MAX + 1):
                    announce(session, "tests", str(number))
            assert "are dropped" in caplog.text
            async with database.transaction() as session:
                announce(session, "tests", "afterwards")
            assert await heard(told) == "noticed afterwards"
