"""Withdrawal: at once, by a steward, by who asked or by who has the grant; once."""

from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.auth.actor import TokenUse
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, NotFound
from registry.access.tables import AccessGrant
from registry.access.visibility import visible_access_grants
from registry.access.withdrawal import AlreadyEnded, withdraw_access
from registry.datasets.stewards import StewardRequired
from registry.texts import InvalidText
from tests.registry.access.test_deciding import may_quality_read
from tests.registry.estate import dataset_ref, granted, registered, version_ref, versioned
from tests.registry.house import House


async def withdraw(
    house: House, grant_id: UUID, *, by: str = "mia", reason: str = "No longer needed.", **later: int
) -> UUID:
    return await withdraw_access(
        house.session,
        house.actor(by),
        access_grant_id=grant_id,
        reason=reason,
        at=house.later(**later),
        new_id=new_id,
    )


class TestWithdrawAccess:
    async def test_the_next_read_is_refused(self, house: House) -> None:
        dataset_id = await registered(house)
        version_id = await versioned(house, dataset_id)
        grant_id = await granted(house, [version_ref(version_id)])
        assert (await may_quality_read(house, version_id, at=house.later(hours=1))).allowed
        assert await withdraw(house, grant_id, hours=1) == grant_id
        behind = await may_quality_read(house, version_id, at=house.later(hours=1, microseconds=-1))
        assert not behind.allowed, "a clock that is behind the withdrawal's reads nothing either"
        refused = await may_quality_read(house, version_id, at=house.later(hours=1))
        assert refused.reason is not None
        assert refused.reason.message.startswith("Your access grant was withdrawn at 2026-03-02 09:00 UTC.")
        grant = await house.session.get_one(AccessGrant, grant_id)
        assert (grant.withdrawn_at, grant.withdrawn_by, grant.withdrawal_reason, grant.valid_to) == (
            house.later(hours=1),
            house.people["mia"],
            "No longer needed.",
            house.later(days=1),
        )
        (event,) = await house.events("registry:access:withdraw")
        assert (event.access_grant_id, event.resource_ids) == (grant_id, sorted([dataset_id, version_id]))
        assert event.after == {"validTo": house.later(hours=1).isoformat(), "reason": "No longer needed."}

    @pytest.mark.parametrize("name", ["mia", "quinn"])
    async def test_who_may(self, house: House, name: str) -> None:
        grant_id = await granted(house, [dataset_ref(await registered(house))])
        assert await withdraw(house, grant_id, by=name) == grant_id

    async def test_who_has_it_may(self, house: House) -> None:
        grant_id = await granted(house, [dataset_ref(await registered(house))], email="vera@example.org")
        assert await withdraw(house, grant_id, by="vera") == grant_id

    @pytest.mark.parametrize("name", ["quinn", "vera"])
    async def test_not_with_a_token_for_something_else(self, house: House, name: str) -> None:
        email = "vera@example.org" if name == "vera" else None
        grant_id = await granted(house, [dataset_ref(await registered(house))], email=email)
        token = TokenUse(new_id(), None, roles=("contributor",))
        with pytest.raises(StewardRequired):
            await withdraw_access(
                house.session, replace(house.actor(name), token=token), access_grant_id=grant_id, reason="Mine.",
                at=house.at, new_id=new_id,
            )  # fmt: skip
        assert (await house.session.get_one(AccessGrant, grant_id)).withdrawn_at is None

    @pytest.mark.parametrize(
        ("name", "error"),
        [("paul", StewardRequired), ("anna", StewardRequired), ("vera", NotFound), ("omar", NotFound)],
    )
    async def test_who_may_not(self, house: House, name: str, error: type[GuildhallError]) -> None:
        grant_id = await granted(house, [dataset_ref(await registered(house))])
        with pytest.raises(error):
            await withdraw(house, grant_id, by=name)
        assert (await house.session.get_one(AccessGrant, grant_id)).withdrawn_at is None

    async def test_the_owners_own_grant_can_be_withdrawn_too(self, house: House) -> None:
        await registered(house)
        grant_id = (await house.session.scalars(select(AccessGrant.id))).one()
        assert await withdraw(house, grant_id) == grant_id

    async def test_once(self, house: House) -> None:
        grant_id = await granted(house, [dataset_ref(await registered(house))])
        await withdraw(house, grant_id, hours=1)
        with pytest.raises(AlreadyEnded) as caught:
            await withdraw(house, grant_id, hours=2)
        assert caught.value.message == "This grant ended at 2026-03-02 09:00 UTC already."

    async def test_not_after_its_end(self, house: House) -> None:
        grant_id = await granted(house, [dataset_ref(await registered(house))])
        with pytest.raises(AlreadyEnded) as caught:
            await withdraw(house, grant_id, days=1)
        assert caught.value.message == "This grant ended at 2026-03-03 08:00 UTC already."

    async def test_not_without_a_reason(self, house: House) -> None:
        grant_id = await granted(house, [dataset_ref(await registered(house))])
        with pytest.raises(InvalidText):
            await withdraw(house, grant_id, reason="")


class TestVisibleAccessGrants:
    async def test_theirs_their_teams_and_of_data_of_theirs(self, house: House) -> None:
        dataset_id = await registered(house)
        grant_id = await granted(house, [dataset_ref(dataset_id)], email="vera@example.org")
        (own_id,) = await house.session.scalars(select(AccessGrant.id).where(AccessGrant.id != grant_id))
        seen = {
            name: set(
                await house.session.scalars(select(AccessGrant.id).where(visible_access_grants(house.actor(name))))
            )
            for name in (*house.people, "omar")
        }
        assert seen == {
            "anna": {own_id, grant_id},
            "carl": {own_id, grant_id},
            "mia": {own_id, grant_id},
            "vera": {grant_id},
            "quinn": {grant_id},
            "paul": set(),
            "omar": set(),
        }
