"""The documents of the contract that read are single statements, with the answers that graphql-core gives."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from graphql import parse
from sqlalchemy import select

from guildhall.auth.actor import Actor
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import User
from guildhall.clock import SystemClock, new_id
from guildhall.db.transaction import AUDIT_KEY, Database, connect_database
from guildhall.graphql.compiler.compile import CompiledDocument, compile_document
from guildhall.graphql.context import Context, Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.execution import Executor, Request
from guildhall.schema.root import composed_schema
from tests.documents.story import tell
from tests.documents.world import World, contract, running_world
from tests.guildhall.graphql.compiler.conftest import in_order


@pytest.fixture(scope="module")
async def world(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running_world(database, tmp_path_factory.mktemp("data")) as running:
        await tell(running)
        yield running


class Reader:
    """Runs a document both ways, as one of the people of the story."""

    def __init__(self, world: World, database: Database, actor: Actor) -> None:
        self._world, self._database, self._actor = world, database, actor
        self._composed = composed_schema()
        self.statements = 0

    def _context(self) -> Context:
        clock = SystemClock()
        return Context(
            database=self._database,
            actor_or_none=self._actor,
            clock=clock,
            new_id=new_id,
            settings=self._world.settings,
            services=Services(),
            signer=CursorSigner(b"k" * 32),
            at=clock.now(),
        )

    async def theirs(self, name: str, variables: dict[str, Any]) -> Any:
        answer = await Executor(self._composed, self._world.settings).run(
            Request(contract()[name], variables), self._context()
        )
        return json.loads(json.dumps(answer.body()))

    async def ours(self, name: str, variables: dict[str, Any]) -> Any:
        compiled = compile_document(self._composed.schema, self._composed.catalogue, parse(contract()[name]))
        assert isinstance(compiled, CompiledDocument)
        context = self._context()

        async def fetch(sql: str, arguments: Sequence[Any]) -> str:
            self.statements += 1
            async with self._database.read() as session:
                connection = await session.connection()
                found: str = (await connection.exec_driver_sql(sql, tuple(arguments))).scalar_one()
            return found

        text, _ = await compiled.answer(context, variables, fetch)
        return json.loads(text)


async def reader(world: World, database: Database, email: str) -> Reader:
    async with world.database.read() as session:
        rules = await load_rules(session)
        key, name = (await session.execute(select(User.id, User.name).where(User.email == email))).one()
    actor = Actor(kind=ActorKind.USER, id=key, name=name, policy=PolicySnapshot(rules))
    return Reader(world, database, actor)


@pytest.fixture
async def database_of_readers(world: World) -> AsyncIterator[Database]:
    database = connect_database(world.database.url, audit_key=world.database.session_info[AUDIT_KEY])
    yield database
    await database.close()


class TestReading:
    @pytest.mark.parametrize("person", ["mira@example.org", "quentin@example.org", "pat@example.org"])
    async def test_every_document(self, world: World, database_of_readers: Database, person: str) -> None:
        asked: dict[str, dict[str, Any]] = {
            "Viewer": {},
            "Models": {"first": 5, "filter": {"team": {"eq": "maintenance"}}},
            "SearchModels": {"text": "digit", "first": 5},
            "ModelPage": {"team": "maintenance", "name": "gauge-reader"},
            "DatasetPage": {"team": "maintenance", "name": "gauge-readings"},
            "Pools": {"first": 5},
            "Jobs": {"first": 5, "filter": {"state": {"in": ["SUCCEEDED", "CANCELLED"]}}},
            "JobPage": {"id": world.ids["job"]},
            "WalletPage": {"team": "maintenance"},
            "AccessQueue": {"first": 5},
            "WhoReadIt": {"resourceId": world.ids["model version"], "first": 50},
            "Impact": {"id": world.ids["model version"], "first": 5},
        }
        reads = {name for name, text in contract().items() if text.startswith("query")}
        assert asked.keys() == reads
        asking = await reader(world, database_of_readers, person)
        errors = {}
        for name, variables in asked.items():
            theirs = await asking.theirs(name, variables)
            if "errors" in theirs:
                errors[name] = [error["extensions"]["code"] for error in theirs["errors"]]
                continue
            assert in_order(await asking.ours(name, variables)) == in_order(theirs["data"]), name
        assert errors.keys() <= {"WhoReadIt", "WalletPage", "JobPage"}, errors
