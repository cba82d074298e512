"""A change of the policy is in force everywhere at once, whole, and also when the notices are away."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth import policies as policies_module
from guildhall.auth.casbin_policy import Question
from guildhall.auth.policies import Policies
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_changes, load_rules, read_version
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.clock import new_id
from guildhall.db import engine
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.transaction import Database, DatabaseBusy, DatabaseUnavailable, connect_database
from tests.guildhall.auth.test_policy_reading import as_owner, give
from tests.people import make_team, make_user

WAIT_SECONDS_MAX = 120
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

    async def test_a_large_policy_is_kept_out_of_full_collections_and_a_change_of_it_costs_nothing_more(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frozen: list[int] = []
        monkeypatch.setattr(policies_module, "LARGE_SUBJECTS", 1)
        monkeypatch.setattr(gc, "freeze", lambda: frozen.append(1))
        async with database.transaction() as session:
            await make_user(session, f"somebody-{new_id().hex}")
        policies = Policies(database)
        await in_force(database, policies)
        team = await new_team(database)
        assert team in (await in_force(database, policies)).rules.teams
        assert frozen == [1]

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

    async def test_who_needs_the_new_policy_is_told_to_wait_and_never_decided_by_the_old(
        self, database: Database, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with database.transaction() as session:
            team = await make_team(session, "locked-for-long")
            ben = Subject(ActorKind.USER, await make_user(session, "locked-ben", roles={"viewer": [team]}))
        monkeypatch.setattr(engine, "LOCK_WAIT_SECONDS_MAX", 1)
        impatient = connect_database(database.url)
        policies = Policies(impatient)
        connection = await server.connect(OWNER_ROLE, str(make_url(database.url).database))
        try:
            held = await in_force(impatient, policies)
            assert held.may(ben, "registry:model:read", team)
            await as_owner(server, database, f"DELETE FROM role_bindings WHERE subject_id = '{ben.id}'")
            async with connection.transaction():
                await connection.execute("LOCK TABLE role_bindings IN ACCESS EXCLUSIVE MODE")
                with pytest.raises(DatabaseBusy):
                    await in_force(impatient, policies)
            assert not (await in_force(impatient, policies)).may(ben, "registry:model:read", team)
        finally:
            await connection.close()
            await impatient.close()
