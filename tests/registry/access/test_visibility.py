"""Which requests and grants exist for callers who are no plain members of a team: auditors, programs, jobs."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.auth.actor import Actor, TokenUse, system_actor
from guildhall.auth.bindings import Binding
from guildhall.auth.narrowing import narrowed
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.clock import new_id
from registry.access.tables import AccessGrant, AccessRequest
from registry.access.visibility import requests_to_decide, visible_access_grants, visible_access_requests
from registry.datasets.stewards import stewarded
from tests.registry.estate import asked, dataset_ref, granted, registered
from tests.registry.house import House


def holder(house: House, kind: ActorKind, *roles: tuple[str, str | None]) -> Actor:
    """Somebody new with roles in teams, or organisation-wide where the team is None."""
    key = new_id()
    bindings = tuple(Binding(role, None if team is None else house.teams[team]) for role, team in roles)
    rules = house.policy.rules
    policy = PolicySnapshot(replace(rules, bindings={**rules.bindings, Subject(kind, key): bindings}))
    return Actor(kind=kind, id=key, name="holder", policy=policy)


async def seen(house: House, table: Any, rule: Any) -> list[UUID]:
    return list(await house.session.scalars(select(table.id).where(rule)))


@pytest.fixture
async def ids(house: House) -> tuple[UUID, UUID, UUID]:
    """A request that waits, the grant of another, and the owning team's own."""
    dataset_id = await registered(house)
    (own_id,) = await house.session.scalars(select(AccessGrant.id))
    grant_id = await granted(house, [dataset_ref(dataset_id)])
    request_id = await asked(house, [dataset_ref(dataset_id)], purpose="research")
    return request_id, grant_id, own_id


class TestEverything:
    @pytest.mark.parametrize("role", ["auditor", "administrator"])
    async def test_for_who_sees_access_organisation_wide(
        self, house: House, ids: tuple[UUID, UUID, UUID], role: str
    ) -> None:
        request_id, grant_id, own_id = ids
        actor = holder(house, ActorKind.USER, (role, None))
        assert request_id in await seen(house, AccessRequest, visible_access_requests(actor))
        assert set(await seen(house, AccessGrant, visible_access_grants(actor))) == {grant_id, own_id}
        assert await seen(house, AccessRequest, requests_to_decide(actor)) == []

    async def test_for_the_platform(self, house: House, ids: tuple[UUID, UUID, UUID]) -> None:
        assert len(await seen(house, AccessRequest, visible_access_requests(system_actor("worker")))) == 2


class TestPrograms:
    async def test_see_what_is_for_their_team(self, house: House, ids: tuple[UUID, UUID, UUID]) -> None:
        request_id, grant_id, _ = ids
        program = holder(house, ActorKind.SERVICE_ACCOUNT, ("contributor", "quality"))
        assert request_id in await seen(house, AccessRequest, visible_access_requests(program))
        assert await seen(house, AccessGrant, visible_access_grants(program)) == [grant_id]

    async def test_see_what_is_about_their_teams_data(self, house: House, ids: tuple[UUID, UUID, UUID]) -> None:
        request_id, grant_id, own_id = ids
        program = holder(house, ActorKind.SERVICE_ACCOUNT, ("contributor", "maintenance"))
        assert request_id in await seen(house, AccessRequest, visible_access_requests(program))
        assert set(await seen(house, AccessGrant, visible_access_grants(program))) == {grant_id, own_id}

    async def test_decide_nothing_and_steward_nothing(self, house: House, ids: tuple[UUID, UUID, UUID]) -> None:
        program = holder(house, ActorKind.SERVICE_ACCOUNT, ("steward", "maintenance"))
        assert await seen(house, AccessRequest, requests_to_decide(program)) == []
        assert await stewarded(house.session, program, [new_id()]) == set()

    async def test_without_a_team_see_nothing(self, house: House, ids: tuple[UUID, UUID, UUID]) -> None:
        program = holder(house, ActorKind.SERVICE_ACCOUNT)
        assert await seen(house, AccessRequest, visible_access_requests(program)) == []
        assert await seen(house, AccessGrant, visible_access_grants(program)) == []


class TestJobs:
    async def test_see_no_requests_and_no_grants(self, house: House, ids: tuple[UUID, UUID, UUID]) -> None:
        job = house.job("quality", "quinn")
        assert await seen(house, AccessRequest, visible_access_requests(job)) == []
        assert await seen(house, AccessGrant, visible_access_grants(job)) == []
        assert await seen(house, AccessRequest, requests_to_decide(job)) == []


class TestALimitedToken:
    """It is for what its roles speak of: also where its holder is a steward or a reviewer by name."""

    @pytest.mark.parametrize(("roles", "sees", "decides"), [
        (None, True, True), (("steward",), True, True), (("contributor",), True, False), (("viewer",), False, False),
    ])  # fmt: skip
    async def test_of_a_steward(
        self, house: House, ids: tuple[UUID, UUID, UUID], roles: tuple[str, ...] | None, sees: bool, decides: bool
    ) -> None:
        request_id, grant_id, own_id = ids
        mia = replace(house.actor("mia"), token=TokenUse(id=new_id(), last_used_at=None, roles=roles))
        assert (request_id in await seen(house, AccessRequest, visible_access_requests(mia))) is sees
        wanted = {grant_id, own_id} if sees else set()
        assert set(await seen(house, AccessGrant, visible_access_grants(mia))) == wanted
        assert await seen(house, AccessRequest, requests_to_decide(mia)) == ([request_id] if decides else [])

    async def test_of_who_asked(self, house: House, ids: tuple[UUID, UUID, UUID]) -> None:
        want = ids[0]
        for roles, sees in ((("contributor",), True), (("viewer",), False)):
            quinn, token = house.actor("quinn"), TokenUse(id=new_id(), last_used_at=None, roles=roles)
            quinn = replace(quinn, policy=narrowed(house.policy, quinn.subject, roles), token=token)
            assert (want in await seen(house, AccessRequest, visible_access_requests(quinn))) is sees
