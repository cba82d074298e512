from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, NotFound
from registry.models.aliases import VersionNotUsable, VersionOfOtherModel, set_alias
from registry.models.tables import Alias, AliasChange
from tests.registry.house import House


async def point(
    house: House,
    model_id: UUID,
    version_id: UUID,
    *,
    by: str = "anna",
    name: str = "champion",
    protected: bool | None = None,
) -> UUID:
    return await set_alias(
        house.session,
        house.actor(by),
        model_id=model_id,
        name=name,
        model_version_id=version_id,
        reason="best so far",
        protected=protected,
        at=house.at,
        new_id=new_id,
    )


class TestSetAlias:
    async def test_makes_then_moves_and_remembers(self, house: House) -> None:
        model_id = await house.model()
        first, second = await house.published(model_id), await house.published(model_id)
        alias_id = await point(house, model_id, first)
        assert await point(house, model_id, second) == alias_id
        alias = (await house.session.scalars(select(Alias))).one()
        assert (alias.name, alias.model_version_id, alias.protected) == ("champion", second, False)
        changes = (await house.session.scalars(select(AliasChange).order_by(AliasChange.id))).all()
        assert [
            (change.from_version_id, change.to_version_id, change.reason, change.changed_by) for change in changes
        ] == [
            (None, first, "best so far", house.people["anna"]),
            (first, second, "best so far", house.people["anna"]),
        ]
        assert [event.action for event in await house.events("registry:model:alias")] == ["registry:model:alias"] * 2

    async def test_setting_it_again_is_no_change(self, house: House) -> None:
        model_id = await house.model()
        version_id = await house.published(model_id)
        await point(house, model_id, version_id)
        await point(house, model_id, version_id)
        assert await house.count(AliasChange) == 1

    async def test_a_version_that_is_ready_may_have_a_free_alias(self, house: House) -> None:
        model_id = await house.model()
        version_id = await house.version(model_id)
        await point(house, model_id, version_id, by="carl", name="candidate")
        assert await house.count(Alias) == 1

    async def test_a_protected_one_points_only_at_what_is_published(self, house: House) -> None:
        model_id = await house.model()
        version_id = await house.version(model_id)
        with pytest.raises(VersionNotUsable):
            await point(house, model_id, version_id, protected=True)

    async def test_moving_a_protected_one_takes_a_maintainer(self, house: House) -> None:
        model_id = await house.model()
        first, second = await house.published(model_id), await house.published(model_id)
        await point(house, model_id, first, protected=True)
        with pytest.raises(PermissionRefused) as refusal:
            await point(house, model_id, second, by="carl")
        assert refusal.value.permission.name == "registry:model:protect-alias"
        alias = (await house.session.scalars(select(Alias))).one()
        assert (alias.model_version_id, alias.protected, await house.count(AliasChange)) == (first, True, 1)
        await point(house, model_id, second)
        await point(house, model_id, second, protected=False)
        assert [
            alias.protected for alias in await house.session.scalars(select(AliasChange).order_by(AliasChange.id))
        ] == [
            True,
            True,
            False,
        ]

    async def test_a_draft_is_not_usable(self, house: House) -> None:
        model_id = await house.model()
        version_id = await house.version(model_id, ready=False)
        with pytest.raises(VersionNotUsable):
            await point(house, model_id, version_id)
        assert await house.count(Alias) == 0

    async def test_a_version_of_another_model(self, house: House) -> None:
        model_id, other = await house.model(), await house.published(await house.model("other"))
        with pytest.raises(VersionOfOtherModel):
            await point(house, model_id, other)
        assert await house.count(Alias) == 0

    @pytest.mark.parametrize(
        ("who", "error"), [("vera", PermissionRefused), ("quinn", PermissionRefused), ("omar", NotFound)]
    )
    async def test_refused(self, house: House, who: str, error: type[GuildhallError]) -> None:
        model_id = await house.model()
        version_id = await house.published(model_id)
        with pytest.raises(error):
            await point(house, model_id, version_id, by=who)
        assert (await house.count(Alias), await house.count(AliasChange)) == (0, 0)
