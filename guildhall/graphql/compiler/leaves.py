"""How a scalar or an enum is written as JSON text, in SQL: by its GraphQL type and where its value lies.

Every expression is NULL exactly where the value is; what no statement may decide (an integer beyond 32 bits, a number
that is none) becomes `MISTAKE`, and graphql-core answers instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from graphql import GraphQLEnumType, GraphQLList, GraphQLNonNull, GraphQLScalarType
from sqlalchemy import ARRAY, BigInteger, Boolean, Date, DateTime, Enum, Integer, Numeric, String, Table
from sqlalchemy import JSON as SqlJson  # noqa: N811 -- a class
from sqlalchemy import Column as SqlColumn
from sqlalchemy import Float as SqlFloat

from guildhall.graphql.compiler.fragments import clause_of
from guildhall.graphql.compiler.shapes import JsonKey, Leaf, RowValue
from guildhall.graphql.scalars import serialize_moment

MISTAKE = r"E'\x01!\x02'"
"""The mark of something that graphql-core must word; no JSON text holds such characters."""

_MOMENT = r"""'\"YYYY-MM-DD"T"HH24:MI:SS.US"Z\""'"""

_FIRST, _LAST = (f'"{serialize_moment(end)}"' for end in (datetime.min, datetime.max))  # noqa: DTZ901 -- as the driver


class NoText(Exception):
    """No statement writes this type from this value."""


@dataclass(frozen=True)
class About:
    """What is known of a column: its SQL type, that it is never NULL, that it is a table's own."""

    type: Any
    certain: bool = False
    plain: bool = False


def about(clause: Any) -> About:  # noqa: ANN401 -- a clause
    """Of a table's own column its definition tells; of anything computed only the type is known."""
    plain = isinstance(clause, SqlColumn) and isinstance(clause.table, Table)
    return About(clause.type, certain=plain and not clause.nullable, plain=plain)


def text_of(leaf: Leaf, known: About | None) -> str:
    """SQL for what `concat` is to write of a leaf, never NULL; `known` is None for a key of JSON."""
    kind: Any = leaf.type
    nullable = not isinstance(kind, GraphQLNonNull)
    kind = kind if nullable else kind.of_type
    if known is None:
        assert isinstance(leaf.value, JsonKey), "all is known of columns"
        named = leaf.global_id_of
        key = f"{plain_text(leaf.value)}::uuid"
        expression = _of_json(kind, leaf.value) if named is None else _global_id(named, key)
    else:
        expression = _of_row(leaf, kind, reference(leaf.value), known)
        if known.certain:
            return expression
    return f"coalesce(({expression})::text, {quoted('null') if nullable else MISTAKE})"


def check_written(leaf: Leaf, operand: Any) -> None:  # noqa: ANN401 -- an operand
    """Raise NoText where no statement writes the leaf from the operand; what depends on a request is not known yet."""
    if isinstance(leaf.value, JsonKey):
        text_of(leaf, None)
    elif hasattr(operand, "type"):
        text_of(leaf, about(clause_of(operand)))


def quoted(text: str) -> str:
    """A text as a SQL literal. Only our own texts: what a caller wrote is bound."""
    assert "\\" not in text, "a backslash would need another kind of literal"
    return "'" + text.replace("'", "''") + "'"


def reference(value: RowValue | JsonKey) -> str:
    """A value in SQL, as it is."""
    if isinstance(value, RowValue):
        return f"{value.alias}.{value.column}"
    return f"({value.value} -> {quoted(value.key)})"


def plain_text(value: RowValue | JsonKey) -> str:
    """A value as PostgreSQL's own text: a kind, a key in a mark."""
    if isinstance(value, RowValue):
        return f"{value.alias}.{value.column}::text"
    return f"({value.value} ->> {quoted(value.key)})"


def _of_row(leaf: Leaf, kind: Any, column: str, value: About) -> str:  # noqa: ANN401 -- a GraphQL type
    if leaf.global_id_of is not None:
        return _global_id(leaf.global_id_of, column)
    if isinstance(kind, GraphQLList):
        if not isinstance(value.type, ARRAY) or not isinstance(value.type.item_type, String):
            raise NoText(f"a list of {value.type!r}")
        return f"to_json({column})"
    if isinstance(kind, GraphQLEnumType):
        if not isinstance(value.type, String | Enum):
            raise NoText(f"an enum from {value.type!r}")
        return _known(kind, column)
    assert isinstance(kind, GraphQLScalarType), "leaves are scalars, enums or lists of them"
    for type_, write in _ROWS.get(kind.name, ()):
        if isinstance(value.type, type_):
            return write(column, value.plain)
    raise NoText(f"{kind.name} from {value.type!r}")


def _global_id(type_name: str, key: str) -> str:
    return f"""({quoted(f'"{type_name}_')} || encode(uuid_send({key}), 'hex') || '"')"""


def _known(kind: GraphQLEnumType, text: str) -> str:
    """An enum's value by its name, if it is one; neither needs escapes. Most are stored under their names."""
    stored = {name: str(each.value) for name, each in kind.values.items()}
    written = f"""'"' || {text} || '"'"""
    if any(name != value for name, value in stored.items()):
        names = " ".join(f"""WHEN {quoted(value)} THEN {quoted(f'"{name}"')}""" for name, value in stored.items())
        written = f"CASE {text} {names} END"
    values = quoted("{" + ",".join(stored.values()) + "}")
    return f"CASE WHEN {text} = ANY ({values}) THEN {written} WHEN {text} IS NOT NULL THEN {MISTAKE} END"


def _text(column: str, _plain: bool) -> str:
    return f"to_json({column})"


def _short(column: str, plain: bool) -> str:
    """A column of 32 bits needs no look; what is computed may be of any length, whatever SQLAlchemy thinks."""
    return column if plain else _whole(column, plain)


def _whole(column: str, _plain: bool) -> str:
    fits = f"{column} BETWEEN -2147483648 AND 2147483647"
    return f"CASE WHEN {fits} THEN {column}::text WHEN {column} IS NOT NULL THEN {MISTAKE} END"


def _number(column: str, _plain: bool) -> str:
    """A number minus itself is zero, unless it is none, or infinite."""
    real = f"{column}::float8"
    return f"CASE WHEN {real} - {real} = 0 THEN {real}::text WHEN {column} IS NOT NULL THEN {MISTAKE} END"


def _truth(column: str, _plain: bool) -> str:
    return f"CASE {column} WHEN true THEN 'true' WHEN false THEN 'false' END"


def _moment(column: str, _plain: bool) -> str:
    """An infinity, which no calendar writes, is NULL to `to_char`; to the driver it is the last or first moment."""
    written = f"to_char({column} AT TIME ZONE 'UTC', {_MOMENT})"
    ends = f"WHEN 'infinity' THEN {quoted(_LAST)} WHEN '-infinity' THEN {quoted(_FIRST)}"
    return f"coalesce({written}, CASE {column} {ends} END)"


def _day(column: str, _plain: bool) -> str:
    ends = f"""WHEN 'infinity' THEN '"{date.max}"' WHEN '-infinity' THEN '"{date.min}"'"""
    return f"CASE {column} {ends} ELSE to_json({column})::text END"


def _credits(column: str, _plain: bool) -> str:
    return f"""('"' || trim_scale({column} * 0.000001) || '"')"""


def _big(column: str, _plain: bool) -> str:
    return f"""('"' || {column} || '"')"""


def _any(column: str, _plain: bool) -> str:
    return f"nullif({column}, 'null')::text"


_ROWS: dict[str, tuple[tuple[Any, Callable[[str, bool], str]], ...]] = {
    "String": ((String, _text),),
    "Int": ((BigInteger, _whole), (Integer, _short), (Numeric, _whole)),
    "Float": ((SqlFloat, _number), (Numeric, _number), (Integer, _number)),
    "Boolean": ((Boolean, _truth),),
    "DateTime": ((DateTime, _moment),),
    "Date": ((Date, _day),),
    "Credits": ((Integer, _credits), (Numeric, _credits)),
    "BigInt": ((Integer, _big), (Numeric, _big)),
    "JSON": ((SqlJson, _any),),
}
"""By GraphQL scalar: the SQL types that it is written from. Others are left to graphql-core."""


def _of_json(kind: Any, value: JsonKey) -> str:  # noqa: ANN401 -- a GraphQL type
    item = reference(value)
    written = f"{item}::text"
    if isinstance(kind, GraphQLList):
        strange = f"""jsonb_path_exists({item}, '$[*] ? (@.type() != "string")')"""
        return _typed(item, "array", f"CASE WHEN {strange} THEN {MISTAKE} ELSE {written} END")
    if isinstance(kind, GraphQLEnumType):
        known = _known(kind, plain_text(value))
        return _typed(item, "string", known)
    if kind.name == "JSON":
        return f"nullif({item}, 'null')::text"
    if kind.name in _JSON_WHOLE:
        write = _JSON_WHOLE[kind.name]
        whole = f"{written} ~ '^-?[0-9]{{1,18}}$'"
        written = f"CASE WHEN {whole} THEN {write(f'({written}::bigint)', False)} ELSE {MISTAKE} END"
        return _typed(item, "number", written)
    if kind.name not in _JSON or (kind.name in _MADE_BY_US and not value.ours):
        raise NoText(f"{kind.name} from JSON")
    return _typed(item, _JSON[kind.name], written)


_JSON = {
    "String": "string",
    "ID": "string",
    "Boolean": "boolean",
    "Float": "number",
    "DateTime": "string",
    "Date": "string",
}
"""By GraphQL scalar: the kind of JSON value that is written as it is."""
_MADE_BY_US = frozenset({"DateTime", "Date"})
"""A request writes moments as GraphQL does; what the database keeps in JSON nobody has checked."""
_JSON_WHOLE: dict[str, Callable[[str, bool], str]] = {"Int": _whole, "BigInt": _big, "Credits": _credits}
"""By GraphQL scalar: how a whole number in JSON is written."""


def _typed(item: str, expected: str, written: str) -> str:
    kind = f"coalesce(jsonb_typeof({item}), 'null')"
    return f"CASE {kind} WHEN '{expected}' THEN {written} WHEN 'null' THEN NULL ELSE {MISTAKE} END"
