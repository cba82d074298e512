"""What Schemathesis needs to know of us: our scalars, and what an honest answer is. Runs in its own environment.

Its own check calls every answer with `errors` a fault of the server; ours are refusals, and each must say which.
"""

import os
from pathlib import Path
from typing import Any

import graphql
import schemathesis
from hypothesis import strategies as st
from hypothesis_graphql import nodes

SCHEMA = graphql.build_schema(Path(os.environ["GUILDHALL_SCHEMA"]).read_text(encoding="utf-8"))
UNFORESEEN = frozenset({"INTERNAL_ERROR", "DATABASE_UNAVAILABLE", "DATABASE_BUSY", "STATEMENT_TIMEOUT", "OVERLOADED"})

schemathesis.graphql.scalar(
    "DateTime", st.datetimes(timezones=st.just(None)).map(lambda at: nodes.String(at.isoformat() + "Z"))
)
schemathesis.graphql.scalar("Credits", st.decimals(allow_nan=False, allow_infinity=False).map(str).map(nodes.String))
schemathesis.graphql.scalar("BigInt", st.integers(-(2**65), 2**65).map(str).map(nodes.String))
schemathesis.graphql.scalar("Date", st.dates().map(lambda day: nodes.String(day.isoformat())))
schemathesis.graphql.scalar("JSON", st.text().map(nodes.String))


@schemathesis.check
def honest_answer(_context: Any, response: Any, case: Any) -> None:
    """No 5xx; a refusal has a code; what is answered is what was asked, with nothing missing that is promised."""
    assert response.status_code < 500, response.text
    answer = response.json()
    assert set(answer) <= {"data", "errors", "extensions"}, answer
    for error in answer.get("errors", ()):
        assert error["message"]
        assert error["extensions"]["code"] not in UNFORESEEN, error
    if "data" not in answer:
        assert answer["errors"]
        return
    document = graphql.parse(case.body)
    (operation,) = document.definitions
    root = SCHEMA.get_root_type(operation.operation)
    if answer["data"] is None:
        assert answer["errors"]
    else:
        _check_object(answer["data"], [operation], root)


def _check_object(value: dict[str, Any], asking: list[Any], object_type: Any) -> None:
    """Every field that was selected, in that order, and no other."""
    fields: dict[str, list[Any]] = {}
    _gather(asking, object_type, fields)
    assert list(value) == list(fields), (list(value), list(fields))
    for key, nodes_ in fields.items():
        name = nodes_[0].name.value
        if name == "__typename":
            assert value[key] == object_type.name
        else:
            _check(value[key], nodes_, object_type.fields[name].type)


def _check(value: Any, nodes_: list[Any], expected: Any) -> None:
    if graphql.is_non_null_type(expected):
        assert value is not None
        expected = expected.of_type
    if value is None:
        return
    if graphql.is_list_type(expected):
        for item in value:
            _check(item, nodes_, expected.of_type)
    elif graphql.is_object_type(expected):
        _check_object(value, nodes_, expected)
    elif graphql.is_enum_type(expected):
        assert value in expected.values


def _gather(asking: list[Any], object_type: Any, fields: dict[str, list[Any]]) -> None:
    for node in asking:
        for selection in node.selection_set.selections:
            if isinstance(selection, graphql.FieldNode):
                key = selection.alias.value if selection.alias else selection.name.value
                fields.setdefault(key, []).append(selection)
            elif selection.type_condition.name.value in {
                object_type.name,
                *(each.name for each in object_type.interfaces),
            }:
                _gather([selection], object_type, fields)
