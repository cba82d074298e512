"""What the database itself refuses, whatever the program says."""

import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import RoleBinding, User
from guildhall.clock import SimulatedClock, new_id
from tests.people import bind, make_service_account, make_team, make_user


class TestRoleBindings:
    async def test_nobody_is_bound_who_is_not_there(self, session: AsyncSession) -> None:
        with pytest.raises(IntegrityError, match="fk_role_bindings_user_id_users"):
            await bind(session, ActorKind.USER, new_id(), {"viewer": [None]})

    async def test_a_person_is_no_service_account(self, session: AsyncSession) -> None:
        user = await make_user(session, "ada")
        with pytest.raises(IntegrityError, match="fk_role_bindings_service_account_id_service_accounts"):
            await bind(session, ActorKind.SERVICE_ACCOUNT, user, {"viewer": [None]})

    @pytest.mark.parametrize("role", ["member", "job"])
    async def test_implicit_roles_are_bound_to_nobody(self, session: AsyncSession, role: str) -> None:
        with pytest.raises(IntegrityError, match="implicit_roles_are_not_bound"):
            await make_user(session, "ada", roles={role: [None]})

    async def test_a_role_that_is_not_there(self, session: AsyncSession) -> None:
        with pytest.raises(IntegrityError, match="fk_role_bindings_role_roles"):
            await make_user(session, "ada", roles={"emperor": [None]})

    async def test_organisation_wide_counts_once(self, session: AsyncSession) -> None:
        with pytest.raises(IntegrityError, match="uq_role_bindings"):
            await make_user(session, "ada", roles={"viewer": [None, None]})

    async def test_a_job_holds_no_role(self, session: AsyncSession) -> None:
        with pytest.raises(IntegrityError, match="subject_kind"):
            await bind(session, ActorKind.JOB, new_id(), {"viewer": [None]})


class TestUsers:
    @pytest.mark.parametrize("email", ["Ada@example.org", "ada", "a da@example.org", "@", ""])
    async def test_an_address_is_one_in_lower_case(
        self, session: AsyncSession, email: str, clock: SimulatedClock
    ) -> None:
        session.add(User(id=new_id(), name="Ada", email=email, created_at=clock.now()))
        with pytest.raises(IntegrityError, match="email_is_address"):
            await session.flush()


class TestLastAdministrator:
    """The same transaction may hand the role over; at its end there must be one."""

    async def settle(self, session: AsyncSession) -> None:
        await session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))

    async def test_the_last_binding_stays(self, session: AsyncSession) -> None:
        user = await make_user(session, "ada", roles={"administrator": [None]})
        await session.execute(delete(RoleBinding).where(RoleBinding.subject_id == user))
        with pytest.raises(DBAPIError, match="the last administrator cannot be removed"):
            await self.settle(session)

    async def test_the_last_binding_is_not_moved_into_a_team(self, session: AsyncSession) -> None:
        team = await make_team(session, "quality")
        user = await make_user(session, "ada", roles={"administrator": [None]})
        await session.execute(update(RoleBinding).where(RoleBinding.subject_id == user).values(team_id=team))
        with pytest.raises(DBAPIError, match="the last administrator cannot be removed"):
            await self.settle(session)

    async def test_the_last_one_is_not_deactivated(self, session: AsyncSession, clock: SimulatedClock) -> None:
        user = await make_user(session, "ada", roles={"administrator": [None]})
        await session.execute(update(User).where(User.id == user).values(deactivated_at=clock.now()))
        with pytest.raises(DBAPIError, match="the last administrator cannot be removed"):
            await self.settle(session)

    async def test_a_deactivated_one_and_a_program_do_not_count(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        team = await make_team(session, "quality")
        robot = await make_service_account(session, "robot", team)
        await bind(session, ActorKind.SERVICE_ACCOUNT, robot, {"administrator": [None]})
        gone = await make_user(session, "gone", roles={"administrator": [None]})
        last = await make_user(session, "last", roles={"administrator": [None]})
        await session.execute(update(User).where(User.id == gone).values(deactivated_at=clock.now()))
        await self.settle(session)
        await session.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        await session.execute(delete(RoleBinding).where(RoleBinding.subject_id == last))
        with pytest.raises(DBAPIError, match="the last administrator cannot be removed"):
            await self.settle(session)

    async def test_the_role_can_be_handed_over(self, session: AsyncSession) -> None:
        first = await make_user(session, "first", roles={"administrator": [None]})
        await session.execute(delete(RoleBinding).where(RoleBinding.subject_id == first))
        await make_user(session, "second", roles={"administrator": [None]})
        await self.settle(session)

    async def test_others_may_leave(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team = await make_team(session, "quality")
        user = await make_user(session, "ada", roles={"viewer": [None], "administrator": [team]})
        await session.execute(delete(RoleBinding).where(RoleBinding.subject_id == user))
        await session.execute(update(User).where(User.id == user).values(deactivated_at=clock.now()))
        await self.settle(session)


class TestTokens:
    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ("expires_at = created_at", "expires_after_creation"),
            ("hash = decode('00', 'hex')", "hash_is_sha256"),
            ("subject_kind = 'SYSTEM'", "subject_kind"),
            ("subject_kind = 'JOB', expires_at = NULL", "job_token_expires"),
            ("subject_id = gen_random_uuid()", "fk_tokens_user_id_users"),
        ],
    )
    async def test_a_token_is_whole(self, session: AsyncSession, change: str, match: str) -> None:
        user = await make_user(session, "ada")
        await session.execute(
            text("""
                INSERT INTO tokens (id, subject_kind, subject_id, prefix, hash, label, claims, created_at, expires_at)
                VALUES (gen_random_uuid(), 'USER', :user, 'ghu_', sha256('x'), 'x', '{}', '2026-01-01', '2026-02-01')
            """),
            {"user": user},
        )
        with pytest.raises(IntegrityError, match=match):
            await session.execute(text(f"UPDATE tokens SET {change}"))
