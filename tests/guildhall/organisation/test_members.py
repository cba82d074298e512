"""People and their roles as the configuration says, and an administrator always remains."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent, AuditPersonal
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.tables import RoleBinding, Team, User
from guildhall.changes import Change, ChangeAction, Difference
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError, InvalidInput
from guildhall.organisation.bindings import LastAdministrator
from guildhall.organisation.members import MemberSetting, apply_members
from tests.people import actor_of, make_team, make_user

CREATED, UPDATED, UNCHANGED = ChangeAction.CREATED, ChangeAction.UPDATED, ChangeAction.UNCHANGED


def given(role: str) -> Difference:
    return Difference("role", None, role)


def taken(role: str) -> Difference:
    return Difference("role", role, None)


async def held(session: AsyncSession) -> set[tuple[str, str | None, str]]:
    """Who holds which role where: (address, team, role)."""
    rows = await session.execute(
        select(User.email, Team.name, RoleBinding.role)
        .select_from(RoleBinding)
        .join(User, User.id == RoleBinding.user_id)
        .outerjoin(Team, Team.id == RoleBinding.team_id)
    )
    return {(email, team, role) for email, team, role in rows}


async def names(session: AsyncSession) -> dict[str, str]:
    return {user.email: user.name for user in await session.scalars(select(User))}


async def said_of_persons(session: AsyncSession) -> list[Any]:
    """What can be erased of it: names and addresses."""
    said = await session.scalars(select(AuditPersonal.content).where(AuditPersonal.content.has_key("email")))
    return sorted(said, key=lambda content: str(content["email"]) if content else "")


async def recorded(session: AsyncSession, action: str) -> list[tuple[Any, Any]]:
    events = await session.scalars(select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.id))
    return [(event.before, event.after) for event in events]


class TestApplyMembers:
    async def test_people_are_added_with_their_roles(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team = await make_team(session, "quality")
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        items = [
            MemberSetting(email="Ada@Example.org", name=" Ada ", team="quality", roles=["contributor", "steward"]),
            MemberSetting(email="bea@example.org", team=None, roles=["auditor"]),
            MemberSetting(email="ada@example.org", team=None, roles=["viewer"]),
        ]
        changes = await apply_members(session, admin, items, at=clock.now(), new_id=new_id)
        assert changes == [
            Change("User", "ada@example.org", CREATED, (Difference("name", None, "Ada"),)),
            Change("User", "bea@example.org", CREATED, (Difference("name", None, "bea"),)),
            Change("Membership", "ada@example.org in quality", CREATED, (given("contributor"), given("steward"))),
            Change("Membership", "bea@example.org in the organisation", CREATED, (given("auditor"),)),
            Change("Membership", "ada@example.org in the organisation", CREATED, (given("viewer"),)),
        ]
        assert await held(session) == {
            ("ada@example.org", "quality", "contributor"),
            ("ada@example.org", "quality", "steward"),
            ("ada@example.org", None, "viewer"),
            ("bea@example.org", None, "auditor"),
            ("admin@example.org", None, "administrator"),
        }
        assert await names(session) == {
            "ada@example.org": "Ada", "bea@example.org": "bea", "admin@example.org": "Admin",
        }  # fmt: skip
        assert await recorded(session, "guildhall:user:change") == [(None, None)]
        assert await said_of_persons(session) == [
            {"email": "ada@example.org", "before": None, "after": {"name": "Ada"}},
            {"email": "bea@example.org", "before": None, "after": {"name": "bea"}},
        ]
        assert await recorded(session, "guildhall:role:bind") == [
            ({"roles": []}, {"roles": ["contributor", "steward"]}),
            ({"roles": []}, {"roles": ["auditor"]}),
            ({"roles": []}, {"roles": ["viewer"]}),
        ]
        bound = (await session.scalars(select(RoleBinding).where(RoleBinding.role == "steward"))).one()
        assert (bound.team_id, bound.created_by, bound.created_at) == (team, admin.id, clock.now())
        event = (
            await session.scalars(select(AuditEvent).where(AuditEvent.team_id == team).order_by(AuditEvent.id))
        ).one()
        assert event.resource_types == ["User", "Team"]

    async def test_roles_become_exactly_those_that_are_listed(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        quality, other = await make_team(session, "quality"), await make_team(session, "other")
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        await make_user(session, "ada", roles={"viewer": [quality, other], "steward": [quality]})
        items = [MemberSetting(email="ada@example.org", team="quality", roles=["viewer", "maintainer"])]
        changes = await apply_members(session, admin, items, at=clock.now(), new_id=new_id)
        exchanged = (taken("steward"), given("maintainer"))
        assert changes == [Change("Membership", "ada@example.org in quality", UPDATED, exchanged)]
        assert {entry for entry in await held(session) if entry[0].startswith("ada")} == {
            ("ada@example.org", "quality", "viewer"),
            ("ada@example.org", "quality", "maintainer"),
            ("ada@example.org", "other", "viewer"),
        }
        assert await recorded(session, "guildhall:role:bind") == [
            ({"roles": ["steward", "viewer"]}, {"roles": ["maintainer", "viewer"]})
        ]

    async def test_no_roles_end_a_membership(self, session: AsyncSession, clock: SimulatedClock) -> None:
        quality = await make_team(session, "quality")
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        await make_user(session, "ada", roles={"viewer": [quality], "steward": [quality]})
        items = [MemberSetting(email="ada@example.org", team="quality", roles=[])]
        changes = await apply_members(session, admin, items, at=clock.now(), new_id=new_id)
        gone = (taken("steward"), taken("viewer"))
        assert changes == [Change("Membership", "ada@example.org in quality", ChangeAction.REMOVED, gone)]
        assert await held(session) == {("admin@example.org", None, "administrator")}

    async def test_a_role_held_for_a_time_becomes_one_for_good(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        """A change like any other: told, and recorded."""
        quality = await make_team(session, "quality")
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        await make_user(session, "ada", roles={"viewer": [quality]})
        until = datetime(2030, 1, 1, tzinfo=UTC)
        await session.execute(update(RoleBinding).where(RoleBinding.role == "viewer").values(ends_at=until))
        items = [MemberSetting(email="ada@example.org", team="quality", roles=["viewer"])]
        changes = await apply_members(session, admin, items, at=clock.now(), new_id=new_id)
        timed = "viewer to 2030-01-01T00:00:00Z"
        assert changes == [Change("Membership", "ada@example.org in quality", UPDATED, (taken(timed), given("viewer")))]
        assert await recorded(session, "guildhall:role:bind") == [({"roles": [timed]}, {"roles": ["viewer"]})]

    async def test_applied_again_it_changes_and_records_nothing(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        await make_team(session, "quality")
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        items = [MemberSetting(email="ada@example.org", name="Ada", team="quality", roles=["viewer"])]
        await apply_members(session, admin, items, at=clock.now(), new_id=new_id)
        again = await apply_members(session, admin, items, at=clock.now(), new_id=new_id)
        assert again == [Change("Membership", "ada@example.org in quality", UNCHANGED)]
        assert len(await recorded(session, "guildhall:role:bind")) == 1
        assert len(await recorded(session, "guildhall:user:change")) == 1

    async def test_a_person_can_be_renamed(self, session: AsyncSession, clock: SimulatedClock) -> None:
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        await make_user(session, "ada")
        items = [MemberSetting(email="ada@example.org", name="Countess", team=None, roles=[])]
        changes = await apply_members(session, admin, items, at=clock.now(), new_id=new_id)
        assert changes == [
            Change("User", "ada@example.org", UPDATED, (Difference("name", "Ada", "Countess"),)),
            Change("Membership", "ada@example.org in the organisation", UNCHANGED),
        ]
        assert (await names(session))["ada@example.org"] == "Countess"
        assert await said_of_persons(session) == [
            {"email": "ada@example.org", "before": {"name": "Ada"}, "after": {"name": "Countess"}}
        ]

    async def test_nothing_asked_needs_no_permission(self, session: AsyncSession, clock: SimulatedClock) -> None:
        nobody = await actor_of(session, await make_user(session, "nobody"))
        assert await apply_members(session, nobody, [], at=clock.now(), new_id=new_id) == []

    async def test_everything_that_is_wrong_is_told_at_once(self, session: AsyncSession, clock: SimulatedClock) -> None:
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        items = [
            MemberSetting(email="ada", team="nowhere", roles=["emperor", "member"]),
            MemberSetting(email="x" * 250 + "@e.org", name=" ", team=None, roles=[]),
            MemberSetting(email="a\0@e.org", team=None, roles=[]),
            MemberSetting(email="Bea@example.org", team=None, roles=["viewer"]),
            MemberSetting(email="bea@example.org", team=None, roles=[]),
        ]
        with pytest.raises(InvalidInput) as refusal:
            await apply_members(session, admin, items, at=clock.now(), new_id=new_id)
        assert [(problem.code, problem.field) for problem in refusal.value.problems] == [
            ("INVALID_EMAIL", "members.0.email"),
            ("UNKNOWN_TEAM", "members.0.team"),
            ("UNKNOWN_ROLE", "members.0.roles"),
            ("UNKNOWN_ROLE", "members.0.roles"),
            ("INVALID_EMAIL", "members.1.email"),
            ("INVALID_TEXT", "members.1.name"),
            ("INVALID_EMAIL", "members.2.email"),
            ("NAMED_TWICE", "members.4.email"),
        ]
        assert await names(session) == {"admin@example.org": "Admin"}


class TestPermission:
    async def refused(self, session: AsyncSession, user_id: UUID, item: MemberSetting, clock: SimulatedClock) -> None:
        before = (await held(session), await names(session))
        actor = await actor_of(session, user_id)
        savepoint = await session.begin_nested()
        with pytest.raises(PermissionRefused):
            await apply_members(session, actor, [item], at=clock.now(), new_id=new_id)
        await savepoint.rollback()
        assert (await held(session), await names(session)) == before
        assert await recorded(session, "guildhall:role:bind") == []

    async def test_an_administrator_of_a_team_binds_roles_there_alone(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        quality, _ = await make_team(session, "quality"), await make_team(session, "other")
        local = await make_user(session, "local", roles={"administrator": [quality]})
        await make_user(session, "admin", roles={"administrator": [None]})
        await make_user(session, "ada")
        for team in ("other", None):
            item = MemberSetting(email="ada@example.org", team=team, roles=["viewer"])
            await self.refused(session, local, item, clock)
        inside = [MemberSetting(email="ada@example.org", team="quality", roles=["viewer"])]
        await apply_members(session, await actor_of(session, local), inside, at=clock.now(), new_id=new_id)
        assert ("ada@example.org", "quality", "viewer") in await held(session)

    async def test_an_administrator_of_a_team_adds_nobody_to_the_organisation(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        quality = await make_team(session, "quality")
        local = await make_user(session, "local", roles={"administrator": [quality]})
        item = MemberSetting(email="new@example.org", team="quality", roles=["viewer"])
        await self.refused(session, local, item, clock)

    @pytest.mark.parametrize("role", ["viewer", "maintainer", "steward", "allocator", "auditor"])
    async def test_nobody_gives_themself_a_role(self, session: AsyncSession, clock: SimulatedClock, role: str) -> None:
        quality = await make_team(session, "quality")
        user = await make_user(session, "ada", roles={role: [None, quality]})
        for team in ("quality", None):
            item = MemberSetting(email="ada@example.org", team=team, roles=[role, "administrator"])
            await self.refused(session, user, item, clock)


class TestLastAdministrator:
    async def test_the_last_one_cannot_remove_themself(self, session: AsyncSession, clock: SimulatedClock) -> None:
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        savepoint = await session.begin_nested()
        with pytest.raises(LastAdministrator, match="appoint another first") as refusal:
            await apply_members(
                session, admin, [MemberSetting(email="admin@example.org", team=None, roles=["viewer"])],
                at=clock.now(), new_id=new_id,
            )  # fmt: skip
        await savepoint.rollback()
        assert (refusal.value.code, refusal.value.field) == ("LAST_ADMINISTRATOR", "members")
        assert await held(session) == {("admin@example.org", None, "administrator")}

    async def test_the_role_can_be_handed_over_in_one_go(self, session: AsyncSession, clock: SimulatedClock) -> None:
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        items = [
            MemberSetting(email="admin@example.org", team=None, roles=[]),
            MemberSetting(email="next@example.org", team=None, roles=["administrator"]),
        ]
        await apply_members(session, admin, items, at=clock.now(), new_id=new_id)
        assert await held(session) == {("next@example.org", None, "administrator")}

    async def test_two_who_remove_each_other_at_once_cannot_both(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        async with fresh_database.transaction() as session:
            users = {name: await make_user(session, name, roles={"administrator": [None]}) for name in ("one", "two")}

        async def remove(by: str, whom: str) -> bool:
            try:
                async with fresh_database.transaction() as session:
                    actor = await actor_of(session, users[by])
                    gone = MemberSetting(email=f"{whom}@example.org", team=None, roles=[])
                    await apply_members(session, actor, [gone], at=clock.now(), new_id=new_id)
            except (GuildhallError, DBAPIError):
                return False
            return True

        outcomes = await asyncio.gather(remove("one", "two"), remove("two", "one"))
        assert sorted(outcomes) == [False, True]
        async with fresh_database.read() as reading:
            assert (await reading.scalars(select(func.count()).select_from(RoleBinding))).one() == 1
            assert len(await recorded(reading, "guildhall:role:bind")) == 1
