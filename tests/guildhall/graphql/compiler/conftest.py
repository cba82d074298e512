"""Documents run both ways: by the compiled statement, and by graphql-core, which is the oracle."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from graphql import parse

from guildhall.auth.actor import Actor
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.graphql.compiler.compile import CompiledDocument, compile_document
from guildhall.graphql.compose import Composed, compose
from guildhall.graphql.context import Context, Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.execution import Executor, Request
from guildhall.graphql.recording import Reads
from guildhall.settings import Settings
from tests.guildhall.graphql.compiler import odd as odd_types


def in_order(value: Any) -> Any:
    """JSON with the order of its keys, which Python's equality of mappings forgets."""
    if isinstance(value, dict):
        return [(key, in_order(item)) for key, item in value.items()]
    return [in_order(item) for item in value] if isinstance(value, list) else value


@dataclass
class Both:
    """Runs a document both ways; `compiled` keeps what was made of each text, `statements` all that were run."""

    composed: Composed
    new_context: Callable[[Actor], Context]
    settings: Settings
    compiled: dict[str, CompiledDocument] = field(default_factory=dict)
    statements: list[str] = field(default_factory=list)
    reads: Reads = field(default_factory=Reads)

    async def ours(self, actor: Actor, text: str, **variables: Any) -> Any:
        """The data of the compiled statement; raises NotCompilable or FallBack."""
        if text not in self.compiled:
            made = compile_document(self.composed.schema, self.composed.catalogue, parse(text))
            assert isinstance(made, CompiledDocument)
            self.compiled[text] = made
        context = self.new_context(actor)

        async def fetch(sql: str, arguments: Sequence[Any]) -> str:
            self.statements.append(sql)
            async with context.database.read() as session:
                connection = await session.connection()
                found: str = (await connection.exec_driver_sql(sql, tuple(arguments))).scalar_one()
            return found

        answer, self.reads = await self.compiled[text].answer(context, variables, fetch)
        return json.loads(answer)

    async def theirs(self, actor: Actor, text: str, **variables: Any) -> Any:
        """The whole body of graphql-core's answer."""
        answer = await Executor(self.composed, self.settings).run(Request(text, variables), self.new_context(actor))
        return json.loads(json.dumps(answer.body()))

    async def __call__(self, actor: Actor, text: str, **variables: Any) -> Any:
        """The data, after both ways gave the same, keys in the same order and no errors."""
        body, data = await self.theirs(actor, text, **variables), await self.ours(actor, text, **variables)
        assert "errors" not in body, body
        assert in_order(data) == in_order(body["data"])
        return data


@pytest.fixture(scope="session")
def odd_composed() -> Composed:
    return compose(odd_types.TYPES, partial=True)


@pytest.fixture
def both(new_context: Callable[[Actor], Context], composed: Composed, settings: Settings) -> Both:
    """The example house, both ways."""
    return Both(composed, new_context, settings)


@pytest.fixture
def odd(new_context: Callable[[Actor], Context], odd_composed: Composed, settings: Settings) -> Both:
    """The example house with all that is odd, both ways."""
    return Both(odd_composed, new_context, settings)


@pytest.fixture
def new_context(house_database: Database, settings: Settings, clock: SimulatedClock) -> Callable[[Actor], Context]:
    """A request of a caller."""

    def make(actor: Actor) -> Context:
        return Context(
            database=house_database,
            actor_or_none=actor,
            clock=clock,
            new_id=new_id,
            settings=settings,
            services=Services(),
            signer=CursorSigner(b"k" * 32),
            at=clock.now(),
            request_id="request-1",
        )

    return make
