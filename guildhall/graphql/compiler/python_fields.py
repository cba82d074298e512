"""Fields that Python answers, inside a compiled document: before the statement, or from what it returned.

A resolver that needs nothing of its object is called first, and what it returns is bound. One that does, and a function
for a whole level, are called with what the marks of the text say; objects that they return are then read by a statement
of their own, which takes them as JSON, so that their fields are served as everywhere.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from graphql import GraphQLList, GraphQLNonNull, GraphQLOutputType
from sqlalchemy import ARRAY, Date, DateTime, Float, Integer, Numeric, Uuid

from guildhall.graphql.compiler.runs import FallBack, FieldCall, Run
from guildhall.graphql.scalars import serialize_moment
from guildhall.graphql.sources import Batched, Resolve


@dataclass(frozen=True, eq=False)
class Prepared:
    """A resolver that needs nothing of its object: called once, before the statement."""

    source: Resolve
    call: FieldCall

    async def value(self, run: Run) -> str:
        """What is bound: JSON of the objects, or the finished text of a value."""
        found = self.source.function(run.context, {}, **self.call.convert(run.arguments(self.call)))
        if isinstance(found, Awaitable):
            found = await found
        if self.source.target is None:
            return json_text(found, self.call.definition.type)
        return objects_text([] if found is None and self.source.many else found)


@dataclass(frozen=True, eq=False)
class Called:
    """A function over what the statement returned: `readers` make of each operand what the driver would give."""

    source: Resolve | Batched
    call: FieldCall
    readers: Mapping[str, Callable[[Any], Any]]

    async def values(self, run: Run, payloads: Sequence[str]) -> list[Any]:
        """What the function says of each payload, which is a JSON object of operands."""
        given = self.call.convert(run.arguments(self.call))
        operands = [self._operands(payload) for payload in payloads]
        if isinstance(self.source, Resolve):
            return [await self._resolved(run, values, given) for values in operands]
        keys = list(dict.fromkeys(values["key"] for values in operands if values["key"] is not None))
        found = await self.source.function(run.context, keys, **given) if keys else {}
        return [found.get(values["key"]) for values in operands]

    def text(self, value: Any) -> str:  # noqa: ANN401 -- as Python gave it
        """A value that is no object, as its type writes it."""
        return json_text(value, self.call.definition.type)

    def _operands(self, payload: str) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(payload, parse_float=Decimal)
        return {part: None if value is None else self.readers[part](value) for part, value in read.items()}

    async def _resolved(self, run: Run, values: Mapping[str, Any], given: Mapping[str, Any]) -> Any:  # noqa: ANN401
        found = self.source.function(run.context, values, **given)
        return await found if isinstance(found, Awaitable) else found


def json_text(value: Any, type_: GraphQLOutputType) -> str:  # noqa: ANN401 -- as Python gives it
    """A value as its GraphQL type writes it; raises FallBack for what graphql-core would refuse."""
    return json.dumps(_written(value, type_), ensure_ascii=False, separators=(",", ":"))


def objects_text(value: Any) -> str:  # noqa: ANN401 -- a mapping, a list of mappings, or None
    """Mappings as JSON; raises FallBack for anything else that resolvers may return, such as keys of rows."""
    items = value if isinstance(value, list | tuple) else [] if value is None else [value]
    if not all(isinstance(item, Mapping) for item in items):
        raise FallBack
    try:
        return json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FallBack from error


def reader_of(type_: Any) -> Callable[[Any], Any]:  # noqa: ANN401 -- a SQL type
    """From PostgreSQL's JSON of a value to what the driver gives for it."""
    if isinstance(type_, ARRAY):
        read = reader_of(type_.item_type)
        return lambda values: [None if value is None else read(value) for value in values]
    for kind, reader in _READERS:
        if isinstance(type_, kind):
            return reader
    return same


def same(value: Any) -> Any:  # noqa: ANN401
    """Texts, truths and JSON are as they are."""
    return value


def _written(value: Any, type_: Any) -> Any:  # noqa: ANN401 -- any value, a GraphQL type
    if isinstance(type_, GraphQLNonNull):
        if value is None:
            raise FallBack
        return _written(value, type_.of_type)
    if value is None:
        return None
    if isinstance(type_, GraphQLList):
        return [_written(item, type_.of_type) for item in value]
    try:
        return type_.coerce_output_value(value)
    except Exception as error:  # whatever a scalar raises is graphql-core's to word
        raise FallBack from error


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return serialize_moment(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _moment(value: str) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC)


_READERS: tuple[tuple[type[Any], Callable[[Any], Any]], ...] = (
    (DateTime, _moment), (Date, date.fromisoformat), (Uuid, UUID), (Float, float), (Numeric, Decimal), (Integer, int),
)  # fmt: skip
