"""A change of the policy is in force everywhere at once, whole, and also when the notices are away."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth import policies as policies_module
from guildhall.auth.casbin_policy import Question
from guildhall.auth.policies import Policies, load_rules, read_version
from guildhall.auth.policy import Binding, PolicySnapshot
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import PermissionRow, RoleBinding, RolePermission, ServiceAccount, Team, User
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database, DatabaseUnavailable
from tests.people import bind, make_service_account, make_team, make_user

WAIT_SECONDS_MAX = 10


@asynccontextmanager
async def watching(policies: Policies) -> AsyncIterator[None]:
    """The watcher, with its channel up and everything from before it looked at."""
    task = asyncio.create_task(policies.watch())
    try:
        await until(lambda: policies._listening and policies._checked_connection == policies._connections)
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not condition():
            await asyncio.sleep(0.005)


def version_of(policies: Policies) -> int:
    return 0 if policies._held is None else policies._held.version


async def new_team(database: Database) -> Team:
    async with database.transaction() as session:
        team = await make_team(session, f"team-{new_id().hex}")
        return await session.get_one(Team, team)


class TestWatch:
    async def test_a_change_reaches_a_second_holder_by_notice_alone(self, database: Database) -> None:
        here, there = Policies(database), Policies(database)
        async with watching(here), watching(there):
            team = await new_team(database)
            await until(lambda: team.id in (there._held.rules.teams if there._held else {}))
            await until(lambda: version_of(here) == version_of(there))
            assert team.id in (await here.current()).rules.teams

    async def test_no_query_is_made_while_the_channel_vouches(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        policies = Policies(database)
        async with watching(policies):
            held = await policies.current()
            monkeypatch.setattr(database, "read", None)
            assert await policies.current() is held

    async def test_after_a_notice_the_old_policy_decides_no_more(self, database: Database) -> None:
        policies = Policies(database)
        async with watching(policies):
            await policies.current()
            team = await new_team(database)
            await until(lambda: policies._noticed_version > 0)
            assert team.id in (await policies.current()).rules.teams

    async def test_while_the_channel_is_away_the_database_decides(self, database: Database) -> None:
        policies = Policies(database)
        async with watching(policies):
            policies._on_lost()
            team = await new_team(database)
            assert team.id in (await policies.current()).rules.teams
            other = await new_team(database)
            assert other.id in (await policies.current()).rules.teams

    async def test_what_changed_while_it_was_away_is_seen_when_it_is_back(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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
            connections = policies._connections
            team = await new_team(database)
            await until(lambda: policies._connections > connections)
            assert team.id in (await policies.current()).rules.teams
            await until(lambda: policies._checked_connection == policies._connections)

    async def test_a_database_that_is_away_is_waited_for(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(policies_module, "RETRY_SECONDS", 0.0)
        policies = Policies(database)
        attempts = 0
        current = policies.current

        async def fails_once() -> PolicySnapshot:
            nonlocal attempts
            attempts += 1
            if attempts == 1:
                raise DatabaseUnavailable("gone")
            return await current()

        monkeypatch.setattr(policies, "current", fails_once)
        with caplog.at_level(logging.WARNING):
            async with watching(policies):
                await until(lambda: attempts > 1)
        assert "The new policy could not be read yet" in caplog.text

    async def test_a_disagreement_with_casbin_is_said_aloud(
        self, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        question = Question(Subject(ActorKind.USER, new_id()), None, "p:a:x")
        monkeypatch.setattr(policies_module, "disagreements", lambda _: [question])
        policies = Policies(database)
        with caplog.at_level(logging.ERROR):
            async with watching(policies):
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
        snapshots = await asyncio.gather(*(policies.at_version(1) for _ in range(50)))
        assert loads == 1
        assert len({id(snapshot) for snapshot in snapshots}) == 1

    async def test_what_is_not_committed_decides_nothing(self, database: Database) -> None:
        policies = Policies(database)
        async with database.transaction() as session:
            team = await make_team(session, "uncommitted")
            assert team not in (await policies.current()).rules.teams
            await session.rollback()
        assert team not in (await policies.current()).rules.teams


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
            "DELETE FROM tokens",
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
