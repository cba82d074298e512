"""Following an inbox: everything once, also what commits after something later, and in places that stay short."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import insert

from guildhall.clock import new_id
from guildhall.inbox.following import LATE_SECONDS_MAX, SEEN_MAX, TOLD_MAX, Heard, begin_hearing, hear
from guildhall.inbox.tables import Notification
from tests.guildhall.inbox.office import Office

SECOND = timedelta(seconds=1)


async def told(office: Office, *, at: datetime, who: str = "mia") -> UUID:
    """A notification of that moment, committed now."""
    event = await office.tell()
    key = new_id()
    async with office.database.transaction() as session:
        values = {"id": key, "event_id": event, "user_id": office.people[who], "created_at": at}
        await session.execute(insert(Notification).values(values))
    return key


async def begin(office: Office) -> Heard:
    actor = await office.actor("mia")
    async with office.database.read() as session:
        return await begin_hearing(session, actor, at=office.clock.now())


async def listen(office: Office, place: Heard) -> tuple[Sequence[tuple[UUID, Heard]], Heard, bool]:
    actor = await office.actor("mia")
    async with office.database.read() as session:
        return await hear(session, actor, place, at=office.clock.now())


class TestHear:
    async def test_what_is_told_from_here_on_in_order_and_each_once(self, office: Office) -> None:
        at = office.clock.now()
        await told(office, at=at - SECOND)
        begun = await begin(office)
        assert await listen(office, begun) == ([], begun, False)
        later, sooner = await told(office, at=at + 2 * SECOND), await told(office, at=at + SECOND)
        await told(office, at=at + SECOND, who="vera")
        office.clock.advance(seconds=3)
        found, place, more = await listen(office, begun)
        assert ([key for key, _ in found], more) == ([sooner, later], False)
        assert (await listen(office, place))[0] == []
        assert [key for key, _ in (await listen(office, found[0][1]))[0]] == [later]

    async def test_what_commits_late_is_not_missed(self, office: Office) -> None:
        at = office.clock.now()
        begun = await begin(office)
        await told(office, at=at + 5 * SECOND)
        office.clock.advance(seconds=5)
        ((_, after),), place, _ = await listen(office, begun)
        late = await told(office, at=at + SECOND)
        office.clock.advance(seconds=LATE_SECONDS_MAX - 10)
        for known in (after, place):
            assert [key for key, _ in (await listen(office, known))[0]] == [late]

    async def test_a_place_forgets_what_no_other_comes_before(self, office: Office) -> None:
        at = office.clock.now()
        begun = await begin(office)
        first = await told(office, at=at + SECOND)
        office.clock.advance(seconds=2)
        _, place, _ = await listen(office, begun)
        assert place.seen == (first,)
        office.clock.advance(seconds=LATE_SECONDS_MAX)
        _, place, _ = await listen(office, place)
        assert (place.seen, place.floor[0]) == ((), office.clock.now() - timedelta(seconds=LATE_SECONDS_MAX))
        assert Heard.of(place.values) == place

    async def test_more_than_a_place_can_name(self, office: Office) -> None:
        at = office.clock.now()
        begun = await begin(office)
        keys = [await told(office, at=at) for _ in range(SEEN_MAX + 3)]
        found, place, more = await listen(office, begun)
        assert ([key for key, _ in found], more) == (sorted(keys), False)
        assert place.seen == tuple(sorted(keys)[3:])
        assert max(len(after.seen) for _, after in found) == SEEN_MAX
        assert (await listen(office, place))[0] == []
        assert [key for key, _ in (await listen(office, found[4][1]))[0]] == sorted(keys)[5:]

    async def test_a_full_look_says_that_there_is_more(self, office: Office) -> None:
        at = office.clock.now()
        begun = await begin(office)
        events = [await office.tell() for _ in range(SEEN_MAX + TOLD_MAX + 1)]
        rows = [
            {"id": new_id(), "event_id": event, "user_id": office.people["mia"], "created_at": at} for event in events
        ]
        async with office.database.transaction() as session:
            await session.execute(insert(Notification), rows)
        found, place, more = await listen(office, begun)
        assert (len(found), more) == (SEEN_MAX + TOLD_MAX, True)
        rest, _, more = await listen(office, place)
        assert ({key for key, _ in [*found, *rest]}, more) == ({row["id"] for row in rows}, False)

    async def test_one_who_begins_knows_what_there_is(self, office: Office) -> None:
        keys = [await told(office, at=office.clock.now()) for _ in range(SEEN_MAX + 2)]
        begun = await begin(office)
        assert begun.seen == tuple(sorted(keys)[-SEEN_MAX:])
        assert (await listen(office, begun))[0] == []
