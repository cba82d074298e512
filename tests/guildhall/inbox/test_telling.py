"""An event is told once, in the transaction of its cause, to who is still here."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import User
from guildhall.clock import new_id
from guildhall.db.transaction import Database, ReadSession
from guildhall.inbox import telling
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.tables import InboxEvent, Notification
from guildhall.inbox.telling import Telling, tell, tell_all
from guildhall.outbox.tables import OutboxRow
from tests.conftest import MONDAY_MORNING
from tests.people import make_team, make_user

FACTS = {"job": "train", "state": "FAILED", "message": "it ended with exit code 1", "captured": "2"}


async def people(database: Database, *names: str) -> list[UUID]:
    async with database.transaction() as session:
        return [await make_user(session, name) for name in names]


async def told_of(session: ReadSession, subject_id: UUID) -> list[UUID]:
    statement = (
        select(Notification.user_id)
        .join(InboxEvent, InboxEvent.id == Notification.event_id)
        .where(InboxEvent.subject_id == subject_id)
        .order_by(Notification.user_id)
    )
    return list(await session.scalars(statement))


def job(key: UUID, *recipients: UUID, **given: Any) -> Telling:
    values: dict[str, Any] = {"kind": EventKind.JOB_ENDED, "team_id": None, "facts": FACTS, **given}
    return Telling(subject=ResourceRef("Job", key), recipients=recipients, **values)


class TestTell:
    async def test_writes_the_event_a_notification_each_and_one_row_of_the_outbox(
        self, fresh_database: Database
    ) -> None:
        anna, paul, gone = await people(fresh_database, "anna", "paul", "gone")
        key = new_id()
        async with fresh_database.transaction() as session:
            await session.execute(update(User).where(User.id == gone).values(deactivated_at=MONDAY_MORNING))
            team = await make_team(session, "press")
            await tell(
                session,
                EventKind.JOB_ENDED,
                subject=ResourceRef("Job", key),
                team_id=team,
                recipients=[paul, anna, paul, gone],
                facts=FACTS,
                at=MONDAY_MORNING,
                new_id=new_id,
            )
        async with fresh_database.read() as session:
            (event,) = await session.scalars(select(InboxEvent))
            assert (event.kind, event.subject_type, event.subject_id) == ("JOB_ENDED", "Job", key)
            assert (event.team_id, event.facts, event.occurred_at) == (team, FACTS, MONDAY_MORNING)
            notifications = (await session.scalars(select(Notification).order_by(Notification.user_id))).all()
            assert [(each.event_id, each.user_id, each.created_at, each.read_at) for each in notifications] == [
                (event.id, person, MONDAY_MORNING, None) for person in sorted([anna, paul])
            ]
            (row,) = await session.scalars(select(OutboxRow))
            assert (row.topic, row.payload, row.available_at) == ("inbox.event", {"id": str(event.id)}, MONDAY_MORNING)

    async def test_what_is_rolled_back_tells_nobody(self, fresh_database: Database) -> None:
        (anna,) = await people(fresh_database, "anna")

        async def fail() -> None:
            async with fresh_database.transaction() as session:
                await tell_all(session, [job(new_id(), anna)], at=MONDAY_MORNING, new_id=new_id)
                raise ConnectionError

        with pytest.raises(ConnectionError):
            await fail()
        async with fresh_database.read() as session:
            for table in (InboxEvent, Notification, OutboxRow):
                assert (await session.scalars(select(table))).all() == []

    async def test_the_same_event_again_tells_nobody_anew(self, fresh_database: Database) -> None:
        anna, paul = await people(fresh_database, "anna", "paul")
        first, second = new_id(), new_id()
        async with fresh_database.transaction() as session:
            assert await tell_all(session, [job(first, anna)], at=MONDAY_MORNING, new_id=new_id) == 1
        later = MONDAY_MORNING + timedelta(hours=1)
        async with fresh_database.transaction() as session:
            again = [job(first, anna, paul), job(second, paul), job(first, anna, kind=EventKind.HOLD_RELEASED)]
            assert await tell_all(session, again, at=later, new_id=new_id) == 2
        async with fresh_database.read() as session:
            assert await told_of(session, second) == [paul]
            assert await told_of(session, first) == [anna, anna]  # of its end, and of its hold
            assert len((await session.scalars(select(OutboxRow))).all()) == 3

    async def test_two_who_notice_it_at_once_tell_it_once(self, fresh_database: Database) -> None:
        (anna,) = await people(fresh_database, "anna")
        keys = [new_id() for _ in range(5)]
        written, waits = asyncio.Event(), asyncio.Event()

        async def first() -> int:
            async with fresh_database.transaction() as session:
                new = await tell_all(session, [job(key, anna) for key in keys], at=MONDAY_MORNING, new_id=new_id)
                written.set()
                await waits.wait()
                return new

        async def second() -> int:
            await written.wait()
            async with fresh_database.transaction() as session:
                asyncio.get_running_loop().call_later(0.1, waits.set)
                tellings = [job(key, anna) for key in reversed(keys)]
                return await tell_all(session, tellings, at=MONDAY_MORNING, new_id=new_id)

        assert list(await asyncio.gather(first(), second())) == [5, 0]
        async with fresh_database.read() as session:
            assert [await told_of(session, key) for key in keys] == [[anna]] * 5
            assert len((await session.scalars(select(OutboxRow))).all()) == 5

    async def test_nobody_to_tell_still_leaves_the_house(self, fresh_database: Database) -> None:
        async with fresh_database.transaction() as session:
            assert await tell_all(session, [job(new_id())], at=MONDAY_MORNING, new_id=new_id) == 1
            assert await tell_all(session, [], at=MONDAY_MORNING, new_id=new_id) == 0
        async with fresh_database.read() as session:
            assert (await session.scalars(select(Notification))).all() == []
            assert len((await session.scalars(select(OutboxRow))).all()) == 1

    async def test_more_people_than_the_most_are_left_out_and_the_log_says_so(
        self, fresh_database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(telling, "RECIPIENTS_MAX", 2)
        everybody = await people(fresh_database, "a", "b", "c")
        key = new_id()
        async with fresh_database.transaction() as session:
            await tell_all(session, [job(key, *everybody)], at=MONDAY_MORNING, new_id=new_id)
        async with fresh_database.read() as session:
            assert await told_of(session, key) == sorted(everybody)[:2]
        assert f"JOB_ENDED of {key}: 3 people are too many." in caplog.text
