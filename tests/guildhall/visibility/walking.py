"""The world that is walked, what is really in it, and what each caller is answered."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from graphql import GraphQLField, GraphQLInterfaceType, GraphQLNonNull, GraphQLObjectType, Undefined, get_named_type

from guildhall.graphql.execution import Executor, Request
from guildhall.graphql.ids import split_id
from tests.guildhall.graphql.oracle.world import Viewer, World
from tests.guildhall.visibility.rules import UNRULED, Facts, Row

LEAVES_MAX = 30
SHORT_VIEWERS = frozenset({
    "member", "barred", "of-two-teams", "program", "viewer-here", "contributor-everywhere", "auditor-everywhere",
    "administrator-here", "steward-here",
})  # fmt: skip


@dataclass
class Walk:
    """The world, what is really in it, and who sees what of it by the rules."""

    world: World
    rows: dict[str, dict[UUID, Row]]
    secrets: dict[str, dict[UUID, str]]
    executor: Executor
    facts: dict[str, Facts] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    async def answer(self, viewer: Viewer, document: str, **variables: Any) -> Any:
        """The body, after a look for what must not be in it."""
        answered = await self.executor.run(Request(document, variables), self.world.context(viewer))
        body = msgspec.json.encode(answered.body()).decode()
        facts = self.facts[viewer.name]
        for name, secret in self.secrets.items():
            told = [each for key, each in secret.items() if key not in facts.of(name) and each in body]
            told = [each for each in told if each not in document and each not in json.dumps(variables)]
            assert told == [], f"{viewer.name} is told of a {name} that is not there for them, by {document}"
        for kind, key in ids_in(body):
            assert kind in UNRULED or key in facts.of(kind), (
                f"{viewer.name} is shown a {kind} that is not there for them, by {document}"
            )
        return json.loads(body)


def viewers(walk: Walk, *, all_of_them: bool) -> Iterator[Viewer]:
    """Those of short runs, or all; a job's narrower rule is in the tests of jobs."""
    for viewer in walk.world.viewers:
        if viewer.name in walk.facts and (all_of_them or viewer.name in SHORT_VIEWERS):
            yield viewer


def ids_in(body: str) -> Iterator[tuple[str, UUID]]:
    """Every global id in an answer, wherever it stands."""
    waiting = [json.loads(body).get("data")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str):
            found = split_id(value)
            if found is not None:
                yield found


def object_of(definition: GraphQLField) -> GraphQLObjectType | GraphQLInterfaceType:
    """What a field leads to."""
    named = get_named_type(definition.type)
    assert isinstance(named, (GraphQLObjectType, GraphQLInterfaceType))
    return named


def is_composite(definition: GraphQLField) -> bool:
    """Whether a field leads to other objects."""
    return isinstance(get_named_type(definition.type), (GraphQLObjectType, GraphQLInterfaceType))


def needs_nothing(definition: GraphQLField) -> bool:
    """No argument that must be given, but for the page's length."""
    return all(
        name == "first" or not isinstance(argument.type, GraphQLNonNull) or argument.default_value is not Undefined
        for name, argument in definition.args.items()
    )


def selected(type_: GraphQLObjectType | GraphQLInterfaceType, steps: int) -> str:
    """All leaves, and what lies below, so many steps far."""
    if isinstance(type_, GraphQLInterfaceType):
        return "{ id __typename }"
    parts = ["__typename"]
    for name, below in type_.fields.items():
        if below.args and not ("first" in below.args and needs_nothing(below)):
            continue
        first = "(first: 5)" if "first" in below.args else ""
        if not is_composite(below):
            parts.append(name)
        elif steps > 0 and name not in {"edges", "pageInfo"}:
            parts.append(f"{name}{first} {selected(object_of(below), steps - 1)}")
    return "{ " + " ".join(parts[:LEAVES_MAX]) + " }"
