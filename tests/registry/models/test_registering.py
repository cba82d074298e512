import pytest
from sqlalchemy import select

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import Invalid, NotFound
from registry.models.registering import ModelNameTaken, register_model
from registry.models.tables import Model, RiskTier
from tests.registry.house import House


class TestRegisterModel:
    async def test_stores_what_was_said(self, house: House) -> None:
        key = await house.model(tags=["Vision", "dials", "vision"], description="  Reads dials. ")
        model = (await house.session.scalars(select(Model).where(Model.id == key))).one()
        assert (model.team_id, model.name, model.task) == (
            house.teams["maintenance"],
            "gauge-reader",
            "image-classification",
        )
        assert (model.description, model.visibility, model.risk_tier) == ("Reads dials.", "ORGANISATION", "LOW")
        assert (model.tags, model.versions_made, model.created_by) == (["dials", "vision"], 0, house.people["anna"])

    async def test_is_recorded(self, house: House) -> None:
        key = await house.model()
        (event,) = await house.events("registry:model:register")
        assert (event.resource_types, event.resource_ids) == (["Model"], [key])
        assert (event.actor_id, event.team_id) == (house.people["anna"], house.teams["maintenance"])
        assert event.after == {
            "name": "gauge-reader",
            "task": "image-classification",
            "visibility": "ORGANISATION",
            "risk_tier": "LOW",
            "tags": [],
        }

    async def test_one_name_once_in_a_team(self, house: House) -> None:
        await house.model()
        with pytest.raises(ModelNameTaken) as refusal:
            await house.model()
        assert (refusal.value.field, await house.count(Model)) == ("name", 1)

    async def test_another_team_may_use_the_name(self, house: House) -> None:
        await house.model()
        await house.model(by="quinn", team="quality")
        assert await house.count(Model) == 2

    @pytest.mark.parametrize("who", ["vera", "quinn", "mia", "omar"])
    async def test_refused_to_who_has_no_role_for_it(self, house: House, who: str) -> None:
        with pytest.raises(PermissionRefused) as refusal:
            await house.model(by=who)
        assert refusal.value.permission.name == "registry:model:register"
        assert await house.count(Model) == 0
        assert await house.events("registry:model:register") == []

    async def test_unknown_team(self, house: House) -> None:
        with pytest.raises(NotFound) as refusal:
            await house.model(team="nobody")
        assert refusal.value.field == "team"

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"name": "Gauge Reader"}, "name"),
            ({"task": "  "}, "task"),
            ({"description": ""}, "description"),
            ({"description": "nul\0l"}, "description"),
            ({"tags": ["a b"]}, "tags[0]"),
            ({"tags": [f"tag-{number}" for number in range(21)]}, "tags"),
        ],
    )
    async def test_texts_that_do_not_fit(self, house: House, given: dict[str, object], field: str) -> None:
        values = {"name": "gauge-reader", "task": "t", "description": "d", **given}
        with pytest.raises(Invalid) as refusal:
            await register_model(
                house.session,
                house.actor("anna"),
                team="maintenance",
                risk_tier=RiskTier.LOW,
                at=house.at,
                new_id=new_id,
                **values,  # type: ignore[arg-type]  # one of them is wrong on purpose
            )
        assert (refusal.value.field, await house.count(Model)) == (field, 0)
