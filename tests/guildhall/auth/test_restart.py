"""A database that is killed and comes back: nobody is let in on an old policy, and the watcher finds its way."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from guildhall.auth.policies import Policies
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import User
from guildhall.auth.tokens import TokenRefused, authenticate
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.migrating import migrate
from guildhall.db.transaction import Database, connect_database
from guildhall.errors import Unavailable
from guildhall.organisation.tokens import issue_token
from tests.conftest import AUDIT_KEY
from tests.people import REQUEST, actor_of, make_team, make_user

WAIT_SECONDS_MAX = 120


@pytest.fixture
async def own_server() -> AsyncIterator[EmbeddedServer]:
    folder = Path(tempfile.mkdtemp(prefix="gh-"))
    async with EmbeddedServer(folder) as running:
        await migrate(running.owner_url)
        yield running
    shutil.rmtree(folder)


@pytest.fixture
async def own_database(own_server: EmbeddedServer) -> AsyncIterator[Database]:
    database = connect_database(own_server.service_url, audit_key=AUDIT_KEY)
    yield database
    await database.close()


async def kill(server: EmbeddedServer) -> None:
    killed = server.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while server.pid in {killed, None}:
            await asyncio.sleep(0.02)


class TestRestart:
    async def test_what_changed_before_and_after_is_in_force(
        self, own_server: EmbeddedServer, own_database: Database, clock: SimulatedClock
    ) -> None:
        async with own_database.transaction() as session:
            ada = await actor_of(session, await make_user(session, "ada"))
            token = await issue_token(
                session, ada, subject_kind=ActorKind.USER, subject_id=ada.id, label="laptop",
                expires_at=clock.now() + timedelta(days=1), at=clock.now(), new_id=new_id,
            )  # fmt: skip
        policies = Policies(own_database)
        watching = asyncio.create_task(policies.watch())
        await authenticate(own_database, policies, token.text, at=clock.now(), request=REQUEST)
        await kill(own_server)
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while True:
                with suppress(Unavailable):
                    async with own_database.transaction() as session:
                        team = await make_team(session, "made-after-the-restart")
                    break
        actor = await authenticate(own_database, policies, token.text, at=clock.now(), request=REQUEST)
        assert team in actor.policy.rules.teams
        async with own_database.transaction() as session:
            other = await make_team(session, "made-later")
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while policies._held is None or other not in policies._held.rules.teams:
                await asyncio.sleep(0.02)
        assert not watching.done()
        async with own_database.transaction() as session:
            await session.execute(update(User).where(User.id == ada.id).values(deactivated_at=clock.now()))
        with pytest.raises(TokenRefused, match="no longer active"):
            await authenticate(own_database, policies, token.text, at=clock.now(), request=REQUEST)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
