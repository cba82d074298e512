"""A change of the policy is in force everywhere at once, whole, and also when the notices are away."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Executable, delete, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth import policies as policies_module
from guildhall.auth.bindings import Binding, BindingsOfSubjects
from guildhall.auth.casbin_policy import Question
from guildhall.auth.policies import Policies
from guildhall.auth.policy import PolicyRules, PolicySnapshot
from guildhall.auth.policy_reading import load_changes, load_rules, read_version
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import PermissionRow, RoleBinding, RolePermission, ServiceAccount, Team, User
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.transaction import Database, DatabaseUnavailable
from tests.people import bind, make_service_account, make_team, make_user

WAIT_SECONDS_MAX = 10
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
BEFORE, AFTER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)


@asynccontextmanager
async def watching(policies: Policies) -> AsyncIterator[None]:
    """The watcher, which has read everything from before it."""
    task = asyncio.create_task(policies.watch())
    try:
        await until(lambda: policies._held is not None)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():
            await asyncio.sleep(0.005)


def knows(policies: Policies, team: UUID) -> bool:
    return policies._held is not None and team in policies._held.rules.teams


async def new_team(database: Database) -> UUID:
    async with database.transaction() as session:
        return await make_team(session, f"team-{new_id().hex}")


async def in_force(database: Database, policies: Policies, *, at: datetime = NOW) -> PolicySnapshot:
    """As a request has it: the version of the database, then the policy of that version."""
    async with database.read() as session:
        version = await read_version(session)
    return await policies.at_version(version, at=at)


class TestWatch:
    async def test_a_change_reaches_other_holders_by_notice_alone(self, database: Database) -> None:
        here, there = Policies(database), Policies(database)
        async with watching(here), watching(there):
            team = await new_team(database)
            await until(lambda: knows(here, team) and knows(there, team))

    async def test_what_changed_while_the_channel_was_away_is_read_when_it_is_back(self, database: Database) -> None:
        policies = Policies(database)
        async with watching(policies):
            async with database.transaction() as session:
                lost = await session.scalars(
                    text("""
                        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE application_name = 'guildhall-notices' AND datname = current_database()
                    """)
                )
                assert lost.all() == [True]
            team = await new_team(database)
            assert team in (await in_force(database, policies)).rules.teams, "also before it is back"
            other = await new_team(database)
            await until(lambda: knows(policies, other))

    async def test_a_database_that_is_away_is_waited_for(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(policies_module, "RETRY_SECONDS", 0.0)
        attempts = 0

        async def fails_once(session: AsyncSession) -> int:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                raise DatabaseUnavailable("gone")
            return await read_version(session)

        monkeypatch.setattr(policies_module, "read_version", fails_once)
        with caplog.at_level(logging.WARNING):
            async with watching(Policies(database)):
                assert attempts > 1
        assert "The new policy could not be read yet" in caplog.text

    async def test_a_disagreement_with_casbin_is_said_aloud(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        question = Question(Subject(ActorKind.USER, new_id()), None, "p:a:x")
        monkeypatch.setattr(policies_module, "disagreements", lambda _: [question])
        with caplog.at_level(logging.ERROR):
            async with watching(Policies(database)):
                await until(lambda: "casbin disagree" in caplog.text)
        assert "p:a:x" in caplog.text


class TestAtVersion:
    async def test_callers_who_come_together_wait_for_one_load(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        policies = Policies(database)
        loads = 0

        async def counted(session: AsyncSession) -> object:
            nonlocal loads
            loads += 1
            return await load_rules(session)

        monkeypatch.setattr(policies_module, "load_rules", counted)
        snapshots = await asyncio.gather(*(policies.at_version(1, at=NOW) for _ in range(50)))
        assert loads == 1
        assert len({id(snapshot) for snapshot in snapshots}) == 1

    async def test_nothing_is_read_while_the_version_is_the_same(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        policies = Policies(database)
        held = await policies.at_version(1, at=NOW)
        monkeypatch.setattr(database, "read", None)
        assert await policies.at_version(held.version, at=AFTER) is held

    async def test_what_is_not_committed_decides_nothing(self, database: Database) -> None:
        policies = Policies(database)
        async with database.transaction() as session:
            team = await make_team(session, "uncommitted")
            assert team not in (await in_force(database, policies)).rules.teams
            await session.rollback()
        assert team not in (await in_force(database, policies)).rules.teams

    async def test_a_temporary_role_begins_and_ends_by_itself(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with database.transaction() as session:
            team = await make_team(session, "temporary")
            ada = Subject(ActorKind.USER, await make_user(session, "temporary-ada"))
            await give(session, ada, "viewer", team, starts_at=NOW, ends_at=AFTER)
        policies = Policies(database)
        held = await in_force(database, policies, at=BEFORE)
        monkeypatch.setattr(database, "read", None)
        second = timedelta(seconds=1)
        for moment, want in ((BEFORE, False), (NOW, True), (AFTER - second, True), (AFTER, False), (NOW, True)):
            snapshot = await policies.at_version(held.version, at=moment)
            assert snapshot.may(ada, "registry:model:read", team) is want, moment
            assert snapshot.teams_where(ada, "registry:model:read") == (frozenset({team}) if want else frozenset())
            assert snapshot.covers(moment)
        assert held.may(ada, "registry:model:read", team) is False, "what was decided with before stays as it was"

    async def test_only_what_changed_is_read(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        policies = Policies(database)
        await in_force(database, policies)
        monkeypatch.setattr(policies_module, "load_rules", None)
        team = await new_team(database)
        assert team in (await in_force(database, policies)).rules.teams

    async def test_whoever_is_too_far_behind_reads_all(self, database: Database, server: EmbeddedServer) -> None:
        policies = Policies(database)
        before = (await in_force(database, policies)).version
        team = await new_team(database)
        await as_owner(server, database, f"DELETE FROM policy_changes WHERE version <= {before + 1}")
        async with database.read() as session:
            assert await load_changes(session, (await policies.at_version(before, at=NOW)).rules) is None
        assert team in (await in_force(database, policies)).rules.teams


class TestLocked:
    """A table of the policy is locked: what is held decides on, and what must be read waits and is then whole."""

    async def test_role_bindings(self, database: Database, server: EmbeddedServer) -> None:
        async with database.transaction() as session:
            team = await make_team(session, "locked")
            ada = Subject(ActorKind.USER, await make_user(session, "locked-ada", roles={"viewer": [team]}))
        policies = Policies(database)
        held = await in_force(database, policies)
        connection = await server.connect(OWNER_ROLE, str(make_url(database.url).database))
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE role_bindings IN ACCESS EXCLUSIVE MODE")
                await connection.execute("DELETE FROM role_bindings WHERE subject_id = $1", ada.id)
                assert (await in_force(database, policies)) is held, "an uncommitted change is none"
                assert held.may(ada, "registry:model:read", team)
                changing = asyncio.create_task(new_team(database))
                await asyncio.sleep(0.1)
                assert not changing.done(), "another change waits for this one"
            await changing
            now = await in_force(database, policies)
            assert not now.may(ada, "registry:model:read", team)
            assert changing.result() in now.rules.teams
        finally:
            await connection.close()


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
