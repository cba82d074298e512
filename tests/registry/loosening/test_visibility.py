"""Which loosenings exist for callers who are no plain members of a team: auditors, programs, limited tokens."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.auth.actor import TokenUse
from guildhall.auth.subjects import ActorKind
from guildhall.clock import new_id
from registry.loosening.tables import Loosening, LooseningSource
from registry.loosening.visibility import loosenings_to_decide, visible_loosenings, visible_sources
from tests.registry.access.test_visibility import holder
from tests.registry.house import House
from tests.registry.loosening.loosened import asked, line, source


async def seen(house: House, column: Any, rule: Any) -> list[UUID]:
    return list(await house.session.scalars(select(column).where(rule)))


@pytest.fixture
async def ids(house: House) -> tuple[UUID, UUID]:
    """A loosening that waits for Mia, and the data set that it is about."""
    dataset_id, data = await source(house)
    version_id, _ = await line(house, data)
    return await asked(house, version_id), dataset_id


class TestVisibleLoosenings:
    @pytest.mark.parametrize("role", ["auditor", "administrator"])
    async def test_all_for_who_sees_access_organisation_wide(
        self, house: House, ids: tuple[UUID, UUID], role: str
    ) -> None:
        loosening_id, dataset_id = ids
        actor = holder(house, ActorKind.USER, (role, None))
        assert await seen(house, Loosening.id, visible_loosenings(actor)) == [loosening_id]
        assert await seen(house, LooseningSource.dataset_id, visible_sources(actor)) == [dataset_id]
        assert await seen(house, Loosening.id, loosenings_to_decide(actor)) == []

    async def test_to_programs_what_is_about_their_teams_models_or_data(
        self, house: House, ids: tuple[UUID, UUID]
    ) -> None:
        for role, team, wanted in (
            ("contributor", "maintenance", [ids[0]]),
            ("steward", "maintenance", [ids[0]]),
            ("contributor", "quality", []),
            (None, None, []),
        ):
            roles = () if role is None else ((role, team),)
            program = holder(house, ActorKind.SERVICE_ACCOUNT, *roles)
            found = await seen(house, Loosening.id, visible_loosenings(program))
            assert found == wanted, (role, team)
            assert await seen(house, Loosening.id, loosenings_to_decide(program)) == []

    @pytest.mark.parametrize(("roles", "sees", "decides"), [
        (None, True, True), (("steward",), True, True), (("contributor",), True, False), (("viewer",), False, False),
    ])  # fmt: skip
    async def test_a_limited_token_of_a_steward_sees_what_its_roles_speak_of(
        self, house: House, ids: tuple[UUID, UUID], roles: tuple[str, ...] | None, sees: bool, decides: bool
    ) -> None:
        mia = replace(house.actor("mia"), token=TokenUse(id=new_id(), last_used_at=None, roles=roles))
        assert (ids[0] in await seen(house, Loosening.id, visible_loosenings(mia))) is sees
        assert (ids[0] in await seen(house, Loosening.id, loosenings_to_decide(mia))) is decides
