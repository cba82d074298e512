"""The example house on real tables, callers with roles, and a way to run documents and count their statements."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, insert
from sqlalchemy.ext.asyncio import create_async_engine

from guildhall.auth.actor import Actor
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.transaction import Database
from guildhall.graphql.compose import Composed, compose
from guildhall.graphql.context import Context, Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.execution import Executor, Request
from guildhall.settings import Settings
from tests.conftest import MONDAY_MORNING
from tests.guildhall.graphql import example
from tests.guildhall.graphql.example import DISCOVER, WALLET, ExampleBase, Guest, House, Note, Room, Stay

OURS, THEIRS = UUID(int=1), UUID(int=2)
ANNA, BERT, NOBODY = UUID(int=11), UUID(int=12), UUID(int=13)
HOUSES = [UUID(int=100 + index) for index in range(4)]


def room_id(house: int, room: int) -> UUID:
    return UUID(int=1000 * (house + 1) + room)


RULES = PolicyRules(
    version=1,
    roles={
        "member": RoleRules(frozenset({DISCOVER}), frozenset()),
        "lead": RoleRules(frozenset({DISCOVER, WALLET, "registry:model:register"}), frozenset()),
    },
    bindings={
        Subject(ActorKind.USER, ANNA): (Binding("lead", OURS),),
        Subject(ActorKind.USER, BERT): (Binding("lead", THEIRS),),
    },
    teams={OURS: "ours", THEIRS: "theirs"},
)


def user(key: UUID, name: str) -> Actor:
    return Actor(kind=ActorKind.USER, id=key, name=name, policy=PolicySnapshot(RULES))


@pytest.fixture
def anna() -> Actor:
    """Leads the team that owns houses 0, 1 and 3."""
    return user(ANNA, "Anna")


@pytest.fixture
def bert() -> Actor:
    """Leads the team that owns house 2; house 1 is visible to its own team only."""
    return user(BERT, "Bert")


@pytest.fixture(scope="module")
async def house_database(database: Database, server: EmbeddedServer) -> Database:
    engine = create_async_engine(server.url(OWNER_ROLE, str(database.engine.url.database)))
    async with engine.begin() as connection:
        await connection.run_sync(ExampleBase.metadata.create_all)
        await connection.execute(insert(House), _houses())
        await connection.execute(insert(Room), _rooms())
        guests = [{"id": UUID(int=500 + index), "name": f"guest-{index}"} for index in range(3)]
        await connection.execute(insert(Guest), guests)
        stays = [(0, 2), (0, 0), (1, 1), (2, 2)]
        await connection.execute(
            insert(Stay), [{"house_id": HOUSES[house], "guest_id": UUID(int=500 + guest)} for house, guest in stays]
        )
        await connection.execute(insert(Note), _notes())
    await engine.dispose()
    return database


def _houses() -> list[dict[str, Any]]:
    rows = []
    for index, (team, visibility) in enumerate(
        [(OURS, "ORGANISATION"), (OURS, "TEAM"), (THEIRS, "ORGANISATION"), (OURS, "ORGANISATION")]
    ):
        rows.append(
            {
                "id": HOUSES[index],
                "name": f"house-{index}",
                "team_id": team,
                "visibility": visibility,
                "created_at": MONDAY_MORNING + timedelta(hours=index),
                "doors": [{"colour": "red", "width_m": 0.9}] if index == 0 else [],
                "favourite_ids": [room_id(0, 2), room_id(1, 0), room_id(0, 0)] if index == 2 else [],
                "price": 12_500_000,
                "bytes": 2**40,
                "opens_at": "08:00" if index == 0 else "",
                "closes_at": "20:00",
            }
        )
    return rows


def _rooms() -> list[dict[str, Any]]:
    return [
        {
            "id": room_id(house, room),
            "house_id": HOUSES[house],
            "name": f"room-{house}-{'x' * room}",
            "kind": "SMALL" if room % 2 else "LARGE",
            "created_at": MONDAY_MORNING + timedelta(minutes=room // 2),
        }
        for house in range(3)
        for room in range(5)
    ]


def _notes() -> list[dict[str, Any]]:
    def note(number: int, kind: str, subject: UUID, author: UUID | None = None) -> dict[str, Any]:
        return {
            "id": UUID(int=700 + number),
            "text": f"note {number}",
            "subject_kind": kind,
            "subject_id": subject,
            "author_id": author,
        }

    return [
        note(1, "ROOM", room_id(0, 1), HOUSES[2]),
        note(2, "HOUSE", HOUSES[1], HOUSES[2]),
        note(3, "HOUSE", HOUSES[0], HOUSES[2]),
        note(4, "GARDEN", HOUSES[0], HOUSES[2]),
    ]


@pytest.fixture(scope="session")
def composed() -> Composed:
    return compose(example.TYPES)


Run = Callable[..., Any]


@pytest.fixture
def run(house_database: Database, composed: Composed, settings: Settings, clock: SimulatedClock) -> Run:
    """Run a document as a caller; answers with the body as JSON would have it."""
    executor = Executor(composed, settings)

    async def run_document(actor: Actor | None, document: str, operation: str | None = None, **variables: Any) -> Any:
        context = Context(
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
        return (await executor.run(Request(document, variables, operation), context)).body()

    return run_document


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
