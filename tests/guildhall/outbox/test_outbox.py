"""The outbox's leases: a result counts only while its token does."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from guildhall.clock import SimulatedClock
from guildhall.db.transaction import Database, WriteSession
from guildhall.outbox import outbox
from guildhall.outbox.tables import OutboxRow


async def stored(database: Database) -> list[OutboxRow]:
    async with database.read() as session:
        return list(await session.scalars(select(OutboxRow).order_by(OutboxRow.id)))


async def put(database: Database, clock: SimulatedClock, topic: str = "charge", **payload: object) -> None:
    async with database.transaction() as session:
        await outbox.enqueue(session, topic, payload, at=clock.now())


async def take(database: Database, clock: SimulatedClock, owner: str = "one", limit: int = 10) -> list[outbox.Claim]:
    return await outbox.claim(database, ["charge"], owner=owner, clock=clock, lease_seconds=30, limit=limit)


class TestEnqueue:
    async def test_a_rolled_back_cause_has_no_effect(self, fresh_database: Database, clock: SimulatedClock) -> None:
        async def cause() -> None:
            async with fresh_database.transaction() as session:
                await outbox.enqueue(session, "charge", {"n": 1}, at=clock.now())
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await cause()
        assert await stored(fresh_database) == []

    async def test_waits_until_it_is_available(self, fresh_database: Database, clock: SimulatedClock) -> None:
        async with fresh_database.transaction() as session:
            later = clock.now() + timedelta(seconds=60)
            await outbox.enqueue(session, "charge", {"n": 1}, at=clock.now(), available_at=later)
        assert await take(fresh_database, clock) == []
        clock.advance(seconds=60)
        assert [claimed.payload for claimed in await take(fresh_database, clock)] == [{"n": 1}]


class TestClaim:
    async def test_oldest_first_of_its_topics_and_each_row_once(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        for number in range(3):
            await put(fresh_database, clock, n=number)
            clock.advance(seconds=1)
        await put(fresh_database, clock, topic="other")
        first = await take(fresh_database, clock, "one", limit=2)
        second = await take(fresh_database, clock, "two")
        assert [claimed.payload["n"] for claimed in first] == [0, 1]
        assert [claimed.payload["n"] for claimed in second] == [2]

    async def test_a_rival_in_the_same_moment_gets_other_rows(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await put(fresh_database, clock, n=0)
        await put(fresh_database, clock, n=1)
        async with fresh_database.transaction() as rival:
            held = (await rival.execute(text("SELECT id FROM outbox ORDER BY id LIMIT 1 FOR UPDATE"))).scalar_one()
            claims = await take(fresh_database, clock)
            assert [claimed.payload["n"] for claimed in claims] == [1]
            assert held not in {claimed.id for claimed in claims}

    async def test_an_expired_lease_is_free_again(self, fresh_database: Database, clock: SimulatedClock) -> None:
        await put(fresh_database, clock, n=0)
        (lost,) = await take(fresh_database, clock, "one")
        clock.advance(seconds=29)
        assert await take(fresh_database, clock, "two") == []
        clock.advance(seconds=1)
        (taken,) = await take(fresh_database, clock, "two")
        assert (taken.id, taken.attempts) == (lost.id, 2)
        assert taken.token != lost.token


async def _complete(session: WriteSession, claimed: outbox.Claim, clock: SimulatedClock) -> bool:
    return await outbox.complete(session, claimed, at=clock.now())


async def _fail(session: WriteSession, claimed: outbox.Claim, clock: SimulatedClock) -> bool:
    return await outbox.fail(session, claimed, "no", at=clock.now())


Finish = Callable[[WriteSession, outbox.Claim, SimulatedClock], Awaitable[bool]]


class TestLostLease:
    @pytest.mark.parametrize("finish", [_complete, _fail])
    async def test_a_wrong_token_applies_nothing(
        self, fresh_database: Database, clock: SimulatedClock, finish: Finish
    ) -> None:
        await put(fresh_database, clock, n=0)
        (lost,) = await take(fresh_database, clock, "one")
        clock.advance(seconds=31)
        (held,) = await take(fresh_database, clock, "two")
        before = [vars(row) | {"_sa_instance_state": None} for row in await stored(fresh_database)]
        async with fresh_database.transaction() as session:
            assert await finish(session, lost, clock) is False
        assert [vars(row) | {"_sa_instance_state": None} for row in await stored(fresh_database)] == before
        async with fresh_database.transaction() as session:
            assert await finish(session, held, clock) is True


class TestComplete:
    async def test_a_done_row_is_never_claimed_again(self, fresh_database: Database, clock: SimulatedClock) -> None:
        await put(fresh_database, clock, n=0)
        (claimed,) = await take(fresh_database, clock)
        async with fresh_database.transaction() as session:
            assert await outbox.complete(session, claimed, at=clock.now())
        (row,) = await stored(fresh_database)
        assert (row.done_at, row.lease_owner, row.lease_token, row.lease_expires_at) == (clock.now(), None, None, None)
        clock.advance(seconds=3600)
        assert await take(fresh_database, clock) == []


class TestForgetDone:
    async def test_what_was_done_a_month_ago_leaves(self, fresh_database: Database, clock: SimulatedClock) -> None:
        for n in range(3):
            await put(fresh_database, clock, n=n)
        (first, second, waits) = await take(fresh_database, clock)
        async with fresh_database.transaction() as session:
            assert await outbox.complete(session, first, at=clock.now())
            later = clock.now() + timedelta(seconds=1)
            assert await outbox.complete(session, second, at=later)
        assert await outbox.forget_done(fresh_database, at=clock.now() + outbox.DONE_KEPT - timedelta(seconds=1)) == 0
        assert await outbox.forget_done(fresh_database, at=clock.now() + outbox.DONE_KEPT) == 1
        assert [row.id for row in await stored(fresh_database)] == [second.id, waits.id]

    async def test_what_was_given_up_stays(self, fresh_database: Database, clock: SimulatedClock) -> None:
        await put(fresh_database, clock)
        (claimed,) = await take(fresh_database, clock)
        async with fresh_database.transaction() as session:
            last = replace(claimed, attempts=outbox.ATTEMPTS_MAX)
            assert await outbox.fail(session, last, "no", at=clock.now())
        assert await outbox.forget_done(fresh_database, at=clock.now() + 2 * outbox.DONE_KEPT) == 0


class TestPutBack:
    async def test_waits_as_if_it_had_not_been_taken_up(self, fresh_database: Database, clock: SimulatedClock) -> None:
        await put(fresh_database, clock)
        (claimed,) = await take(fresh_database, clock)
        async with fresh_database.transaction() as session:
            assert await outbox.put_back(session, claimed, available_at=clock.now() + timedelta(seconds=5))
        assert await take(fresh_database, clock) == []
        clock.advance(seconds=5)
        (again,) = await take(fresh_database, clock)
        assert (again.id, again.attempts) == (claimed.id, 1)

    async def test_of_a_lost_lease_is_nothing(self, fresh_database: Database, clock: SimulatedClock) -> None:
        await put(fresh_database, clock)
        (lost,) = await take(fresh_database, clock)
        clock.advance(seconds=30)
        (taken,) = await take(fresh_database, clock, owner="two")
        async with fresh_database.transaction() as session:
            assert not await outbox.put_back(session, lost, available_at=clock.now())
        (row,) = await stored(fresh_database)
        assert (row.lease_token, row.attempts) == (taken.token, 2)


class TestFail:
    async def test_waits_twice_as_long_each_time_and_is_given_up(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await put(fresh_database, clock, n=0)
        waits = []
        for _ in range(outbox.ATTEMPTS_MAX):
            (claimed,) = await take(fresh_database, clock)
            async with fresh_database.transaction() as session:
                assert await outbox.fail(session, claimed, "x" * 5_000, at=clock.now())
            (row,) = await stored(fresh_database)
            if row.given_up_at is None:
                waits.append((row.available_at - clock.now()).total_seconds())
                assert await take(fresh_database, clock) == []
                clock.advance_to(row.available_at)
        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
        (row,) = await stored(fresh_database)
        assert row.given_up_at == clock.now()
        assert row.last_error == "x" * outbox.ERROR_CHARACTERS_MAX
        clock.advance(seconds=86_400)
        assert await take(fresh_database, clock) == []
