"""Teams as the configuration says."""

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.tables import Team
from guildhall.changes import Change, ChangeAction
from guildhall.clock import SimulatedClock, new_id
from guildhall.errors import InvalidInput
from guildhall.organisation.teams import TeamSetting, apply_teams
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
            Change("Team", "renamed", UPDATED),
            Change("Team", "kept", UNCHANGED),
            Change("Team", "plain", CREATED),
            Change("Team", "made", CREATED),
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
