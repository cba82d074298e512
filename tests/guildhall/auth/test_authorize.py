"""Refusals that say whom to ask, and predicates that let nobody see more than they may."""

from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, column, select, values
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import String, Uuid

from guildhall.auth.actor import Actor, JobClaims, system_actor
from guildhall.auth.authorize import PermissionRefused, require, team_rows, visible_rows
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from tests.people import actor_of, make_team, make_user

FIND = "registry:model:discover"
PUBLISH = "registry:model:publish"


class TestRequire:
    async def test_returns_for_who_may(self, session: AsyncSession) -> None:
        team = await make_team(session, "quality")
        ada = await actor_of(session, await make_user(session, "ada", roles={"maintainer": [team]}))
        require(ada, PUBLISH, team_id=team)

    async def test_refusal_names_permission_role_and_team(self, session: AsyncSession) -> None:
        team = await make_team(session, "quality")
        ada = await actor_of(session, await make_user(session, "ada", roles={"viewer": [team]}))
        model = ResourceRef("Model", UUID(int=5))
        with pytest.raises(PermissionRefused) as refusal:
            require(ada, PUBLISH, team_id=team, resource=model)
        error = refusal.value
        assert error.message == (
            "You may not publish or abandon a version of a model here: this needs registry:model:publish. "
            "Ask an administrator for the role maintainer in the team quality."
        )
        assert error.code == "PERMISSION_REFUSED"
        assert error.permission.name == PUBLISH
        assert error.resources == (model,)
        assert error.team_id == team
        assert error.details == {"permission": PUBLISH}

    async def test_refusal_for_the_whole_organisation(self, session: AsyncSession) -> None:
        ada = await actor_of(session, await make_user(session, "ada"))
        with pytest.raises(PermissionRefused, match=r"for the role allocator for the whole organisation\.$") as refusal:
            require(ada, "marketplace:credits:allocate", team_id=None)
        assert refusal.value.resources == ()

    async def test_refusal_of_what_no_role_allows(self, session: AsyncSession) -> None:
        ada = await actor_of(session, await make_user(session, "ada"))
        with pytest.raises(PermissionRefused, match="for the role with this permission for the whole organisation"):
            require(ada, "scheduler:job:settle", team_id=UUID(int=404))


class TestVisibleRows:
    """Three rows: open, closed in the first team, closed in the second."""

    async def seen(self, session: AsyncSession, predicate: ColumnElement[bool], teams: tuple[UUID, UUID]) -> set[str]:
        rows = values(
            column("name", String), column("visibility", String), column("team_id", Uuid), name="things"
        ).data([("open", "ORGANISATION", teams[1]), ("first", "TEAM", teams[0]), ("second", "TEAM", teams[1])])
        return set(await session.scalars(select(rows.c.name).select_from(rows).where(predicate)))

    def predicate(self, actor: Actor) -> ColumnElement[bool]:
        return visible_rows(
            actor, visibility_column=column("visibility"), team_column=column("team_id", Uuid), permission=FIND
        )

    async def test_by_caller(self, session: AsyncSession) -> None:
        teams = (await make_team(session, "first"), await make_team(session, "second"))
        nobody = await actor_of(session, await make_user(session, "nobody"))
        viewer = await actor_of(session, await make_user(session, "viewer", roles={"viewer": [teams[0]]}))
        auditor = await actor_of(session, await make_user(session, "auditor", roles={"auditor": [None]}))
        job = Actor(
            kind=ActorKind.JOB,
            id=UUID(int=9),
            name="job",
            policy=PolicySnapshot(await load_rules(session)),
            team_id=teams[0],
            job=JobClaims(UUID(int=9), UUID(int=10), teams[0], nobody.id),
        )
        assert await self.seen(session, self.predicate(nobody), teams) == {"open"}
        assert await self.seen(session, self.predicate(viewer), teams) == {"open", "first"}
        assert await self.seen(session, self.predicate(auditor), teams) == {"open", "first", "second"}
        assert await self.seen(session, self.predicate(job), teams) == set()
        assert await self.seen(session, self.predicate(system_actor("worker")), teams) == {"open", "first", "second"}

    async def test_team_rows_know_no_common_ground(self, session: AsyncSession) -> None:
        teams = (await make_team(session, "first"), await make_team(session, "second"))
        viewer = await actor_of(session, await make_user(session, "viewer", roles={"viewer": [teams[0]]}))
        predicate = team_rows(viewer, team_column=column("team_id", Uuid), permission="scheduler:job:read")
        assert await self.seen(session, predicate, teams) == {"first"}
        nobody = await actor_of(session, await make_user(session, "nobody"))
        predicate = team_rows(nobody, team_column=column("team_id", Uuid), permission="scheduler:job:read")
        assert await self.seen(session, predicate, teams) == set()
