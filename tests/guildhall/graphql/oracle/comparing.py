"""One document answered both ways, by graphql-core with the generated loaders and by the compiled statement."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec
from graphql import GraphQLObjectType, GraphQLSchema

from guildhall.clock import new_id
from guildhall.errors import Forbidden
from guildhall.graphql.answers import format_error
from guildhall.graphql.documents import RequestRefused
from guildhall.graphql.execution import Executor, Request
from tests.guildhall.graphql.oracle.documents import Document, smaller
from tests.guildhall.graphql.oracle.world import Viewer, World

REDUCTIONS_MAX = 300
INTERNAL = "INTERNAL_ERROR"


@dataclass(frozen=True)
class Answered:
    """The body, parsed, and what went on record; `compiled` where a statement gave it."""

    body: Any
    recorded: Any
    compiled: bool = False

    @property
    def errors(self) -> Sequence[Any]:
        found: Sequence[Any] = self.body.get("errors", ())
        return found

    @cached_property
    def text(self) -> str:
        """The body, keys in order; where errors stand in the list says nothing, so they are sorted."""
        errors = sorted(json.dumps(_steady(error)) for error in self.errors)
        return json.dumps({**self.body, "errors": errors} if errors else self.body)


Answer = Callable[[World, Viewer, Document], Awaitable[Answered]]


@dataclass(frozen=True)
class Outcome:
    """One document, one viewer, both answers."""

    document: Document
    viewer: Viewer
    oracle: Answered
    compiled: Answered

    @property
    def equal(self) -> bool:
        """Equal after parsing.

        What goes on record is equal too, but for what a directive leaves out: the loaders read and record it.
        """
        if "@" in self.document.text:
            more = {repr(each) for each in _pairs(self.oracle)}
            recorded = all(repr(each) in more for each in _pairs(self.compiled))
        else:
            recorded = self.oracle.recorded == self.compiled.recorded
        return recorded and self.oracle.text == self.compiled.text

    @property
    def codes(self) -> list[str]:
        """Of the oracle's errors."""
        return [error["extensions"]["code"] for error in self.oracle.errors]

    def told(self) -> str:
        told = [f"{self.viewer.name} asks {self.document.text}", f"with {json.dumps(self.document.variables)}"]
        if self.document.overrides:
            told.append(f"after {json.dumps(replace(self.document, overrides={}).variables)}")
        for name, answered in (("graphql-core", self.oracle), ("compiled", self.compiled)):
            told.append(f"{name}: {answered.text[:3000]} {str(answered.recorded)[:1000]}")
        return "\n  ".join(told)


def _pairs(answered: Answered) -> Iterator[Any]:
    for action, outcome, resources in answered.recorded:
        for resource in resources:
            yield action, outcome, resource


def _steady(error: Any) -> Any:
    """An error without the id under which the log has it."""
    extensions = {name: value for name, value in error["extensions"].items() if name != "errorId"}
    masked = extensions["code"] == INTERNAL
    return {**error, "extensions": extensions, "message": "" if masked else error["message"]}


def oracle_answer(executor: Executor) -> Answer:
    """graphql-core and the loaders, whatever the executor would rather do."""

    async def answer(world: World, viewer: Viewer, document: Document) -> Answered:
        world.database.recorded.clear()
        context, request = world.context(viewer), Request(document.text, document.variables)
        try:
            parsed, _ = executor.admit(request, context)
        except RequestRefused as refused:
            return Answered({"errors": [format_error(error, new_id=new_id) for error in refused.errors]}, [])
        (given,) = await executor.answers(parsed, request, context, [None])
        return Answered(_parsed(json.dumps(given.body())), list(world.database.recorded))

    return answer


def executor_answer(executor: Executor) -> Answer:
    """As a caller gets it, by the compiled statement wherever there is one."""

    async def answer(world: World, viewer: Viewer, document: Document) -> Answered:
        world.database.recorded.clear()
        given = await executor.run(Request(document.text, document.variables), world.context(viewer))
        body = _parsed(msgspec.json.encode(given.body()))
        return Answered(body, list(world.database.recorded), given.compiled)

    return answer


def _parsed(text: str | bytes) -> Any:
    """To JSON, 0 and 0.0 are one number."""
    return json.loads(text, parse_int=float)


async def compare(world: World, viewer: Viewer, document: Document, oracle: Answer, compiled: Answer) -> Outcome:
    """Both answers to one document."""
    return Outcome(document, viewer, await oracle(world, viewer, document), await compiled(world, viewer, document))


async def reduced(outcome: Outcome, again: Callable[[Document], Awaitable[Outcome]]) -> Outcome:
    """The smallest document found that still is answered in two ways; tried a bounded number of times."""
    left, smallest = REDUCTIONS_MAX, outcome
    candidates = smaller(smallest.document)
    while left > 0 and (candidate := next(candidates, None)) is not None:
        left -= 1
        found = await again(candidate)
        refused = any(error["extensions"]["code"].startswith("GRAPHQL_") for error in found.oracle.errors)
        if not refused and not found.equal:
            smallest, candidates = found, smaller(found.document)
    return smallest


def with_cursors(document: Document, answered: Answered) -> Document | None:
    """The same document one page on, for the connections whose `after` is a variable; None where there are none."""
    found = dict(_cursors(document.selections, answered.body.get("data")))
    return replace(document, overrides=found) if found else None


def _cursors(selections: Any, data: Any) -> Iterator[tuple[str, str]]:
    for selection in selections:
        below = data
        if selection.name:
            below = data.get(selection.key) if isinstance(data, dict) else None
            below = next((each for each in below if each is not None), None) if isinstance(below, list) else below
            after = next((each.variable for each in selection.arguments if each.name == "after"), None)
            cursor = _last_cursor(below)
            if after is not None and cursor is not None:
                yield after.name, cursor
        if selection.below is not None and below is not None:
            yield from _cursors(selection.below, below)


def cursors_of(outcome: Outcome) -> list[str]:
    """Some cursors that an answer holds."""
    held = dict(_cursors(outcome.document.selections, outcome.oracle.body.get("data")))
    return list(held.values())


def _last_cursor(connection: Any) -> str | None:
    if not isinstance(connection, dict):
        return None
    info = connection.get("pageInfo") or {}
    edges = connection.get("edges") or []
    cursors = [info.get("startCursor"), info.get("endCursor"), *(edge.get("cursor") for edge in edges)]
    return next((cursor for cursor in cursors if cursor), None)


@dataclass(frozen=True)
class Watched:
    """The coordinates of the fields that graphql-core resolved, and of those that it was refused."""

    reached: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    def clear(self) -> None:
        self.reached.clear()
        self.refused.clear()


@contextmanager
def watched_fields(schema: GraphQLSchema) -> Iterator[Watched]:
    """What happens to all fields meanwhile; the caller clears it as it likes."""
    watched = Watched()
    fields = [
        (type_.name, name, definition)
        for type_ in schema.type_map.values()
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__")
        for name, definition in type_.fields.items()
    ]
    kept = [definition.resolve for _, _, definition in fields]
    for type_name, name, definition in fields:
        definition.resolve = _noting(f"{type_name}.{name}", definition.resolve, watched)
    try:
        yield watched
    finally:
        for (_, _, definition), resolve in zip(fields, kept, strict=True):
            definition.resolve = resolve


def _noting(coordinate: str, resolve: Any, watched: Watched) -> Any:
    def noting(record: Any, info: Any, **given: Any) -> Any:
        watched.reached.add(coordinate)
        try:
            return resolve(record, info, **given)
        except Forbidden:
            watched.refused.add(coordinate)
            raise

    return noting


@dataclass
class Tally:
    """The shares of many documents."""

    documents: int = 0
    without_errors: int = 0
    compiled: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    reached: set[str] = field(default_factory=set)
    reached_compiled: set[str] = field(default_factory=set)

    def add(self, outcome: Outcome, reached: set[str]) -> None:
        """Count one more; `reached` are the fields that were resolved for it."""
        self.documents += 1
        self.without_errors += not outcome.oracle.errors
        self.compiled += outcome.compiled.compiled
        self.codes.update(outcome.codes)
        self.reached |= reached
        if outcome.compiled.compiled:
            self.reached_compiled |= reached
