"""Access that is about to end is told of in time, once; what has ended, was withdrawn or renewed is not."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from guildhall.auth.subjects import ActorKind
from guildhall.clock import new_id
from guildhall.inbox.kinds import EventKind
from registry.access.ending import tell_ending_access
from registry.access.narrowing import Narrowing
from registry.access.withdrawal import withdraw_access
from tests.people import bind
from tests.registry.estate import DAY, Estate, approved, asked, dataset_ref, granted, registered, version_ref, versioned
from tests.registry.house import House
from tests.told import facts_of, told


async def warned(house: House, **after: float) -> list[list[str]]:
    """Who has been told after that time of access that ends."""
    at = house.at + timedelta(**after)
    await tell_ending_access(house.session, at=at, new_id=new_id)
    return [people for title, people in await told(house.session, house.people) if " ends at " in title]


class TestWhen:
    async def test_a_long_one_a_week_before_to_all_who_read_under_it(self, house: House) -> None:
        for name, role in (("paul", "contributor"), ("vera", "viewer")):
            await bind(house.session, ActorKind.USER, house.people[name], {role: [house.teams["quality"]]})
        await granted(house, [dataset_ref(await registered(house))], seconds=30 * DAY)
        assert await warned(house, days=23, seconds=-1) == []
        assert await warned(house, days=23) == [["paul", "quinn"]]
        assert await warned(house, days=24) == [["paul", "quinn"]]
        assert await facts_of(house.session, EventKind.ACCESS_ENDS) == {
            "for": "the team quality",
            "purpose": "quality",
            "validTo": (house.at + timedelta(days=30)).isoformat(),
            "resources": ["maintenance/gauge-digits"],
        }

    async def test_a_short_one_at_half_of_its_time_to_the_person(self, house: House) -> None:
        dataset_id = await registered(house)
        await granted(house, [dataset_ref(dataset_id)], seconds=DAY, by="quinn", email="paul@example.org")
        assert await warned(house, hours=11) == []
        assert await warned(house, hours=12) == [["paul", "quinn"]]

    async def test_the_owning_team_s_own_a_week_before(self, house: House) -> None:
        await bind(house.session, ActorKind.USER, house.people["carl"], {"contributor": [house.teams["maintenance"]]})
        await registered(house)
        assert await warned(house, days=357) == []
        assert await warned(house, days=358) == [["carl"]]


class TestNotTold:
    async def test_what_has_ended(self, house: House) -> None:
        await granted(house, [dataset_ref(await registered(house))])
        assert await warned(house, days=1) == []

    async def test_what_was_withdrawn(self, house: House) -> None:
        grant_id = await granted(house, [dataset_ref(await registered(house))])
        await withdraw_access(
            house.session, house.actor("mia"), access_grant_id=grant_id, reason="Over.", at=house.at, new_id=new_id
        )
        assert await warned(house, hours=12) == []

    async def test_what_was_renewed_until_the_renewal_is_withdrawn(self, house: House) -> None:
        dataset_id = await registered(house)
        await granted(house, [dataset_ref(dataset_id)])
        renewal = await granted(house, [dataset_ref(dataset_id)], seconds=30 * DAY)
        assert await warned(house, hours=12) == []
        await withdraw_access(
            house.session, house.actor("mia"), access_grant_id=renewal, reason="Over.", at=house.at, new_id=new_id
        )
        assert await warned(house, hours=12) == [["quinn"]]


class TestNoRenewal:
    """Another grant that leaves something of the first to end."""

    async def ends_beside(self, house: House, dataset_id: UUID, resources: list[Any], **given: Any) -> bool:
        narrow = given.pop("narrow", None)
        await granted(house, [dataset_ref(dataset_id)])
        request_id = await asked(house, resources, seconds=30 * DAY, **given)
        await approved(house, request_id, narrow=narrow)
        return await warned(house, hours=12) != []

    async def test_for_another_purpose(self, house: House) -> None:
        dataset_id = await registered(house)
        assert await self.ends_beside(house, dataset_id, [dataset_ref(dataset_id)], purpose="research")

    async def test_for_somebody_else(self, house: House) -> None:
        dataset_id = await registered(house)
        assert await self.ends_beside(house, dataset_id, [dataset_ref(dataset_id)], email="carl@example.org")

    async def test_of_less_of_the_data(self, house: House) -> None:
        dataset_id = await registered(house)
        version_id = await versioned(house, dataset_id)
        assert await self.ends_beside(house, dataset_id, [version_ref(version_id)])

    async def test_of_fewer_columns(self, house: House) -> None:
        dataset_id = await registered(house)
        await versioned(house, dataset_id)
        narrow = Narrowing(columns=("image",))
        assert await self.ends_beside(house, dataset_id, [dataset_ref(dataset_id)], narrow=narrow)

    async def test_but_the_same_and_more_is_one(self, house: House) -> None:
        dataset_id = await registered(house)
        other_id = await registered(house, "gauge-faces")
        both = [dataset_ref(dataset_id), dataset_ref(other_id)]
        assert not await self.ends_beside(house, dataset_id, both)


async def test_two_workers_tell_once(estate: Estate) -> None:
    async with estate.database.transaction() as session:
        estate.house.session = session
        await granted(estate.house, [dataset_ref(await registered(estate.house))])
    at = estate.clock.now() + timedelta(hours=12)

    async def look() -> None:
        async with estate.database.transaction() as session:
            await tell_ending_access(session, at=at, new_id=new_id)

    await asyncio.gather(*(look() for _ in range(4)))
    async with estate.database.read() as reading:
        assert (await told(reading, estate.house.people))[2:] == [
            ("Access to maintenance/gauge-digits ends at 2026-03-03 08:00 UTC", ["quinn"])
        ]
