"""No statement for each row, anywhere: every field of every type that lists lead to, on pages of one and of fifty rows.

A document is made for each field: the shortest way of lists from Query to its type, and below it that field alone. What
it may cost follows from the field's source and not from the number of rows.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from graphql import GraphQLNonNull, GraphQLObjectType, Undefined
from sqlalchemy import event, select

from guildhall.auth.actor import Actor
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import User
from guildhall.clock import SystemClock, new_id
from guildhall.db.transaction import AUDIT_KEY, Database, connect_database
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.context import Context, Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.declarations import FieldDeclaration, TypeDeclaration
from guildhall.graphql.execution import Executor, Request
from guildhall.graphql.sources import (
    Batched,
    Calculated,
    Column,
    Connection,
    Embedded,
    GlobalId,
    JsonValue,
    Many,
    ManyByIds,
    One,
    Reference,
    References,
    Resolve,
)
from guildhall.schema.root import composed_schema
from tests.documents.crowd import ROWS, gather
from tests.documents.story import tell
from tests.documents.world import World, running_world

PAGE = 50
BATCHED_STATEMENTS_MAX = 6
"""What one Python function for a whole level may take: less than there are rows."""

CROWDED = {
    "Model",
    "ModelVersion",
    "Dataset",
    "DatasetVersion",
    "Job",
    "Lesson",
    "AccessRequest",
    "AuditEvent",
    "Transfer",
}
"""The types of which the crowd has at least `ROWS`, so that their fields are really tested."""


@pytest.fixture(scope="module")
async def world(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running_world(database, tmp_path_factory.mktemp("data")) as running:
        await tell(running)
        await gather(running)
        yield running


@dataclass
class Asked:
    """What a document answered, and what it cost."""

    data: Any
    statements: int


class Counter:
    """Runs documents on connections of its own, so that the worker's statements are not counted."""

    def __init__(self, database: Database, actor: Actor, world: World) -> None:
        self._database = database
        self._actor = actor
        self._settings = replace(
            world.settings,
            graphql_document_bytes_max=1_000_000,
            graphql_tokens_max=100_000,
            graphql_rows_max=10_000_000,
        )
        self._executor = Executor(composed_schema(), self._settings)
        self._statements = 0
        self.faults: list[Any] = []
        event.listen(database.engine.sync_engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        # That closed records were read is one INSERT for each permission, however many records there were.
        self._statements += not statement.startswith(("BEGIN", "COMMIT", "ROLLBACK", "INSERT INTO audit_events"))

    async def ask(self, document: str, first: int) -> Asked:
        clock = SystemClock()
        context = Context(
            database=self._database,
            actor_or_none=self._actor,
            clock=clock,
            new_id=new_id,
            settings=self._settings,
            services=Services(),
            signer=CursorSigner(b"k" * 32),
            at=clock.now(),
        )
        self._statements = 0
        body = (await self._executor.run(Request(document, {"first": first}), context)).body()
        self.faults += [(document, error["message"], error.get("path")) for error in body.get("errors", ())]
        return Asked(body["data"], self._statements)


@pytest.fixture
async def counter(world: World) -> AsyncIterator[Counter]:
    """Asks as somebody who may see everything: Mira, holding every role that reads, everywhere."""
    async with world.database.read() as session:
        rules = await load_rules(session)
        key = (await session.scalars(select(User.id).where(User.email == "mira@example.org"))).one()
    subject = Subject(ActorKind.USER, key)
    roles = tuple(Binding(role, None) for role in rules.roles if role not in {"member", "job"})
    bindings = {**rules.bindings, subject: (*rules.bindings[subject], *roles)}
    actor = Actor(kind=ActorKind.USER, id=key, name="Mira", policy=PolicySnapshot(replace(rules, bindings=bindings)))
    database = connect_database(world.database.url, audit_key=world.database.session_info[AUDIT_KEY])
    yield Counter(database, actor, world)
    await database.close()


def paths(catalogue: Catalogue) -> dict[str, tuple[str, ...]]:
    """The shortest way from Query to each type, by lists and by embedded objects, whose names begin with a dot."""
    found: dict[str, tuple[str, ...]] = {"Query": ()}
    waiting = ["Query"]
    while waiting:
        name = waiting.pop(0)
        for field in catalogue.types[name].fields.values():
            source = field.source
            if not isinstance(source, Connection | Embedded) or source.target in {*found, "Node"}:
                continue
            if isinstance(source, Connection) and required_arguments(catalogue.types[name], field):
                continue
            step = field.graphql_name if isinstance(source, Connection) else f".{field.graphql_name}"
            found[source.target] = (*found[name], step)
            waiting.append(source.target)
    return found


def wrap(path: tuple[str, ...], selection: str) -> str:
    for name in reversed(path):
        below = f"{{ __typename {selection} }}"
        selection = f"{name[1:]} {below}" if name.startswith(".") else f"{name}(first: $first) {{ nodes {below} }}"
    return f"query ($first: Int!) {{ __typename {selection} }}"


def leaves(catalogue: Catalogue, name: str) -> str:
    """The plain fields of a type."""
    if name == "Node":
        return "__typename id"
    plain = [
        field.graphql_name
        for field in catalogue.types[name].fields.values()
        if isinstance(field.source, Column | GlobalId) and not catalogue.is_guarded(catalogue.types[name], field)
    ]
    return " ".join(["__typename", *plain])


def selection_of(catalogue: Catalogue, field: FieldDeclaration, arguments: set[str]) -> str | None:
    """The field with plain fields below it; None for one that cannot be asked without knowing more."""
    source, name = field.source, field.graphql_name
    if name == "viewerCan":
        return 'viewerCan(permission: "registry:model:discover")'
    if isinstance(source, Connection):
        if source.scope is not None and arguments - {"first"}:
            return None
        total = " totalCount" if source.total_count and source.count_maximum is None else ""
        return f"{name}(first: 2) {{ nodes {{ {leaves(catalogue, source.target)} }}{total} }}"
    given = "(first: 2)" if "first" in arguments else ""
    if arguments - {"first"}:
        return None
    if isinstance(source, Reference | References):
        return f"{name} {{ __typename id }}"
    target = getattr(source, "target", None)
    return f"{name}{given} {{ {leaves(catalogue, target)} }}" if target is not None else f"{name}{given}"


def cost(field: FieldDeclaration) -> int:
    """How many statements a field of a whole level may take."""
    match field.source:
        case One() | Many() | ManyByIds() | Calculated():
            return 1
        case Connection():
            return 2 + (0 if field.source.reference is None else len(set(field.source.reference[2].values())))
        case Reference():
            return len(set(field.source.types.values()))
        case References():
            return 1 + len(set(field.source.types.values()))
        case Batched():
            return BATCHED_STATEMENTS_MAX
        case Resolve():
            return 0 if field.source.target is None else 1
        case Column() | GlobalId() | Embedded() | JsonValue():
            return 0
        case _:
            return 0


def reached(data: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """The objects at the end of the path."""
    if data is None:
        return
    if not path:
        yield data
        return
    nodes = [data[path[0][1:]]] if path[0].startswith(".") else (data[path[0]] or {"nodes": []})["nodes"]
    for node in nodes:
        yield from reached(node, path[1:])


def required_arguments(declared: TypeDeclaration, field: FieldDeclaration) -> set[str]:
    """Arguments without which the field cannot be asked."""
    graphql_type = composed_schema().schema.type_map[declared.name]
    assert isinstance(graphql_type, GraphQLObjectType)
    arguments = graphql_type.fields[field.graphql_name].args
    return {
        name
        for name, argument in arguments.items()
        if isinstance(argument.type, GraphQLNonNull) and argument.default_value is Undefined
    }


class TestStatementsOfALevel:
    async def test_no_field_takes_a_statement_for_each_row(self, world: World, counter: Counter) -> None:
        catalogue = composed_schema().catalogue
        crowded: dict[str, int] = {}
        dear: list[tuple[str, str, int]] = []
        asked = 0
        for name, path in paths(catalogue).items():
            if not path:
                continue
            bare = await counter.ask(wrap(path, ""), PAGE)
            assert bare.statements <= len(path), (path, bare.statements)
            crowded[name] = len(list(reached(bare.data, path)))
            declared = catalogue.types[name]
            for field in declared.fields.values():
                selection = selection_of(catalogue, field, required_arguments(declared, field))
                if selection is None:
                    continue
                many = await counter.ask(wrap(path, selection), PAGE)
                if many.statements > bare.statements + cost(field):
                    dear.append((name, field.graphql_name, many.statements))
                one = await counter.ask(wrap(path, selection), 1)
                assert one.statements <= many.statements, (name, field.graphql_name)
                asked += 1
        assert counter.faults == [], "\n".join(f"{path}: {document}" for document, _, path in counter.faults)
        assert dear == []
        assert {name for name in CROWDED if crowded[name] < ROWS} == set(), crowded
        assert asked > 150
