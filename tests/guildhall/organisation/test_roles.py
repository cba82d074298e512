"""Lines of the policy: each in the record, and none that leaves nobody to govern or blinds who reads the record."""

from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.tables import Role, RolePermission
from guildhall.clock import SimulatedClock, new_id
from guildhall.errors import GuildhallError
from guildhall.organisation.bindings import LastAdministrator
from guildhall.organisation.roles import (
    AuditStaysReadable,
    Effect,
    InvalidRole,
    RoleExists,
    UnknownPermission,
    UnknownRole,
    create_role,
    set_line,
)
from tests.people import actor_of, make_user

READ = "registry:model:read"
AUDIT_READ = "guildhall:audit:read"


@pytest.fixture
async def admin(session: AsyncSession) -> Actor:
    return await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))


async def lines(session: AsyncSession, role: str) -> dict[str, str]:
    rows = await session.execute(
        select(RolePermission.permission, RolePermission.effect).where(RolePermission.role == role)
    )
    return {row.permission: row.effect for row in rows}


async def recorded(session: AsyncSession) -> list[tuple[Any, Any]]:
    events = await session.scalars(
        select(AuditEvent).where(AuditEvent.action == "guildhall:role:change").order_by(AuditEvent.id)
    )
    return [(event.before, event.after) for event in events]


class TestCreateRole:
    async def test_it_allows_nothing_yet(self, session: AsyncSession, admin: Actor, clock: SimulatedClock) -> None:
        await create_role(session, admin, name="night-shift", sentence=" Watches. ", at=clock.now(), new_id=new_id)
        role = (await session.scalars(select(Role).where(Role.name == "night-shift"))).one()
        assert (role.sentence, role.custom) == ("Watches.", True)
        assert await lines(session, "night-shift") == {}
        assert await recorded(session) == [(None, {"role": "night-shift", "sentence": "Watches."})]

    @pytest.mark.parametrize(
        ("name", "sentence", "error", "field"),
        [
            ("Night", "Watches.", InvalidRole, "name"),
            ("night", "  ", InvalidRole, "sentence"),
            ("night", "x" * 201, InvalidRole, "sentence"),
            ("night", "a\0b", InvalidRole, "sentence"),
            ("steward", "Watches.", RoleExists, "name"),
        ],
    )
    async def test_what_is_no_role_is_not_made(
        self, session: AsyncSession, admin: Actor, clock: SimulatedClock, name: str, sentence: str,
        error: type[GuildhallError], field: str,
    ) -> None:  # fmt: skip
        before = (await session.scalars(select(Role.name))).all()
        with pytest.raises(error) as raised:
            await create_role(session, admin, name=name, sentence=sentence, at=clock.now(), new_id=new_id)
        assert raised.value.field == field
        assert (await session.scalars(select(Role.name))).all() == before
        assert await recorded(session) == []

    async def test_it_takes_the_right(self, session: AsyncSession, clock: SimulatedClock) -> None:
        nora = await actor_of(session, await make_user(session, "nora"))
        with pytest.raises(PermissionRefused):
            await create_role(session, nora, name="mine", sentence="All.", at=clock.now(), new_id=new_id)


class TestSetLine:
    async def test_a_line_is_added_changed_and_taken_away(
        self, session: AsyncSession, admin: Actor, clock: SimulatedClock
    ) -> None:
        before = await lines(session, "steward")
        for effect, want in ((Effect.ALLOW, "allow"), (Effect.DENY, "deny"), (Effect.DENY, "deny"), (None, None)):
            await set_line(
                session, admin, role="steward", permission=READ, effect=effect, at=clock.now(), new_id=new_id
            )
            assert (await lines(session, "steward")).get(READ) == want
        assert await lines(session, "steward") == before
        line = {"role": "steward", "permission": READ}
        assert await recorded(session) == [
            (line | {"effect": None}, line | {"effect": "allow"}),
            (line | {"effect": "allow"}, line | {"effect": "deny"}),
            (line | {"effect": "deny"}, line | {"effect": None}),
        ], "and what changed nothing is not recorded"

    async def test_others_may_be_let_read_the_record_and_no_more(
        self, session: AsyncSession, admin: Actor, clock: SimulatedClock
    ) -> None:
        for effect in (Effect.ALLOW, None):
            await set_line(
                session, admin, role="steward", permission=AUDIT_READ, effect=effect, at=clock.now(), new_id=new_id
            )
            assert (await lines(session, "steward")).get(AUDIT_READ) == effect

    @pytest.mark.parametrize(
        ("role", "permission", "effect", "error"),
        [
            ("nobody", READ, Effect.ALLOW, UnknownRole),
            ("steward", "registry:model:steal", Effect.ALLOW, UnknownPermission),
            ("auditor", AUDIT_READ, Effect.DENY, AuditStaysReadable),
            ("member", AUDIT_READ, Effect.DENY, AuditStaysReadable),
            ("auditor", AUDIT_READ, None, AuditStaysReadable),
            ("administrator", "guildhall:role:bind", Effect.DENY, LastAdministrator),
            ("administrator", "guildhall:role:change", None, LastAdministrator),
            ("member", "guildhall:user:change", Effect.DENY, LastAdministrator),
        ],
    )
    async def test_what_must_stay_stays(
        self, session: AsyncSession, admin: Actor, clock: SimulatedClock, role: str, permission: str,
        effect: Effect | None, error: type[GuildhallError],
    ) -> None:  # fmt: skip
        before = (await session.execute(text("SELECT role, permission, effect FROM role_permissions"))).all()
        with pytest.raises(error):
            async with session.begin_nested():
                await set_line(
                    session, admin, role=role, permission=permission, effect=effect, at=clock.now(), new_id=new_id
                )
        assert (await session.execute(text("SELECT role, permission, effect FROM role_permissions"))).all() == before
        assert await recorded(session) == []

    async def test_the_database_denies_the_record_to_nobody_either(self, session: AsyncSession) -> None:
        with pytest.raises(IntegrityError, match="audit_is_not_denied"):
            await session.execute(text(f"INSERT INTO role_permissions VALUES ('viewer', '{AUDIT_READ}', 'deny')"))

    async def test_who_writes_the_policy_cannot_stop_the_recording(
        self, session: AsyncSession, admin: Actor, clock: SimulatedClock
    ) -> None:
        """A role that denies every permission there is: each change is in the record all the same."""
        names = (await session.scalars(text("SELECT name FROM permissions ORDER BY name"))).all()
        await create_role(session, admin, name="gag", sentence="Denies all.", at=clock.now(), new_id=new_id)
        for name in names:
            if not name.startswith("guildhall:audit:"):
                await set_line(
                    session, admin, role="gag", permission=name, effect=Effect.DENY, at=clock.now(), new_id=new_id
                )
        denied = [name for name in names if not name.startswith("guildhall:audit:")]
        assert [after.get("permission") for _, after in await recorded(session)] == [None, *denied]

    async def test_it_takes_the_right(self, session: AsyncSession, clock: SimulatedClock) -> None:
        auditor = await actor_of(session, await make_user(session, "otto", roles={"auditor": [None]}))
        with pytest.raises(PermissionRefused):
            await set_line(
                session, auditor, role="auditor", permission=READ, effect=Effect.ALLOW, at=clock.now(), new_id=new_id
            )
        assert READ not in await lines(session, "auditor")

    async def test_who_gives_no_roles_widens_none(
        self, session: AsyncSession, admin: Actor, clock: SimulatedClock
    ) -> None:
        when: dict[str, Any] = {"at": clock.now(), "new_id": new_id}
        await create_role(session, admin, name="writer", sentence="Writes the policy.", **when)
        line: dict[str, Any] = {"role": "writer", "effect": Effect.ALLOW, **when}
        await set_line(session, admin, permission="guildhall:role:change", **line)
        writer = await actor_of(session, await make_user(session, "wim", roles={"writer": [None]}))
        with pytest.raises(PermissionRefused, match="guildhall:role:bind"):
            await set_line(session, writer, permission="guildhall:role:bind", **line)
        assert await lines(session, "writer") == {"guildhall:role:change": "allow"}
