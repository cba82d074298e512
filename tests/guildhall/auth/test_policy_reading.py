"""What is read of the policy: all of one moment, or what changed since a version; and when its version rises."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Executable, delete, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.bindings import Binding, BindingsOfSubjects
from guildhall.auth.policy import PolicyRules
from guildhall.auth.policy_reading import load_changes, load_rules, read_version
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import PermissionRow, RoleBinding, RolePermission, ServiceAccount, Team, User
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.transaction import Database
from tests.people import bind, make_service_account, make_team, make_user

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
AFTER = NOW + timedelta(hours=1)


class TestLoadChanges:
    """After any change, what was held and what changed give what the tables say."""

    async def test_each_kind_of_change(self, database: Database) -> None:
        async with database.transaction() as session:
            over, team = await make_team(session, "changes-over"), await make_team(session, "changes")
            ada = await make_user(session, "changes-ada", roles={"viewer": [team]})
            bea = await make_user(session, "changes-bea", roles={"steward": [None], "viewer": [team]})
            robot = await make_service_account(session, "changes-robot", team, roles=["viewer"])
            session.add(PermissionRow(name="test:changes:do", permission_class="DATA_WRITE", sentence="try"))
        subject = Subject(ActorKind.USER, ada)
        changes: list[Executable] = [
            update(Team).where(Team.id == team).values(parent_id=over),
            update(Team).where(Team.id == team).values(name="changes-renamed"),
            insert(RolePermission).values(role="viewer", permission="test:changes:do", effect="deny"),
            update(RolePermission).where(RolePermission.permission == "test:changes:do").values(effect="allow"),
            insert(RoleBinding).values(**binding(subject, "auditor", None, ends_at=AFTER)),
            update(RoleBinding).where(RoleBinding.subject_id == bea).values(ends_at=AFTER),
            update(RoleBinding).where(RoleBinding.subject_id == bea).values(team_id=over),
            delete(RoleBinding).where(RoleBinding.subject_id == ada, RoleBinding.role == "viewer"),
            update(User).where(User.id == ada).values(deactivated_at=NOW),
            update(ServiceAccount).where(ServiceAccount.id == robot).values(deactivated_at=NOW),
            update(User).where(User.id == ada).values(deactivated_at=None),
            insert(User).values(id=new_id(), name="New", email="changes-new@example.org", created_at=NOW),
            update(Team).where(Team.id == team).values(parent_id=None),
            delete(RolePermission).where(RolePermission.permission == "test:changes:do"),
            delete(RoleBinding).where(RoleBinding.subject_id == bea),
        ]
        async with database.read() as session:
            held = await load_rules(session)
        for change in changes:
            async with database.transaction() as session:
                await session.execute(change)
            async with database.read() as session:
                found = await load_changes(session, held)
                whole = await load_rules(session)
            assert found is not None
            assert found.version > held.version, change
            assert_same(found, whole)
            held = found

    async def test_several_at_once_and_none(self, database: Database) -> None:
        async with database.read() as session:
            held = await load_rules(session)
            assert await load_changes(session, held) is held
        async with database.transaction() as session:
            team = await make_team(session, "several")
            for number in range(20):
                await make_user(session, f"several-{number}", roles={"viewer": [team]})
        async with database.read() as session:
            found = await load_changes(session, held)
            assert found is not None
            assert_same(found, await load_rules(session))

    @pytest.mark.parametrize("statement", [
        "UPDATE users SET name = name || '!'",
        "UPDATE teams SET title = title || '!'",
        "UPDATE role_bindings SET created_by = subject_id",
        "DELETE FROM role_bindings WHERE role = 'nobody'",
    ])  # fmt: skip
    async def test_what_no_decision_rests_on_is_no_change(self, database: Database, statement: str) -> None:
        async with database.transaction() as session:
            before = await read_version(session)
            await session.execute(text(statement))
            assert await read_version(session) == before

    async def test_more_than_is_worth_a_list_is_all(self, database: Database, server: EmbeddedServer) -> None:
        async with database.read() as session:
            held = await load_rules(session)
        await as_owner(
            server, database,
            """INSERT INTO users (id, name, email, created_at) SELECT gen_random_uuid(), 'Many', n || '@example.org',
            '2026-01-01Z' FROM generate_series(1, 20001) n""",
        )  # fmt: skip
        async with database.read() as session:
            assert await load_changes(session, held) is None
            assert len((await load_rules(session)).bindings) > 20_000


def assert_same(found: PolicyRules, whole: PolicyRules) -> None:
    assert (found.version, found.roles, found.teams, found.parents) == (
        whole.version,
        whole.roles,
        whole.teams,
        whole.parents,
    )
    assert dict(found.bindings) == dict(whole.bindings)
    assert isinstance(found.bindings, BindingsOfSubjects)
    assert isinstance(whole.bindings, BindingsOfSubjects)
    assert found.bindings.boundaries_around(NOW) == whole.bindings.boundaries_around(NOW)


def binding(subject: Subject, role: str, team: UUID | None, **window: datetime) -> dict[str, Any]:
    return {
        "id": new_id(), "subject_kind": subject.kind.value, "subject_id": subject.id, "team_id": team, "role": role,
        "created_at": NOW, **window,
    }  # fmt: skip


async def give(session: AsyncSession, subject: Subject, role: str, team: UUID | None, **window: datetime) -> None:
    await session.execute(insert(RoleBinding).values(**binding(subject, role, team, **window)))


async def as_owner(server: EmbeddedServer, database: Database, statement: str) -> None:
    connection = await server.connect(OWNER_ROLE, str(make_url(database.url).database))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


class TestLoadRules:
    async def test_it_holds_what_the_tables_say(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team = await make_team(session, "load-rules")
        ada = await make_user(session, "load-ada", roles={"viewer": [team], "administrator": [None]})
        bea = await make_user(session, "load-bea")
        gone = await make_user(session, "load-gone", roles={"viewer": [team]})
        robot = await make_service_account(session, "robot", team, roles=["contributor"])
        retired = await make_service_account(session, "retired", team, roles=["contributor"])
        await session.execute(update(User).where(User.id == gone).values(deactivated_at=clock.now()))
        await session.execute(
            update(ServiceAccount).where(ServiceAccount.id == retired).values(deactivated_at=clock.now())
        )
        session.add(PermissionRow(name="test:thing:do", permission_class="DATA_WRITE", sentence="try"))
        await session.flush()
        session.add(RolePermission(role="viewer", permission="test:thing:do", effect="deny"))
        await session.flush()
        rules = await load_rules(session)
        assert rules.version == await read_version(session)
        assert rules.teams[team] == "load-rules"
        assert set(rules.bindings[Subject(ActorKind.USER, ada)]) == {
            Binding("viewer", team),
            Binding("administrator", None),
        }
        assert rules.bindings[Subject(ActorKind.USER, bea)] == ()
        assert rules.bindings[Subject(ActorKind.SERVICE_ACCOUNT, robot)] == (Binding("contributor", team),)
        assert Subject(ActorKind.USER, gone) not in rules.bindings
        assert Subject(ActorKind.SERVICE_ACCOUNT, retired) not in rules.bindings
        assert rules.roles["viewer"].denied == {"test:thing:do"}
        assert "registry:model:read" in rules.roles["viewer"].allowed
        assert rules.roles["auditor"].denied == frozenset()


class TestVersion:
    async def raised(self, session: AsyncSession, before: int) -> int:
        version = await read_version(session)
        assert version > before
        return version

    async def test_it_rises_with_each_change_that_decisions_rest_on(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        version = await read_version(session)
        team = await make_team(session, "version")
        version = await self.raised(session, version)
        user = await make_user(session, "version")
        version = await self.raised(session, version)
        account = await make_service_account(session, "version", team)
        version = await self.raised(session, version)
        await bind(session, ActorKind.USER, user, {"viewer": [team]})
        version = await self.raised(session, version)
        await session.execute(delete(RoleBinding).where(RoleBinding.subject_id == user))
        version = await self.raised(session, version)
        await session.execute(delete(RolePermission).where(RolePermission.role == "viewer"))
        version = await self.raised(session, version)
        await session.execute(update(User).where(User.id == user).values(deactivated_at=clock.now()))
        version = await self.raised(session, version)
        await session.execute(
            update(ServiceAccount).where(ServiceAccount.id == account).values(deactivated_at=clock.now())
        )
        await self.raised(session, version)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE policy_state SET version = 1",
            "DELETE FROM policy_state",
            "INSERT INTO policy_state (id, version) VALUES (2, 1)",
            "ALTER TABLE role_bindings DISABLE TRIGGER ALL",
            "DELETE FROM users",
            "DELETE FROM teams",
            "TRUNCATE role_bindings",
        ],
    )
    async def test_the_service_can_neither_set_it_nor_get_around_it(self, database: Database, statement: str) -> None:
        async def attempt() -> None:
            async with database.transaction() as session:
                await session.execute(text(statement))

        async with database.read() as session:
            before = await read_version(session)
        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            await attempt()
        async with database.read() as session:
            assert await read_version(session) == before
            assert (await session.scalars(select(User.id))).all() is not None
