"""The scalars beyond GraphQL's own, under the Python types that annotations use for them."""

import re
from datetime import UTC, date, datetime
from typing import Any, NewType

import strawberry
from strawberry.types.scalar import ScalarDefinition

from guildhall.clock import MOMENT_MAX, MOMENT_MIN
from guildhall.credits import format_credits, parse_credits

ID = strawberry.ID
"""A global id; `guildhall.graphql.ids.decode_id` opens it."""

Credits = NewType("Credits", int)
"""Micro-credits in Python and SQL; a decimal string with up to six places in GraphQL."""

BigInt = NewType("BigInt", int)
"""A whole number beyond 32 bits, up to 64; a decimal string in GraphQL."""

JSON = NewType("JSON", object)
"""Any JSON value, as it is."""

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]+")
_BIG_CHARACTERS_MAX = 20
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_YEARS = f"between the years {MOMENT_MIN.year} and {MOMENT_MAX.year}"
_INFINITIES = (datetime.min, datetime.max)  # noqa: DTZ901 -- as the driver has them, without an offset
_BIG_MIN, _BIG_MAX = -(2**63), 2**63 - 1


def serialize_moment(value: datetime) -> str:
    """RFC 3339 in UTC with six places, one way of writing each moment, so that SQL can write the same."""
    if value in _INFINITIES:  # the driver reads PostgreSQL's infinities so, without an offset
        value = value.replace(tzinfo=UTC)
    assert value.tzinfo is not None, "a moment knows its offset"
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def parse_moment(value: object) -> datetime:
    """An aware moment in UTC; ValueError for what is not RFC 3339 with an offset, or too far away to be kept."""
    if not isinstance(value, str) or _MOMENT.fullmatch(value) is None:
        raise ValueError("A DateTime is written as RFC 3339 with an offset, such as 2026-01-31T09:30:00Z.")
    text = re.sub(r"\.(\d{6})\d+", r".\1", value.upper())
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"There is no such moment {_YEARS} (UTC).") from error
    if not MOMENT_MIN <= moment <= MOMENT_MAX:
        raise ValueError(f"A DateTime lies {_YEARS} (UTC), such as 2026-01-31T09:30:00Z.")
    return moment


def parse_date(value: object) -> date:
    """A calendar day; ValueError for what is not YYYY-MM-DD, or too far away to be kept."""
    if not isinstance(value, str) or _DAY.fullmatch(value) is None:
        raise ValueError("A Date is written as YYYY-MM-DD.")
    try:
        day = date.fromisoformat(value)
    except ValueError as error:
        raise ValueError("There is no such day.") from error
    if not MOMENT_MIN.date() <= day <= MOMENT_MAX.date():
        raise ValueError(f"A Date lies {_YEARS}, such as 2026-01-31.")
    return day


def parse_big_int(value: object) -> int:
    """A whole number of 64 bits from a decimal string, or from a number where a client sends one."""
    number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if isinstance(value, str) and _WHOLE.fullmatch(value) is not None:
        number = int(value) if len(value) <= _BIG_CHARACTERS_MAX else _BIG_MAX + 1
    if number is None:
        raise ValueError("A BigInt is written as a decimal string, such as “1797”.")
    if not _BIG_MIN <= number <= _BIG_MAX:
        raise ValueError(f"A BigInt lies between {_BIG_MIN} and {_BIG_MAX}.")
    return number


def parse_credits_input(value: object) -> int:
    """Micro-credits of a decimal string; a number is refused, because JSON would round it."""
    if not isinstance(value, str):
        raise ValueError("Credits are written as a decimal string, such as “12.5”.")  # noqa: TRY004 -- coercion errors are ValueErrors
    return parse_credits(value)


def _scalar(name: str, description: str, serialize: Any, parse: Any) -> ScalarDefinition:  # noqa: ANN401 -- strawberry's own
    return strawberry.scalar(name=name, description=description, serialize=serialize, parse_value=parse)


def _same(value: object) -> object:
    return value


SCALARS: dict[object, ScalarDefinition] = {
    datetime: _scalar("DateTime", "A moment in UTC, RFC 3339.", serialize_moment, parse_moment),
    date: _scalar("Date", "A calendar day, YYYY-MM-DD.", date.isoformat, parse_date),
    Credits: _scalar("Credits", "Credits: a decimal string, six places at most.", format_credits, parse_credits_input),
    BigInt: _scalar("BigInt", "A whole number of 64 bits: a decimal string.", str, parse_big_int),
    JSON: _scalar("JSON", "Any JSON value.", _same, _same),
}
"""What strawberry is told about the types above."""
