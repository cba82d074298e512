"""Teams as the configuration says."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.tables import Role, RolePermission, Team, User
from guildhall.changes import Change, ChangeAction, Difference
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError, InvalidInput, NotFound
from guildhall.organisation.giving import MoreThanHeld
from guildhall.organisation.teams import Below, InvalidPlace, TeamSetting, apply_teams, move_team
from tests.people import actor_of, make_team, make_user

CREATED, UPDATED, UNCHANGED = ChangeAction.CREATED, ChangeAction.UPDATED, ChangeAction.UNCHANGED


async def titles(session: AsyncSession) -> dict[str, str]:
    teams = await session.scalars(select(Team).execution_options(populate_existing=True))
    return {team.name: team.title for team in teams}


async def recorded(session: AsyncSession, action: str) -> list[tuple[Any, Any, list[str]]]:
    events = await session.scalars(select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.id))
    return [(event.before, event.after, event.resource_types) for event in events]


class TestApplyTeams:
    async def test_what_is_named_is_made_or_changed_and_nothing_else(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        for name in ("kept", "renamed", "other"):
            await make_team(session, name)
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        items = [
            TeamSetting(name="renamed", title="  New title "),
            TeamSetting(name="kept", title="Kept"),
            TeamSetting(name="plain"),
            TeamSetting(name="made", title="Made"),
        ]
        changes = await apply_teams(session, admin, items, at=clock.now(), new_id=new_id)
        assert changes == [
            Change("Team", "renamed", UPDATED, (Difference("title", "Renamed", "New title"),)),
            Change("Team", "kept", UNCHANGED),
            Change("Team", "plain", CREATED, (Difference("title", None, "plain"),)),
            Change("Team", "made", CREATED, (Difference("title", None, "Made"),)),
        ]
        assert await titles(session) == {
            "kept": "Kept", "renamed": "New title", "other": "Other", "plain": "plain", "made": "Made",
        }  # fmt: skip
        ((before, after, types),) = await recorded(session, "guildhall:team:change")
        assert before == {"renamed": {"title": "Renamed"}, "plain": None, "made": None}
        assert after == {"renamed": {"title": "New title"}, "plain": {"title": "plain"}, "made": {"title": "Made"}}
        assert types == ["Team"] * 3

    async def test_applied_again_it_changes_and_records_nothing(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        items = [TeamSetting(name="quality", title="Quality")]
        await apply_teams(session, admin, items, at=clock.now(), new_id=new_id)
        again = await apply_teams(session, admin, items, at=clock.now(), new_id=new_id)
        assert again == [Change("Team", "quality", UNCHANGED)]
        assert len(await recorded(session, "guildhall:team:change")) == 1

    async def test_nothing_asked_needs_no_permission(self, session: AsyncSession, clock: SimulatedClock) -> None:
        nobody = await actor_of(session, await make_user(session, "nobody"))
        assert await apply_teams(session, nobody, [], at=clock.now(), new_id=new_id) == []

    async def test_everything_that_is_wrong_is_told_at_once(self, session: AsyncSession, clock: SimulatedClock) -> None:
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        items = [
            TeamSetting(name="Quality!"),
            TeamSetting(name="fine", title=" "),
            TeamSetting(name="long", title="x" * 201),
            TeamSetting(name="null", title="a\0b"),
            TeamSetting(name="fine"),
        ]
        with pytest.raises(InvalidInput) as refusal:
            await apply_teams(session, admin, items, at=clock.now(), new_id=new_id)
        assert [(problem.code, problem.field) for problem in refusal.value.problems] == [
            ("INVALID_SLUG", "teams.0.name"),
            ("INVALID_TEXT", "teams.1.title"),
            ("INVALID_TEXT", "teams.2.title"),
            ("INVALID_TEXT", "teams.3.title"),
            ("NAMED_TWICE", "teams.4.name"),
        ]
        assert await titles(session) == {}

    async def test_others_may_not(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team = await make_team(session, "quality")
        local = await actor_of(session, await make_user(session, "local", roles={"administrator": [team]}))
        with pytest.raises(PermissionRefused):
            await apply_teams(
                session, local, [TeamSetting(name="quality", title="Mine")], at=clock.now(), new_id=new_id
            )
        assert await titles(session) == {"quality": "Quality"}
        assert await recorded(session, "guildhall:team:change") == []


async def places(session: AsyncSession) -> dict[str, str | None]:
    """Which team each stands below."""
    teams = (await session.scalars(select(Team).execution_options(populate_existing=True))).all()
    names = {team.id: team.name for team in teams}
    return {team.name: None if team.parent_id is None else names[team.parent_id] for team in teams}


class TestPlaces:
    async def apply(self, session: AsyncSession, clock: SimulatedClock, *items: TeamSetting) -> list[Change]:
        found = await session.scalar(select(User.id).where(User.email == "admin@example.org"))
        admin = await actor_of(session, found or await make_user(session, "admin", roles={"administrator": [None]}))
        return await apply_teams(session, admin, items, at=clock.now(), new_id=new_id)

    async def test_new_teams_stand_where_they_are_to_and_those_without_a_word_stay(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        await self.apply(session, clock, TeamSetting(name="low", below=Below("high")), TeamSetting(name="high"))
        assert await places(session) == {"low": "high", "high": None}
        again = await self.apply(session, clock, TeamSetting(name="low"), TeamSetting(name="high", below=Below(None)))
        assert [change.action for change in again] == [UNCHANGED, UNCHANGED]
        assert len(await recorded(session, "guildhall:team:change")) == 2
        (change,) = await self.apply(session, clock, TeamSetting(name="low", title="Low", below=Below(None)))
        assert change == Change(
            "Team", "low", UPDATED, (Difference("title", "low", "Low"), Difference("parent", "high", None))
        )
        assert await places(session) == {"low": None, "high": None}
        moves = [event for event in await recorded(session, "guildhall:team:change") if "below" in (event[0] or {})]
        assert [(before, after) for before, after, _ in moves] == [
            ({"below": []}, {"below": ["high"]}), ({"below": ["high"]}, {"below": []}),
        ]  # fmt: skip

    async def test_two_change_places(self, session: AsyncSession, clock: SimulatedClock) -> None:
        await self.apply(session, clock, TeamSetting(name="one"), TeamSetting(name="two", below=Below("one")))
        turned = [TeamSetting(name="one", below=Below("two")), TeamSetting(name="two", below=Below(None))]
        changes = await self.apply(session, clock, *turned)
        assert [each.differences for each in changes] == [
            (Difference("parent", None, "two"),), (Difference("parent", "one", None),),
        ]  # fmt: skip
        assert await places(session) == {"one": "two", "two": None}

    async def test_no_circle_and_nothing_below_what_is_not_there(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        await self.apply(session, clock, TeamSetting(name="one"), TeamSetting(name="two"))
        turning = [TeamSetting(name="one", below=Below("two")), TeamSetting(name="two", below=Below("one"))]
        with pytest.raises(InvalidPlace, match="below itself") as circle:
            async with session.begin_nested():
                await self.apply(session, clock, *turning)
        assert circle.value.field in {"teams.0.parent", "teams.1.parent"}
        nowhere = [TeamSetting(name="one", below=Below("gone")), TeamSetting(name="two", below=Below("lost"))]
        with pytest.raises(InvalidInput) as unknown:
            await self.apply(session, clock, *nowhere)
        assert [(problem.code, problem.field) for problem in unknown.value.problems] == [
            ("UNKNOWN_TEAM", "teams.0.parent"), ("UNKNOWN_TEAM", "teams.1.parent"),
        ]  # fmt: skip
        assert await places(session) == {"one": None, "two": None}

    async def test_nobody_gives_more_by_it_than_they_hold(self, session: AsyncSession, clock: SimulatedClock) -> None:
        over = await make_team(session, "over")
        await make_team(session, "team")
        await make_user(session, "lead", roles={"maintainer": [over]})
        session.add(Role(name="planner", sentence="Plans.", custom=True))
        await session.flush()
        for permission in ("guildhall:team:change", "guildhall:role:bind"):
            session.add(RolePermission(role="planner", permission=permission, effect="allow"))
        await session.flush()
        planner = await actor_of(session, await make_user(session, "pia", roles={"planner": [None]}))
        items = [TeamSetting(name="team", below=Below("over"))]
        with pytest.raises(MoreThanHeld):
            async with session.begin_nested():
                await apply_teams(session, planner, items, at=clock.now(), new_id=new_id)
        assert await places(session) == {"over": None, "team": None}
        (change,) = await apply_teams(
            session, planner, [TeamSetting(name="team", title="Crew", below=Below(None))], at=clock.now(), new_id=new_id
        )
        assert change.differences == (Difference("title", "Team", "Crew"),)


class TestMoveTeam:
    async def tree(self, session: AsyncSession, *names: str) -> list[UUID]:
        """Each below the one before."""
        keys: list[UUID] = []
        for name in names:
            keys.append(await make_team(session, name))
            if len(keys) > 1:
                await session.execute(update(Team).where(Team.id == keys[-1]).values(parent_id=keys[-2]))
        return keys

    async def test_it_moves_with_what_is_below_and_is_recorded(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        over, team, below = await self.tree(session, "over", "team", "below")
        other = await make_team(session, "other")
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        when: dict[str, Any] = {"at": clock.now(), "new_id": new_id}
        await move_team(session, admin, team_id=team, parent_id=other, **when)
        await move_team(session, admin, team_id=team, parent_id=other, **when)
        rules = await load_rules(session)
        assert (list(rules.line(below)), list(rules.line(over))) == ([below, team, other], [over])
        await move_team(session, admin, team_id=team, parent_id=None, **when)
        assert await recorded(session, "guildhall:team:change") == [
            ({"below": ["over"]}, {"below": ["other"]}, ["Team", "Team"]),
            ({"below": ["other"]}, {"below": []}, ["Team"]),
        ]

    async def test_no_circle_and_no_more_than_eight_levels(self, session: AsyncSession, clock: SimulatedClock) -> None:
        deep = await self.tree(session, *(f"level-{number}" for number in range(1, 8)))
        pair = await self.tree(session, "two-over", "two-below")
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        for team, parent, want in (
            (deep[0], deep[3], "below itself"), (deep[0], deep[0], "below itself"), (pair[0], deep[6], "8 levels"),
        ):  # fmt: skip
            with pytest.raises(InvalidPlace, match=want):
                async with session.begin_nested():
                    await move_team(session, admin, team_id=team, parent_id=parent, at=clock.now(), new_id=new_id)
        await move_team(session, admin, team_id=pair[0], parent_id=deep[5], at=clock.now(), new_id=new_id)
        await session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))

    async def test_it_takes_the_right_and_teams_that_are_there(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        over, team = await self.tree(session, "over", "team")
        lead = await actor_of(session, await make_user(session, "lead", roles={"administrator": [team, over]}))
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        when: dict[str, Any] = {"at": clock.now(), "new_id": new_id}
        with pytest.raises(PermissionRefused):
            await move_team(session, lead, team_id=team, parent_id=None, **when)
        for moved, parent in ((new_id(), None), (team, new_id())):
            with pytest.raises(NotFound):
                await move_team(session, admin, team_id=moved, parent_id=parent, **when)
        assert list((await load_rules(session)).line(team)) == [team, over]

    async def test_who_gives_no_roles_moves_none(self, session: AsyncSession, clock: SimulatedClock) -> None:
        over, team = await self.tree(session, "over", "team")
        mine = await make_team(session, "mine")
        session.add(Role(name="planner", sentence="Plans.", custom=True))
        await session.flush()
        session.add(RolePermission(role="planner", permission="guildhall:team:change", effect="allow"))
        await session.flush()
        planner = await make_user(session, "pia", roles={"planner": [None], "contributor": [mine]})
        with pytest.raises(PermissionRefused, match="guildhall:role:bind"):
            await move_team(
                session, await actor_of(session, planner), team_id=team, parent_id=mine, at=clock.now(), new_id=new_id
            )
        assert list((await load_rules(session)).line(team)) == [team, over]

    @pytest.mark.parametrize("place", ["itself", "its own child"])
    async def test_the_database_keeps_the_tree_too(self, fresh_database: Database, place: str) -> None:
        async with fresh_database.transaction() as session:
            over, team = await self.tree(session, "over", "team")

        async def attempt() -> None:
            async with fresh_database.transaction() as session:
                parent = over if place == "itself" else team
                await session.execute(update(Team).where(Team.id == over).values(parent_id=parent))

        with pytest.raises((DBAPIError, GuildhallError), match="below itself"):
            await attempt()
