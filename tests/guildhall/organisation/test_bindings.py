"""Roles given for a time, and taken away; the last administrator stays, whatever would remove them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import Role, RoleBinding, RolePermission, User
from guildhall.changes import in_words
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError, NotFound
from guildhall.organisation.bindings import (
    InvalidBinding,
    LastAdministrator,
    RolesChanged,
    give_role,
    has_administrator,
    set_roles,
    take_role_away,
)
from tests.people import actor_of, bind, make_service_account, make_team, make_user

HOUR = timedelta(hours=1)
READ = "registry:model:read"


@pytest.fixture
async def admin(session: AsyncSession) -> Actor:
    return await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))


async def held(session: AsyncSession, subject_id: UUID) -> list[tuple[str, UUID | None, Any, Any, str]]:
    rows = await session.scalars(
        select(RoleBinding)
        .where(RoleBinding.subject_id == subject_id)
        .order_by(RoleBinding.role)
        .execution_options(populate_existing=True)
    )
    return [(row.role, row.team_id, row.starts_at, row.ends_at, row.source) for row in rows]


async def events(session: AsyncSession) -> list[tuple[Any, Any, list[str]]]:
    rows = await session.scalars(
        select(AuditEvent).where(AuditEvent.action == "guildhall:role:bind").order_by(AuditEvent.id)
    )
    return [(row.before, row.after, row.resource_types) for row in rows]


class TestGiveRole:
    async def test_a_role_for_a_time_and_then_for_good(
        self, session: AsyncSession, admin: Actor, clock: SimulatedClock
    ) -> None:
        team = await make_team(session, "given")
        nora = Subject(ActorKind.USER, await make_user(session, "nora"))
        now = clock.now()
        first = await give_role(
            session, admin, nora, role="viewer", team_id=team, starts_at=now + HOUR, ends_at=now + 2 * HOUR, at=now,
            new_id=new_id,
        )  # fmt: skip
        assert await held(session, nora.id) == [("viewer", team, now + HOUR, now + 2 * HOUR, "HAND")]
        rules = await load_rules(session)
        may = [PolicySnapshot(rules, at=now + n * HOUR).may(nora, READ, team) for n in range(3)]
        assert may == [False, True, False]
        again = await give_role(
            session, admin, nora, role="viewer", team_id=team, starts_at=None, ends_at=None, at=now, new_id=new_id
        )
        assert again == first
        assert await held(session, nora.id) == [("viewer", team, None, None, "HAND")]
        start, end = (now + HOUR).isoformat(), (now + 2 * HOUR).isoformat()
        window = {"starts_at": start, "ends_at": end}
        for_good = {"starts_at": None, "ends_at": None}
        assert await events(session) == [
            (None, {"role": "viewer"} | window, ["User", "Team"]),
            ({"role": "viewer", "source": "HAND"} | window, {"role": "viewer"} | for_good, ["User", "Team"]),
        ]

    async def test_what_the_configuration_gives_is_for_good(
        self, session: AsyncSession, admin: Actor, clock: SimulatedClock
    ) -> None:
        nora = Subject(ActorKind.USER, await make_user(session, "nora"))
        now = clock.now()
        await give_role(
            session, admin, nora, role="steward", team_id=None, starts_at=None, ends_at=now + HOUR, at=now,
            new_id=new_id,
        )  # fmt: skip
        changed = await set_roles(session, admin, nora, team_id=None, roles=["steward"], at=now, new_id=new_id)
        assert changed == RolesChanged((f"steward to {in_words(now + HOUR)}",), ("steward",))
        assert await held(session, nora.id) == [("steward", None, None, None, "HAND")]

    @pytest.mark.parametrize(("role", "start", "end"), [
        ("member", None, None), ("nobody", None, None), ("viewer", None, timedelta(0)), ("viewer", HOUR, HOUR),
    ])  # fmt: skip
    async def test_what_is_no_role_or_no_time_is_refused(
        self, session: AsyncSession, admin: Actor, clock: SimulatedClock, role: str, start: timedelta | None,
        end: timedelta | None,
    ) -> None:  # fmt: skip
        nora = Subject(ActorKind.USER, await make_user(session, "nora"))
        now = clock.now()
        with pytest.raises(InvalidBinding):
            await give_role(
                session, admin, nora, role=role, team_id=None, starts_at=None if start is None else now + start,
                ends_at=None if end is None else now + end, at=now, new_id=new_id,
            )  # fmt: skip
        assert await held(session, nora.id) == []
        assert await events(session) == []

    async def test_a_team_s_administrator_gives_roles_there_and_below(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        over, team, other = [await make_team(session, name) for name in ("over", "below", "other")]
        await session.execute(text(f"UPDATE teams SET parent_id = '{over}' WHERE id = '{team}'"))
        lead = await actor_of(session, await make_user(session, "lead", roles={"administrator": [over]}))
        await make_user(session, "top", roles={"administrator": [None]})
        nora = Subject(ActorKind.USER, await make_user(session, "nora"))
        window: dict[str, Any] = {"starts_at": None, "ends_at": None, "at": clock.now(), "new_id": new_id}
        await give_role(session, lead, nora, role="viewer", team_id=team, **window)
        for place in (other, None):
            with pytest.raises(PermissionRefused):
                await give_role(session, lead, nora, role="viewer", team_id=place, **window)
        assert [row[:2] for row in await held(session, nora.id)] == [("viewer", team)]


class TestTakeRoleAway:
    async def binding(self, session: AsyncSession, subject_id: UUID) -> UUID:
        return (await session.scalars(select(RoleBinding.id).where(RoleBinding.subject_id == subject_id))).one()

    async def test_it_ends_at_once_and_is_recorded(
        self, session: AsyncSession, admin: Actor, clock: SimulatedClock
    ) -> None:
        team = await make_team(session, "away")
        robot = await make_service_account(session, "robot", team, roles=["viewer"])
        key = await self.binding(session, robot)
        found = await take_role_away(session, admin, binding_id=key, at=clock.now(), new_id=new_id)
        assert found == Subject(ActorKind.SERVICE_ACCOUNT, robot)
        assert await held(session, robot) == []
        before = {"role": "viewer", "source": "HAND", "starts_at": None, "ends_at": None}
        assert await events(session) == [(before, None, ["ServiceAccount", "Team"])]

    async def test_what_is_not_there_or_not_theirs_stays(
        self, session: AsyncSession, admin: Actor, clock: SimulatedClock
    ) -> None:
        user = await make_user(session, "nora", roles={"viewer": [None]})
        nora = await actor_of(session, user)
        key = await self.binding(session, user)
        for actor, wanted, error in ((admin, new_id(), NotFound), (nora, key, PermissionRefused)):
            with pytest.raises(error):
                await take_role_away(session, actor, binding_id=wanted, at=clock.now(), new_id=new_id)
        assert len(await held(session, user)) == 1


class TestTheLastAdministrator:
    """By the domain, which says so, and by the database, whoever writes to it."""

    async def test_by_the_domain(self, session: AsyncSession, admin: Actor, clock: SimulatedClock) -> None:
        now = clock.now()
        key = (await session.scalars(select(RoleBinding.id).where(RoleBinding.subject_id == admin.id))).one()

        async def refused(change: Any) -> None:
            with pytest.raises(LastAdministrator):
                async with session.begin_nested():
                    await change

        await refused(take_role_away(session, admin, binding_id=key, at=now, new_id=new_id))
        for start, end in ((None, now + HOUR), (now + HOUR, None)):
            await refused(
                give_role(
                    session,
                    admin,
                    admin.subject,
                    role="administrator",
                    team_id=None,
                    starts_at=start,
                    ends_at=end,
                    at=now,
                    new_id=new_id,
                )
            )
        assert [row[:1] for row in await held(session, admin.id)] == [("administrator",)]
        assert await has_administrator(session)
        assert not await has_administrator(session, other_than=admin.id)

    async def test_another_may_go(self, session: AsyncSession, admin: Actor, clock: SimulatedClock) -> None:
        other = Subject(ActorKind.USER, await make_user(session, "other", roles={"administrator": [None]}))
        now = clock.now()
        await give_role(
            session, admin, other, role="administrator", team_id=None, starts_at=None, ends_at=now + HOUR, at=now,
            new_id=new_id,
        )  # fmt: skip
        assert not await has_administrator(session, other_than=admin.id), "who ends is nobody to rely on"

    @pytest.mark.parametrize("how", ["unbound", "ended", "begins later", "deactivated", "a denying role", "a line"])
    async def test_by_the_database(self, fresh_database: Database, clock: SimulatedClock, how: str) -> None:
        async with fresh_database.transaction() as session:
            admin = await make_user(session, "admin", roles={"administrator": [None]})
            session.add(Role(name="gag", sentence="Denies.", custom=True))
            await session.flush()
            session.add(RolePermission(role="gag", permission="guildhall:role:bind", effect="deny"))
        own = RoleBinding.subject_id == admin
        statements = {
            "unbound": delete(RoleBinding).where(own),
            "ended": update(RoleBinding).where(own).values(ends_at=clock.now()),
            "begins later": update(RoleBinding).where(own).values(starts_at=clock.now()),
            "deactivated": update(User).where(User.id == admin).values(deactivated_at=clock.now()),
            "a denying role": insert(RoleBinding).values(
                id=new_id(), subject_kind="USER", subject_id=admin, role="gag", created_at=clock.now()
            ),
            "a line": delete(RolePermission).where(RolePermission.permission == "guildhall:role:change"),
        }

        async def attempt() -> None:
            async with fresh_database.transaction() as session:
                await session.execute(statements[how])

        with pytest.raises((DBAPIError, GuildhallError), match="last administrator"):
            await attempt()
        async with fresh_database.read() as reading:
            assert await has_administrator(reading)
            assert [row[0] for row in await held(reading, admin)] == ["administrator"]

    async def test_where_there_is_none_anything_goes(self, session: AsyncSession) -> None:
        nora = await make_user(session, "nora")
        await bind(session, ActorKind.USER, nora, {"viewer": [None]})
        await session.execute(delete(RolePermission).where(RolePermission.role == "viewer"))
        await session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        assert not await has_administrator(session)
