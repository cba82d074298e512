"""The marketplace's part of the schema, run by callers with roles on a committed market."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.graphql import organisation
from guildhall.graphql.compose import Composed, compose
from guildhall.graphql.context import Context, Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.execution import Executor, Request
from guildhall.settings import Settings
from marketplace.graphql import fields
from tests.marketplace.market import Market

Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def composed() -> Composed:
    """Without the packages above: `partial` leaves out what only they have."""
    return compose([*organisation.TYPES, *fields.TYPES], partial=True)


@pytest.fixture
async def shop(fresh_database: Database, clock: SimulatedClock) -> Market:
    """A market that was committed; what the test adds through it is committed as well."""
    async with fresh_database.transaction() as session:
        return await Market(session, clock.now()).build()


@pytest.fixture
def ask(fresh_database: Database, composed: Composed, settings: Settings, clock: SimulatedClock, shop: Market) -> Ask:
    """Run a document as one of the market's people; answers with the body as JSON would have it."""
    executor = Executor(composed, settings)

    async def run(name: str, document: str, **variables: Any) -> Any:
        context = Context(
            database=fresh_database,
            actor_or_none=shop.actor(name),
            clock=clock,
            new_id=new_id,
            settings=settings,
            services=Services(),
            signer=CursorSigner(b"k" * 32),
            at=clock.now(),
            request_id="request-1",
        )
        return (await executor.run(Request(document, variables, None), context)).body()

    return run


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that reach PostgreSQL meanwhile."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)
