"""Pieces of SQL that are made anew for each request: their shape decides the statement, their values are bound.

A rule such as "what this caller may see" is a Python function that gives SQLAlchemy clauses. Two calls that give the
same shape with other values share one statement; SQLAlchemy's own cache keys say what the shape is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID  # noqa: N811 -- a class
from sqlalchemy import BindParameter

SHAPES_MAX = 20_000
"""How many shapes are known by number; beyond it numbering starts anew, and statements are made again."""


@dataclass(frozen=True)
class Fragment:
    """Clauses by the part they play; `values` belong to `binds`, in the order of the clauses. `notes` are no SQL."""

    parts: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    shape: int = 0
    values: tuple[Any, ...] = ()
    binds: tuple[BindParameter[Any], ...] = ()
    notes: tuple[Any, ...] = ()

    def one(self, part: str) -> Any:  # noqa: ANN401 -- a clause
        """The single clause of a part."""
        (clause,) = self.parts[part]
        return clause


def fragment(parts: Mapping[str, Sequence[Any]], *notes: object) -> Fragment:
    """The fragment of these clauses; `notes` (directions, names) belong to the shape as they are."""
    clauses = {part: tuple(clause_of(element) for element in elements) for part, elements in parts.items()}
    shape: list[object] = list(notes)
    values: list[Any] = []
    binds: list[BindParameter[Any]] = []
    for part, elements in clauses.items():
        shape += [part, len(elements)]
        for element in elements:
            key = element._generate_cache_key()  # noqa: SLF001 -- SQLAlchemy's own cache asks the same
            assert key is not None, f"a clause without a cache key cannot be compiled: {element}"
            shape.append(key.key)
            binds += key.bindparams
            values += [ready(bind.effective_value) for bind in key.bindparams]
    return Fragment(clauses, _number(tuple(shape)), tuple(values), tuple(binds), notes)


def noted(*notes: object, values: Sequence[Any] = ()) -> Fragment:
    """A fragment without SQL of its own: what the statement looks like follows from `notes`, with these values."""
    return Fragment({}, _number(notes), tuple(values), (), notes)


def ready(value: Any) -> Any:  # noqa: ANN401 -- any value
    """A list of ids as the driver's own kind, which it writes faster: a caller's teams are bound again and again."""
    if isinstance(value, list | tuple) and all(isinstance(each, UUID) for each in value):
        return [DriverUUID(each.bytes) for each in value]
    return value


def clause_of(element: Any) -> Any:  # noqa: ANN401 -- an attribute of a mapped class, or a clause
    """The clause of an ORM attribute, or the clause itself."""
    made: Callable[[], Any] | None = getattr(element, "__clause_element__", None)
    return element if made is None else made()


_numbers: dict[tuple[object, ...], int] = {}
_last = 0


def _number(shape: tuple[object, ...]) -> int:
    """A small number for a shape, the same for equal ones, so that requests compare numbers and not trees."""
    global _last  # noqa: PLW0603 -- never the same number for two shapes, also after the table was emptied
    found = _numbers.get(shape)
    if found is None:
        if len(_numbers) >= SHAPES_MAX:
            _numbers.clear()
        _last += 1
        found = _numbers[shape] = _last
    return found
