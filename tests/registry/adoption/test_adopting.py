from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, NotFound
from registry.adoption.adopting import (
    AdoptionEnded,
    AlreadyAdopted,
    NotAdoptable,
    adopt_model,
    end_adoption,
    visible_adoptions,
)
from registry.adoption.tables import Adoption
from registry.datasets.tables import Visibility
from registry.models.publication import withdraw_publication
from tests.registry.house import House


async def adopt(
    house: House, version_id: UUID, *, by: str = "paul", team: str = "quality", purpose: str = "line 3"
) -> UUID:
    return await adopt_model(
        house.session,
        house.actor(by),
        model_version_id=version_id,
        team=team,
        purpose=purpose,
        at=house.at,
        new_id=new_id,
    )


async def rows(house: House) -> list[Adoption]:
    statement = select(Adoption).order_by(Adoption.id).execution_options(populate_existing=True)
    return list(await house.session.scalars(statement))


class TestAdoptModel:
    async def test_says_who_relies_on_what(self, house: House) -> None:
        model_id = await house.model()
        version_id = await house.published(model_id)
        adoption_id = await adopt(house, version_id, purpose=" Reading line 3. ")
        (row,) = await rows(house)
        assert (row.id, row.model_id, row.model_version_id, row.team_id) == (
            adoption_id,
            model_id,
            version_id,
            house.teams["quality"],
        )
        assert (row.purpose, row.adopted_by, row.since, row.ended_at) == (
            "Reading line 3.",
            house.people["paul"],
            house.at,
            None,
        )
        (event,) = await house.events("registry:model:adopt")
        assert event.resource_types == ["Adoption", "ModelVersion", "Model"]
        assert (event.resource_ids, event.team_id) == ([adoption_id, version_id, model_id], house.teams["quality"])

    async def test_once_for_a_team(self, house: House) -> None:
        version_id = await house.published(await house.model())
        await adopt(house, version_id)
        with pytest.raises(AlreadyAdopted):
            await adopt(house, version_id)
        assert await house.count(Adoption) == 1

    async def test_moving_on_ends_the_former(self, house: House) -> None:
        model_id = await house.model()
        first, second = await house.published(model_id), await house.published(model_id)
        await adopt(house, first)
        await adopt(house, second)
        assert [(row.model_version_id, row.ended_at, row.ended_by) for row in await rows(house)] == [
            (first, house.at, house.people["paul"]),
            (second, None, None),
        ]

    async def test_another_team_adopts_as_well(self, house: House) -> None:
        version_id = await house.published(await house.model())
        await adopt(house, version_id)
        await adopt(house, version_id, by="carl", team="maintenance")
        assert await house.count(Adoption) == 2

    async def test_only_what_is_published(self, house: House) -> None:
        version_id = await house.version(await house.model())
        with pytest.raises(NotAdoptable):
            await adopt(house, version_id)
        assert await house.count(Adoption) == 0

    async def test_not_what_was_withdrawn(self, house: House) -> None:
        version_id = await house.published(await house.model())
        await withdraw_publication(
            house.session, house.actor("anna"), model_version_id=version_id, reason="x", at=house.at, new_id=new_id
        )
        with pytest.raises(NotAdoptable):
            await adopt(house, version_id)

    @pytest.mark.parametrize(
        ("by", "team", "error"),
        [
            ("paul", "maintenance", PermissionRefused),
            ("vera", "maintenance", PermissionRefused),
            ("mia", "quality", PermissionRefused),
            ("paul", "nobody", NotFound),
            ("omar", "quality", NotFound),
        ],
    )
    async def test_refused(self, house: House, by: str, team: str, error: type[GuildhallError]) -> None:
        version_id = await house.published(await house.model())
        with pytest.raises(error):
            await adopt(house, version_id, by=by, team=team)
        assert (await house.count(Adoption), await house.events("registry:model:adopt")) == (0, [])

    async def test_hidden_is_not_there(self, house: House) -> None:
        version_id = await house.published(await house.model(visibility=Visibility.TEAM))
        with pytest.raises(NotFound) as refusal:
            await adopt(house, version_id)
        assert refusal.value.field == "modelVersionId"


class TestEndAdoption:
    async def test_ends_and_can_begin_again(self, house: House) -> None:
        version_id = await house.published(await house.model())
        adoption_id = await adopt(house, version_id)
        await end_adoption(
            house.session, house.actor("paul"), adoption_id=adoption_id, at=house.later(days=1), new_id=new_id
        )
        (row,) = await rows(house)
        assert (row.ended_at, row.ended_by) == (house.later(days=1), house.people["paul"])
        with pytest.raises(AdoptionEnded):
            await end_adoption(
                house.session, house.actor("paul"), adoption_id=adoption_id, at=house.later(days=2), new_id=new_id
            )
        await adopt(house, version_id)
        assert await house.count(Adoption) == 2

    async def test_refused_to_another_team(self, house: House) -> None:
        adoption_id = await adopt(house, await house.published(await house.model()))
        with pytest.raises(PermissionRefused):
            await end_adoption(house.session, house.actor("carl"), adoption_id=adoption_id, at=house.at, new_id=new_id)
        assert [row.ended_at for row in await rows(house)] == [None]

    async def test_unknown_or_hidden(self, house: House) -> None:
        model_id = await house.model(visibility=Visibility.TEAM)
        adoption_id = await adopt(house, await house.published(model_id), by="carl", team="maintenance")
        for who, key in (("paul", adoption_id), ("carl", new_id())):
            with pytest.raises(NotFound):
                await end_adoption(house.session, house.actor(who), adoption_id=key, at=house.at, new_id=new_id)


class TestVisibleAdoptions:
    async def test_as_their_models(self, house: House) -> None:
        shown = await adopt(house, await house.published(await house.model("shown")))
        hidden_model = await house.published(await house.model("hidden", visibility=Visibility.TEAM))
        hidden = await adopt(house, hidden_model, by="carl", team="maintenance")
        seen = {
            who: set(await house.session.scalars(select(Adoption.id).where(visible_adoptions(house.actor(who)))))
            for who in ("vera", "paul", "omar")
        }
        assert seen == {"vera": {shown, hidden}, "paul": {shown}, "omar": set()}
