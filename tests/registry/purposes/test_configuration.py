"""The list of purposes as data: made, described again, left alone; never removed."""

import pytest

from guildhall.auth.actor import system_actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.changes import Change, ChangeAction, Difference
from guildhall.clock import new_id
from guildhall.errors import GuildhallError
from registry.purposes.configuration import PurposeSpec, apply_purposes
from registry.purposes.tables import Purpose
from tests.registry.house import House


async def apply(house: House, *items: tuple[str, str]) -> list[Change]:
    specs = [PurposeSpec(name=name, description=description) for name, description in items]
    return await apply_purposes(house.session, system_actor("test"), specs, at=house.at, new_id=new_id)


class TestApplyPurposes:
    async def test_each_change_is_told_and_recorded(self, house: House) -> None:
        assert await apply(house, ("quality", "Make it good"), ("research", "")) == [
            Change("Purpose", "quality", ChangeAction.CREATED, (Difference("description", None, "Make it good"),)),
            Change("Purpose", "research", ChangeAction.CREATED),
        ]
        assert await apply(house, ("research", "Find out"), ("quality", "Make it good"), ("sales", "Sell")) == [
            Change("Purpose", "research", ChangeAction.UPDATED, (Difference("description", None, "Find out"),)),
            Change("Purpose", "quality", ChangeAction.UNCHANGED),
            Change("Purpose", "sales", ChangeAction.CREATED, (Difference("description", None, "Sell"),)),
        ]
        events = await house.events("registry:purpose:change")
        assert [(event.before, event.after) for event in events] == [
            (None, {"name": "quality", "description": "Make it good"}),
            (None, {"name": "research", "description": ""}),
            ({"name": "research", "description": ""}, {"name": "research", "description": "Find out"}),
            (None, {"name": "sales", "description": "Sell"}),
        ]

    async def test_nothing_named_is_nothing_done(self, house: House) -> None:
        assert await apply(house) == []

    @pytest.mark.parametrize(
        ("item", "field"), [(("Not A Slug", ""), "purposes[0].name"), (("ok", "x" * 2001), "purposes[0].description")]
    )
    async def test_what_cannot_be(self, house: House, item: tuple[str, str], field: str) -> None:
        with pytest.raises(GuildhallError) as caught:
            await apply(house, item)
        assert caught.value.field == field

    async def test_who_may_not(self, house: House) -> None:
        spec = PurposeSpec(name="sales", description="")
        with pytest.raises(PermissionRefused):
            await apply_purposes(house.session, house.actor("anna"), [spec], at=house.at, new_id=new_id)
        assert await house.session.get(Purpose, "sales") is None
