"""The text of SELECTs, written by SQLAlchemy once for each shape, and put together for each document.

Writing is most of what a document costs that was never seen before, and documents differ in little: they name other
fields of the same rows. So what is kept is smaller than a SELECT: one text for each column of each FROM, and one for
what stands around the columns. Which values a request binds, and what a level is linked to, are holes in the texts.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import BindParameter, ClauseElement, Subquery, literal_column

from guildhall.graphql.compiler.fragments import Fragment
from guildhall.graphql.compiler.selects import Process, select_text

TEXTS_MAX = 4_000
"""How many texts are kept in a process, of some hundred characters each; that unused for longest goes first."""

_EDGE = "\x00"
"""What a hole begins and ends with while a text is written; no SQL holds it."""


@dataclass(frozen=True)
class Given:
    """A value of a fragment: the number of the fragment among those that the text was written with, and its place."""

    fragment: int
    place: int
    process: Process | None


@dataclass(frozen=True)
class Constant:
    """A value that is the same for all requests, and which no literal writes."""

    value: Any


@dataclass(frozen=True)
class Named:
    """A word that differs from document to document: the columns, the value above, the name of shared rows."""

    name: str


Hole: TypeAlias = Given | Constant | Named


def named(name: str, type_: Any = None) -> Any:  # noqa: ANN401 -- a SQL type, and a clause of it
    """A clause to be filled in by name."""
    return literal_column(f"{_EDGE}{name}{_EDGE}", type_)


@dataclass(frozen=True)
class Template:
    """Texts with a hole between each two; `about` is what else is known of what was written."""

    texts: Sequence[str]
    holes: Sequence[Hole]
    about: Any = None

    def filled(self, fill: Callable[[Hole], str]) -> str:
        """The whole text."""
        if not self.holes:
            return self.texts[0]
        parts = [self.texts[0]]
        for hole, text in zip(self.holes, self.texts[1:], strict=True):
            parts += (fill(hole), text)
        return "".join(parts)


@dataclass(frozen=True)
class Written:
    """What is to be written, with the fragments that its clauses are from; `shared` rows stand under a name.

    With `between`, only what the statement calls by the second of three names, between the other two.
    """

    statement: ClauseElement
    about: Any = None
    shared: Subquery | None = None
    between: tuple[str, str, str] | None = None


_kept: OrderedDict[Hashable, tuple[Template, object]] = OrderedDict()


def template(key: Hashable, holds: object, fragments: Sequence[Fragment], write: Callable[[], Written]) -> Template:
    """The text for this key, which may name what it `holds` by `id`."""
    found = _kept.get(key)
    if found is not None:
        _kept.move_to_end(key)
        return found[0]
    made = _template(write(), fragments)
    _kept[key] = (made, holds)
    if len(_kept) > TEXTS_MAX:
        _kept.popitem(last=False)
    return made


def _template(written: Written, fragments: Sequence[Fragment]) -> Template:
    holes = _Holes(fragments, written.shared)
    text = select_text(written.statement, holes)
    if written.between is not None:
        first, name, last = written.between
        begin, end = f"{_EDGE}{first}{_EDGE}, ", f" AS {name}, {_EDGE}{last}{_EDGE}"
        text = text[text.index(begin) + len(begin) : text.index(end)]
    parts = text.split(_EDGE)
    return Template(parts[::2], [holes.hole(name) for name in parts[1::2]], written.about)


@dataclass
class _Holes:
    """Takes down what SQLAlchemy asks a place for."""

    fragments: Sequence[Fragment]
    rows: Subquery | None
    _found: dict[str, Hole] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._places = {
            id(bind): (number, place)
            for number, made in enumerate(self.fragments)
            for place, bind in enumerate(made.binds)
        }

    def hole(self, name: str) -> Hole:
        """What a name in a text stands for."""
        return self._found.get(name) or Named(name)

    def place(self, bind: BindParameter[Any], process: Process | None) -> str | None:
        """A hole for a fragment's bind; None for one that a declaration fixes."""
        for original in (bind, *bind._cloned_set):  # noqa: SLF001 -- SQLAlchemy copies binds while it compiles
            found = self._places.get(id(original))
            if found is not None:
                return self._new(Given(*found, process))
        return None

    def constant(self, value: Any) -> str:  # noqa: ANN401 -- any value
        """A hole for a value that is the same for all requests."""
        return self._new(Constant(value))

    def shared(self, rows: Subquery) -> str | None:
        """A hole for the name of the shared rows."""
        return f"{_EDGE}shared{_EDGE}" if rows is self.rows else None

    def _new(self, hole: Hole) -> str:
        name = str(len(self._found))
        self._found[name] = hole
        return f"{_EDGE}{name}{_EDGE}"
