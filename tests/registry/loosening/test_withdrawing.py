"""Ending a loosening: the restriction is back at once, downstream too."""

from collections.abc import Awaitable
from dataclasses import replace
from uuid import UUID

import pytest

from guildhall.auth.actor import TokenUse
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.narrowing import narrowed
from guildhall.clock import new_id
from guildhall.errors import NotFound
from registry.access.withdrawal import AlreadyEnded
from registry.loosening.withdrawing import withdraw_loosening
from tests.registry.house import House
from tests.registry.loosening.loosened import asked, classes, line, loosened, source, state, withdrawn
from tests.told import told


class TestWithdrawLoosening:
    @pytest.mark.parametrize("by", ["mia", "anna"])
    async def test_restores_the_restriction_downstream_too(self, house: House, by: str) -> None:
        _, data = await source(house)
        first, second = await line(house, data)
        loosening_id = await loosened(house, first)
        assert await classes(house, first, second) == ["INTERNAL", "INTERNAL"]
        await withdrawn(house, loosening_id, by=by)
        assert await classes(house, first, second) == ["CONFIDENTIAL", "CONFIDENTIAL"]
        assert await state(house, loosening_id) == "WITHDRAWN"
        other = {"mia": "anna", "anna": "mia"}[by]
        title = "maintenance/first@1 is no longer classified INTERNAL"
        assert (await told(house.session, house.people))[-1] == (title, [other])
        action = {"mia": "registry:restriction:decide", "anna": "registry:restriction:loosen"}[by]
        event = (await house.events(action))[-1]
        assert event.before == {"state": "APPROVED"}
        assert event.after is not None
        assert event.after["versions"] == sorted(map(str, (first, second)))
        with pytest.raises(AlreadyEnded):
            await withdrawn(house, loosening_id)

    async def test_a_request_can_be_taken_back(self, house: House) -> None:
        _, data = await source(house)
        first, _ = await line(house, data)
        loosening_id = await asked(house, first)
        await withdrawn(house, loosening_id, by="anna")
        assert await state(house, loosening_id) == "WITHDRAWN"
        await asked(house, first)

    async def test_who_asked_ends_it_with_a_token_that_is_for_that_alone(self, house: House) -> None:
        _, data = await source(house)
        first, _ = await line(house, data)
        loosening_id = await loosened(house, first)

        def withdrawal(*roles: str) -> Awaitable[UUID]:
            anna = house.actor("anna")
            policy, token = narrowed(house.policy, anna.subject, roles), TokenUse(new_id(), None, roles=roles)
            return withdraw_loosening(
                house.session, replace(anna, policy=policy, token=token), loosening_id=loosening_id,
                reason="It can be undone.", at=house.at, new_id=new_id,
            )  # fmt: skip

        with pytest.raises(PermissionRefused):
            await withdrawal("contributor")
        assert await state(house, loosening_id) == "APPROVED"
        assert await classes(house, first) == ["INTERNAL"]
        await withdrawal("maintainer")
        assert await state(house, loosening_id) == "WITHDRAWN"

    async def test_nobody_else_ends_it(self, house: House) -> None:
        _, data = await source(house)
        first, _ = await line(house, data)
        loosening_id = await loosened(house, first)
        with pytest.raises(PermissionRefused):
            await withdrawn(house, loosening_id, by="carl")
        with pytest.raises(NotFound):
            await withdrawn(house, loosening_id, by="quinn")
        assert await state(house, loosening_id) == "APPROVED"
        assert await classes(house, first) == ["INTERNAL"]
