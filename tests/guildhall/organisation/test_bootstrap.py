"""The first administrator comes once."""

import asyncio

import pytest
from sqlalchemy import select

from guildhall.audit.tables import AuditEvent
from guildhall.auth.policies import Policies
from guildhall.auth.tables import RoleBinding, Token, User
from guildhall.auth.tokens import authenticate
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.errors import InvalidInput
from guildhall.organisation.bootstrap import AdministratorExists, create_first_administrator
from tests.people import REQUEST


async def bootstrap(database: Database, clock: SimulatedClock, email: str = "Root@example.org") -> str:
    async with database.transaction() as session:
        return await create_first_administrator(session, email=email, name="Root", at=clock.now(), new_id=new_id)


class TestCreateFirstAdministrator:
    async def test_the_token_opens_the_door(self, fresh_database: Database, clock: SimulatedClock) -> None:
        text = await bootstrap(fresh_database, clock)
        actor = await authenticate(fresh_database, Policies(fresh_database), text, at=clock.now(), request=REQUEST)
        assert (actor.name, actor.may("guildhall:configuration:apply", None)) == ("Root", True)
        async with fresh_database.read() as session:
            assert [user.email for user in await session.scalars(select(User))] == ["root@example.org"]
            actions = list(await session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)))
            assert actions == ["guildhall:user:change", "guildhall:role:bind", "guildhall:token:issue"]

    async def test_only_once(self, fresh_database: Database, clock: SimulatedClock) -> None:
        await bootstrap(fresh_database, clock)
        with pytest.raises(AdministratorExists, match="ask them"):
            await bootstrap(fresh_database, clock, "second@example.org")
        async with fresh_database.read() as session:
            assert [user.email for user in await session.scalars(select(User))] == ["root@example.org"]
            assert len((await session.scalars(select(Token))).all()) == 1

    async def test_of_two_at_once_one(self, fresh_database: Database, clock: SimulatedClock) -> None:
        attempts = await asyncio.gather(
            bootstrap(fresh_database, clock, "one@example.org"),
            bootstrap(fresh_database, clock, "two@example.org"),
            return_exceptions=True,
        )
        assert [type(attempt) for attempt in attempts if not isinstance(attempt, str)] == [AdministratorExists]
        async with fresh_database.read() as session:
            assert len((await session.scalars(select(RoleBinding))).all()) == 1
            assert len((await session.scalars(select(User))).all()) == 1

    async def test_a_wrong_address(self, fresh_database: Database, clock: SimulatedClock) -> None:
        with pytest.raises(InvalidInput):
            await bootstrap(fresh_database, clock, "root")
        async with fresh_database.read() as session:
            assert (await session.scalars(select(User))).all() == []
