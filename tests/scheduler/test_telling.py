"""What time brings is told beside the cycle, goes on after a failure, and ends with the worker."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from guildhall.auth.subjects import ActorKind
from guildhall.inbox.tables import InboxEvent, Notification
from marketplace.tables import Allocation
from scheduler import telling
from tests.people import bind
from tests.scheduler.yard import Yard
from tests.told import told


async def test_one_round_tells_what_ends_soon_and_forgets_what_was_read_long_ago(yard: Yard) -> None:
    async with yard.database.transaction() as session:
        await bind(session, ActorKind.USER, yard.people["anna"], {"maintainer": [yard.teams["maintenance"]]})
        latest = await session.scalar(select(func.max(Allocation.valid_to)))
    assert latest is not None
    yard.clock.advance_to(latest - timedelta(days=7))
    await telling.look(yard.context())
    async with yard.database.transaction() as session:
        said = await told(session, yard.people)
        assert said != []
        assert {tuple(people) for title, people in said if " of maintenance expire" in title} == {("anna",)}
        await session.execute(update(Notification).values(read_at=yard.clock.now()))
    yard.clock.advance(timedelta(days=yard.settings.notifications_days, seconds=1))
    await telling.forget(yard.context())
    async with yard.database.read() as session:
        assert await session.scalar(select(func.count()).select_from(Notification)) == 0
        assert await session.scalar(select(func.count()).select_from(InboxEvent)) == 0


async def test_forgets_every_hour_alone(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten = []
    looked = 0
    done = asyncio.Event()

    async def look(_context: object) -> None:
        nonlocal looked
        looked += 1
        yard.clock.advance(timedelta(minutes=20))
        if looked == 8:
            done.set()

    async def forget(_context: object) -> None:
        forgotten.append(looked)
        if looked == 4:
            raise ConnectionError

    monkeypatch.setattr(telling, "look", look)
    monkeypatch.setattr(telling, "forget", forget)
    monkeypatch.setattr(telling, "LOOKS_EVERY_SECONDS", 0.0)
    async with asyncio.timeout(60), telling.telling(yard.context()):
        await done.wait()
    assert forgotten[:3] == [1, 4, 7]


async def test_goes_on_after_a_failure_and_ends_with_the_worker(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = 0
    done = asyncio.Event()

    async def look(_context: object) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            raise ConnectionError
        done.set()

    async def forget(_context: object) -> None:
        """Nothing."""

    monkeypatch.setattr(telling, "look", look)
    monkeypatch.setattr(telling, "forget", forget)
    monkeypatch.setattr(telling, "LOOKS_EVERY_SECONDS", 0.0)
    async with asyncio.timeout(60), telling.telling(yard.context()):
        await done.wait()
    before = rounds
    await asyncio.sleep(0)
    assert rounds == before
