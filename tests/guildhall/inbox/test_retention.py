"""What was read long ago leaves; what is unread stays for longer, and so does what somebody still has."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from guildhall.auth.resources import ResourceRef
from guildhall.clock import new_id
from guildhall.db import forgetting
from guildhall.db.transaction import Database
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.retention import FORGETTING_LOCK, UNREAD_KEPT, forget_notifications
from guildhall.inbox.tables import InboxEvent, Notification
from guildhall.inbox.telling import Telling, tell_all
from tests.conftest import MONDAY_MORNING
from tests.people import make_user

DAY = timedelta(days=1)


async def told(database: Database, *, events: int, name: str, read_after: timedelta | None) -> list[UUID]:
    """That many events, told on Monday morning to one person who read them then, or never."""
    keys = [new_id() for _ in range(events)]
    async with database.transaction() as session:
        person = await make_user(session, name)
        tellings = [
            Telling(
                kind=EventKind.JOB_ENDED, subject=ResourceRef("Job", key), team_id=None, recipients=[person], facts={}
            )
            for key in keys
        ]
        await tell_all(session, tellings, at=MONDAY_MORNING, new_id=new_id)
        if read_after is not None:
            read_at = MONDAY_MORNING + read_after
            await session.execute(update(Notification).where(Notification.user_id == person).values(read_at=read_at))
    return keys


async def left(database: Database) -> tuple[int, int]:
    async with database.read() as session:
        notifications = await session.scalar(select(func.count()).select_from(Notification))
        return notifications or 0, await session.scalar(select(func.count()).select_from(InboxEvent)) or 0


async def test_what_was_read_before_leaves_with_its_event(fresh_database: Database) -> None:
    await told(fresh_database, events=3, name="early", read_after=DAY)
    await told(fresh_database, events=2, name="late", read_after=3 * DAY)
    await told(fresh_database, events=1, name="never", read_after=None)
    assert await forget_notifications(fresh_database, read_kept=DAY, at=MONDAY_MORNING + 2 * DAY) == 0
    assert await forget_notifications(fresh_database, read_kept=DAY, at=MONDAY_MORNING + 3 * DAY) == 6
    assert await left(fresh_database) == (3, 3)
    assert await forget_notifications(fresh_database, read_kept=DAY, at=MONDAY_MORNING + 90 * DAY) == 4
    assert await left(fresh_database) == (1, 1)


async def test_what_is_never_read_leaves_later(fresh_database: Database) -> None:
    await told(fresh_database, events=2, name="never", read_after=None)
    for at, kept in ((MONDAY_MORNING + UNREAD_KEPT, DAY), (MONDAY_MORNING + 500 * DAY, 500 * DAY)):
        assert await forget_notifications(fresh_database, read_kept=kept, at=at) == 0
    later = MONDAY_MORNING + UNREAD_KEPT + timedelta(seconds=1)
    assert await forget_notifications(fresh_database, read_kept=DAY, at=later) == 4
    assert await left(fresh_database) == (0, 0)


async def test_goes_in_batches_and_stops_at_the_most_of_a_round(
    fresh_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "ROWS_MAX", 2)
    monkeypatch.setattr(forgetting, "BATCHES_MAX", 2)
    await told(fresh_database, events=5, name="early", read_after=DAY)
    at = MONDAY_MORNING + 3 * DAY
    assert await forget_notifications(fresh_database, read_kept=DAY, at=at) == 4 + 4
    assert await left(fresh_database) == (1, 1)
    assert await forget_notifications(fresh_database, read_kept=DAY, at=at) == 2
    assert await left(fresh_database) == (0, 0)


async def test_leaves_it_to_another_who_is_at_it(fresh_database: Database) -> None:
    await told(fresh_database, events=1, name="early", read_after=DAY)
    at = MONDAY_MORNING + 3 * DAY
    async with fresh_database.transaction() as session:
        await session.execute(select(func.pg_advisory_xact_lock(FORGETTING_LOCK)))
        assert await forget_notifications(fresh_database, read_kept=DAY, at=at) == 0
    assert await forget_notifications(fresh_database, read_kept=DAY, at=at) == 2
