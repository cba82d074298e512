"""Asking the registry's GraphQL as one of the house, on data that is committed."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import event

from guildhall.auth.actor import Actor
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.graphql.compose import Composed
from guildhall.graphql.context import Context, Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.execution import Executor, Request
from guildhall.graphql.ids import encode_id
from guildhall.schema.root import composed_schema
from guildhall.settings import Settings
from registry.artifacts.tickets import UploadTickets
from registry.storage import ArtifactStore
from tests.registry.house import House


class Asking:
    """One house in one database, and its people's questions."""

    def __init__(self, database: Database, settings: Settings, clock: SimulatedClock) -> None:
        self.database = database
        self.settings = settings
        self.clock = clock
        self.composed: Composed = composed_schema()
        self.executor = Executor(self.composed, settings)
        self.store = ArtifactStore.open("memory:///")
        self._services = Services().add(ArtifactStore, self.store).add(UploadTickets, UploadTickets(b"k" * 32))
        self._house: House | None = None

    @asynccontextmanager
    async def house(self) -> AsyncIterator[House]:
        """The house, for things to be made in it; they are committed at the end."""
        async with self.database.transaction() as session:
            if self._house is None:
                self._house = await House(session, self.clock.now()).build()
            self._house.session = session
            yield self._house

    def actor(self, who: str) -> Actor:
        """One of the people."""
        assert self._house is not None, "build the house first"
        return self._house.actor(who)

    def context(self, who: str | Actor) -> Context:
        """A request of one of the people."""
        return Context(
            database=self.database,
            actor_or_none=who if isinstance(who, Actor) else self.actor(who),
            clock=self.clock,
            new_id=new_id,
            settings=self.settings,
            services=self._services,
            signer=CursorSigner(b"k" * 32),
            at=self.clock.now(),
            request_id="request-1",
        )

    async def body(self, who: str | Actor, document: str, **variables: Any) -> dict[str, Any]:
        """The whole answer."""
        return (await self.executor.run(Request(document, variables), self.context(who))).body()

    async def __call__(self, who: str | Actor, document: str, **variables: Any) -> Any:
        """The data of an answer without errors."""
        body = await self.body(who, document, **variables)
        assert "errors" not in body, body["errors"]
        return body["data"]

    async def refused(self, who: str | Actor, document: str, **variables: Any) -> list[str]:
        """The codes of an answer's errors."""
        body = await self.body(who, document, **variables)
        return [error["extensions"]["code"] for error in body["errors"]]

    @contextmanager
    def counted(self) -> Iterator[list[str]]:
        """The statements that reach PostgreSQL meanwhile."""
        statements: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

        event.listen(self.database.engine.sync_engine, "before_cursor_execute", note)
        try:
            yield statements
        finally:
            event.remove(self.database.engine.sync_engine, "before_cursor_execute", note)


def version_id(key: UUID) -> str:
    """The global id of a model version."""
    return encode_id("ModelVersion", key)


def model_id(key: UUID) -> str:
    """The global id of a model."""
    return encode_id("Model", key)
