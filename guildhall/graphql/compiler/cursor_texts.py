"""Cursors in SQL: the same texts that `guildhall.graphql.cursors` makes, put together and signed where the rows are.

Signing them in Python took a sixth of what a short page costs there: the places had to come back as marks, be found in
the text, read, written again and put in. PostgreSQL's own `sha256` takes a few microseconds.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Boolean, Date, DateTime, Float, Integer, Numeric, String, Uuid

from guildhall.graphql.compiler.leaves import NoText
from guildhall.graphql.cursors import MAC_BYTES

_FIRST, _LAST = (end.isoformat(timespec="microseconds") for end in (datetime.min, datetime.max))  # noqa: DTZ901 -- as the driver
_MOMENT = """'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'"""


def cursor_text(places: Sequence[tuple[str, Any]], parent: str | None, inner: str, outer: str) -> str:
    """The cursor as JSON text, from the columns of the place with their SQL types; the keys are of `CursorSigner.keys`.

    The body is written twice rather than in a subquery of its own, which would cost more than it spares.
    """
    body = ", ',', ".join(place_text(column, type_) for column, type_ in places)
    body = f"'[', {body}, ']'"
    above = "'0:'" if parent is None else f"octet_length({parent}), ':', {parent}"
    message = f"{inner} || {_bytes(f'{above}, {body}')}"
    mac = f"substr(sha256({outer} || sha256({message})), 1, {MAC_BYTES})"
    return rf"""'"' || translate(encode({mac} || {_bytes(body)}, 'base64'), E'+/=\n', '-_') || '"'"""


def place_text(column: str, type_: Any) -> str:  # noqa: ANN401 -- a SQL type
    """SQL for one order value as a cursor's JSON has it; raises NoText for a type that no list is ordered by."""
    for kind, write in _PLACES:
        if isinstance(type_, kind):
            return f"coalesce({write(column)}, 'null')"
    raise NoText(f"a cursor from {type_!r}")


def _bytes(parts: str) -> str:
    return f"convert_to(concat({parts}), 'UTF8')"


def _pair(letter: str, text: str) -> str:
    return f"""'["{letter}","' || {text} || '"]'"""


def _moment(column: str) -> str:
    """An infinity is NULL to `to_char`; to the driver it is the last or the first moment, in no zone."""
    written = f"to_char({column} AT TIME ZONE 'UTC', {_MOMENT})"
    return _pair(
        "t", f"coalesce({written}, CASE {column} WHEN 'infinity' THEN '{_LAST}' WHEN '-infinity' THEN '{_FIRST}' END)"
    )


def _day(column: str) -> str:
    ends = f"CASE {column} WHEN 'infinity' THEN '{date.max}' WHEN '-infinity' THEN '{date.min}' END"
    return _pair("d", f"coalesce(to_char({column}, 'YYYY-MM-DD'), {ends})")


def _text(column: str) -> str:
    return f"""'["s",' || to_json({column}::text) || ']'"""


def _plain(column: str) -> str:
    return f"{column}::text"


_PLACES: tuple[tuple[Any, Callable[[str], str]], ...] = (
    (DateTime, _moment), (Date, _day),
    (Uuid, lambda column: _pair("u", column)), (String, _text), (Integer | Boolean, _plain),
    (Float, lambda column: _pair("f", f"encode(float8send({column}), 'hex')")),
    (Numeric, lambda column: _pair("n", column)),
)  # fmt: skip
"""By SQL type; a float is a Numeric to SQLAlchemy."""
