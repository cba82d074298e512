"""Variables and arguments, coerced as graphql-core does it."""

from typing import Any

import pytest
from graphql import OperationDefinitionNode, build_schema, parse
from graphql.execution.values import get_argument_values, get_variable_values

from guildhall.graphql.compiler.inputs import Arguments, FallBack, Variables

SCHEMA = build_schema("""
    type Query { field(first: Int! = 3, text: String, filter: Filter, size: Int = 5, many: [Int!]): Int }
    input Filter { name: String, of: Filter, size: Int = 7 }
""")


def read(text: str, given: dict[str, Any]) -> Any:
    document = parse(text)
    operation = document.definitions[0]
    assert isinstance(operation, OperationDefinitionNode)
    variables = Variables(SCHEMA, operation.variable_definitions or ()).coerced(given)
    theirs = get_variable_values(SCHEMA, operation.variable_definitions or (), given)
    assert variables.coerced == theirs.coerced  # type: ignore[union-attr]
    node: Any = operation.selection_set.selections[0]
    definition = SCHEMA.type_map["Query"].fields["field"]  # type: ignore[attr-defined]
    arguments = Arguments(definition, node)
    values = arguments.values(variables)
    assert values == get_argument_values(definition, node, theirs)  # type: ignore[arg-type]
    return arguments.constant, values


class TestArguments:
    @pytest.mark.parametrize(
        ("text", "given", "constant", "values"),
        [
            ("{ field }", {}, True, {"first": 3, "size": 5}),
            ('{ field(first: 1, filter: {name: "a"}) }', {}, True,
             {"first": 1, "filter": {"name": "a", "size": 7}, "size": 5}),
            ("query ($first: Int!) { field(first: $first) }", {"first": 2}, False, {"first": 2, "size": 5}),
            ("query ($first: Int) { field(first: $first) }", {}, False, {"first": 3, "size": 5}),
            ("query ($text: String) { field(text: $text) }", {}, False, {"first": 3, "size": 5}),
            ("query ($text: String) { field(text: $text) }", {"text": None}, False,
             {"first": 3, "size": 5, "text": None}),
            ("query ($size: Int) { field(size: $size) }", {}, False, {"first": 3, "size": 5}),
            ("query ($size: Int = 9) { field(size: $size) }", {}, False, {"first": 3, "size": 9}),
            ("query ($name: String) { field(filter: {name: $name}) }", {"name": "b"}, False,
             {"first": 3, "filter": {"name": "b", "size": 7}, "size": 5}),
            ("query ($many: [Int!]) { field(many: $many) }", {"many": 4}, False, {"first": 3, "size": 5, "many": [4]}),
            ("query ($one: Int!) { field(many: [1, $one]) }", {"one": 4}, False,
             {"first": 3, "size": 5, "many": [1, 4]}),
            ("{ field(many: [1, 2]) }", {}, True, {"first": 3, "size": 5, "many": [1, 2]}),
        ],
    )  # fmt: skip
    def test_are_those_of_graphql_core(self, text: str, given: dict[str, Any], constant: bool, values: Any) -> None:
        assert read(text, given) == (constant, values)

    def test_null_where_none_may_be(self) -> None:
        with pytest.raises(Exception, match="first"):
            read("query ($first: Int = 1) { field(first: $first) }", {"first": None})


class TestVariables:
    @pytest.mark.parametrize("given", [{}, {"filter": 1}, {"filter": {"none": 1}}, {"filter": None}])
    def test_wrong_ones_are_for_graphql_core(self, given: dict[str, Any]) -> None:
        with pytest.raises(FallBack):
            read("query ($filter: Filter!) { field(filter: $filter) }", given)

    def test_one_that_is_nested_too_deeply(self) -> None:
        filter_: dict[str, Any] = {}
        for _ in range(5_000):
            filter_ = {"of": filter_}
        with pytest.raises(FallBack):
            read("query ($filter: Filter) { field(filter: $filter) }", {"filter": filter_})
