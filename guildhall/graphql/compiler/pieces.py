"""JSON text as pieces: our own words, what a caller wrote, SQL expressions; and the `concat` of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ARGUMENTS_MAX = 90
"""How many pieces one `concat` takes; PostgreSQL's functions take a hundred arguments."""


@dataclass(frozen=True)
class Text:
    """A text of ours."""

    text: str


@dataclass(frozen=True)
class Foreign:
    """A text in which a caller's own words stand (an alias): it is bound, and never part of the statement."""

    text: str


@dataclass(frozen=True)
class Sql:
    """An expression; where it is NULL nothing is written."""

    expression: str


Piece = Text | Foreign | Sql


def merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Texts that stand side by side as one."""
    found: list[Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        if isinstance(piece, Sql) or last is None or isinstance(last, Sql):
            found.append(piece)
        else:
            kind = Text if isinstance(piece, Text) and isinstance(last, Text) else Foreign
            found[-1] = kind(last.text + piece.text)
    return found


def concatenated(expressions: Sequence[str]) -> str:
    """One text of all; NULL counts as empty."""
    if len(expressions) > ARGUMENTS_MAX:
        chunks = range(0, len(expressions), ARGUMENTS_MAX)
        return concatenated([concatenated(expressions[start : start + ARGUMENTS_MAX]) for start in chunks])
    return f"concat({', '.join(expressions)})"
