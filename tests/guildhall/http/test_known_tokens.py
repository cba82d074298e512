"""However many tokens are asked about at once, one statement at a time answers for all that wait."""

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest

from guildhall.auth.tokens import hash_token, known_digests
from guildhall.db.transaction import Database, ReadSession
from guildhall.errors import Unavailable
from guildhall.http import known_tokens as module
from guildhall.http.known_tokens import KnownTokens
from tests.house import House
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a statement may take what a test does meanwhile."""
    monkeypatch.setattr(module, "ANSWER_SECONDS_MAX", PATIENCE_SECONDS)


class Gate:
    """Counts the statements, and holds each back until it is let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[int] = []
        self.under_way = self.most = 0
        self.open = asyncio.Event()
        self.reached = asyncio.Event()
        monkeypatch.setattr(module, "known_digests", self.known_digests)

    async def is_reached(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.reached.wait()

    async def known_digests(self, session: ReadSession, digests: Collection[bytes]) -> frozenset[bytes]:
        self.asked.append(len(digests))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.reached.set()
        await self.open.wait()
        self.under_way -= 1
        return await known_digests(session, digests)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


async def test_a_good_one_is_found_among_many_guesses_in_two_statements(
    fresh_database: Database, tmp_path: Path, gate: Gate
) -> None:
    good = hash_token(await House(fresh_database, tmp_path).token_of("bob"))
    known = KnownTokens(fresh_database)
    first = asyncio.create_task(known.has(b"the first"))
    await gate.is_reached()
    others = [asyncio.create_task(known.has(digest)) for digest in (*map(bytes, range(1, 500)), good, good)]
    await asyncio.sleep(0)
    gate.open.set()
    assert not await first
    assert await asyncio.gather(*others) == [False] * 499 + [True, True]
    assert (gate.asked, gate.most) == ([1, 500], 1)


async def test_more_than_may_wait_are_not_known(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 2)
    known = KnownTokens(fresh_database)
    first = asyncio.create_task(known.has(b"the first"))
    await gate.is_reached()
    others = [asyncio.create_task(known.has(digest)) for digest in (b"1", b"2", b"3", b"2")]
    await asyncio.sleep(0)
    gate.open.set()
    assert await asyncio.gather(first, *others) == [False] * 5
    assert gate.asked == [1, 2]


async def test_who_goes_away_takes_nothing_with_them(fresh_database: Database, gate: Gate) -> None:
    known = KnownTokens(fresh_database)
    gone, stays = (asyncio.create_task(known.has(b"the same")) for _ in range(2))
    await gate.is_reached()
    gone.cancel()
    gate.open.set()
    assert not await stays
    assert gate.asked == [1]


async def test_a_database_that_does_not_answer_knows_none_until_it_is_back(
    fresh_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = hash_token(await House(fresh_database, tmp_path).token_of("bob"))
    known = KnownTokens(fresh_database)

    async def away(_session: ReadSession, _digests: Collection[bytes]) -> frozenset[bytes]:
        raise Unavailable("The database is away.")

    monkeypatch.setattr(module, "known_digests", away)
    assert not await known.has(good)
    monkeypatch.setattr(module, "known_digests", known_digests)
    assert await known.has(good)


async def test_a_statement_that_never_ends_is_given_up(
    fresh_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: Gate
) -> None:
    good = hash_token(await House(fresh_database, tmp_path).token_of("bob"))
    known = KnownTokens(fresh_database)
    monkeypatch.setattr(module, "ANSWER_SECONDS_MAX", 0.2)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert not await known.has(good)
    monkeypatch.setattr(module, "ANSWER_SECONDS_MAX", PATIENCE_SECONDS)
    gate.open.set()
    assert await known.has(good)
