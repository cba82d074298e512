"""Cursors that PostgreSQL makes, and the same that Python makes."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Boolean, Date, DateTime, Enum, Float, Integer, LargeBinary, Numeric, String, Uuid

from guildhall.auth.actor import Actor
from guildhall.graphql.compiler.cursor_texts import cursor_text, place_text
from guildhall.graphql.compiler.leaves import NoText
from guildhall.graphql.context import Context
from guildhall.graphql.cursors import CursorSigner, InvalidCursor

SIGNER = CursorSigner(b"k" * 32)
KEY = UUID("01945ac4-1ef0-7003-8000-00000001869f")
EVERY_CHARACTER = "".join(map(chr, range(1, 256))) + '\u2028𝄞"\\/'

VALUES = [
    (DateTime(timezone=True), "timestamptz", datetime(2026, 3, 2, 8, 0, tzinfo=UTC)),
    (DateTime(timezone=True), "timestamptz", datetime(1999, 12, 31, 23, 59, 59, 5, tzinfo=UTC)),
    (Date(), "date", date(2026, 3, 2)),
    *((DateTime(timezone=True), "timestamptz", end) for end in (datetime.max, datetime.min)),  # noqa: DTZ901 -- infinities, as the driver has them
    *((Date(), "date", end) for end in (date.max, date.min)),
    (Uuid(), "uuid", KEY),
    (String(), "text", EVERY_CHARACTER),
    (Enum("LARGE", "SMALL"), "text", "LARGE"),
    (Integer(), "bigint", -(2**62)),
    (Boolean(), "boolean", True),
    (Boolean(), "boolean", False),
    (Float(), "float8", 0.1),
    (Float(), "float8", 1e300),
    (Numeric(), "numeric", Decimal("0.00000010")),
    (Numeric(), "numeric", Decimal("-120000000000000000000.5")),
    *((type_, kind, None) for type_, kind in ((DateTime(), "timestamptz"), (String(), "text"), (Integer(), "bigint"))),
]


async def made(context: Context, types: list[tuple[Any, str]], values: list[Any], parent: str | None) -> str:
    """What PostgreSQL makes of these values."""
    columns = [(f"v.c{place}", type_) for place, (type_, _) in enumerate(types)]
    given = ", ".join(f"${place + 4}::{kind} AS c{place}" for place, (_, kind) in enumerate(types))
    text = cursor_text(columns, None if parent is None else "$3::text", "$1::bytea", "$2::bytea")
    arguments = (*SIGNER.keys(b"list"), parent, *values)
    async with context.database.read() as session:
        connection = await session.connection()
        sql = f"SELECT {text}, $3::text FROM (SELECT {given}) v"
        found: str = (await connection.exec_driver_sql(sql, arguments)).scalar_one()
    cursor: str = json.loads(found)
    return cursor


class TestCursorText:
    @pytest.mark.parametrize(("type_", "kind", "value"), VALUES)
    async def test_of_every_type_as_python_makes_it(
        self, new_context: Callable[[Actor], Context], anna: Actor, type_: Any, kind: str, value: Any
    ) -> None:
        cursor = await made(new_context(anna), [(type_, kind)], [value], None)
        assert cursor == SIGNER.sign(b"list", [value])
        assert SIGNER.open(b"list", cursor) == [value]

    async def test_of_a_list_below_an_object(self, new_context: Callable[[Actor], Context], anna: Actor) -> None:
        types, values = [(String(), "text"), (Uuid(), "uuid")], ["é", KEY]
        cursor = await made(new_context(anna), types, values, str(KEY))
        assert cursor == SIGNER.sign(b"list", values, KEY)
        assert SIGNER.open(b"list", cursor, KEY) == values
        for parent in (None, UUID(int=0), "None", ""):
            with pytest.raises(InvalidCursor):
                SIGNER.open(b"list", cursor, parent)

    def test_what_no_list_is_ordered_by(self) -> None:
        with pytest.raises(NoText):
            place_text("r1.o0", LargeBinary())
