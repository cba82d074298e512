"""The price of a document is an upper bound of its rows."""

from typing import Any

import pytest
from graphql import get_introspection_query

from guildhall.graphql.compose import compose
from guildhall.graphql.cost import Cost, Costing, QueryTooCostly, TooManyReads, page_size
from guildhall.graphql.outline import outline_of
from guildhall.schema.root import composed_schema
from guildhall.settings import Settings
from tests.guildhall.graphql import example

COMPOSED = compose(example.TYPES, partial=True)
COSTING = Costing(COMPOSED.schema, COMPOSED.catalogue, page_max=100)


def cost(text: str) -> Cost:
    outline = outline_of(text, 1_000)
    return COSTING.of(outline, outline.operations[0])


class TestRows:
    @pytest.mark.parametrize(
        ("document", "rows"),
        [
            ("{ __typename }", 0),
            ("{ nothing { at { all } } }", 0),
            ("{ houses(first: 10) { nodes { id } } }", 10),
            ("{ houses(first: 10) { edges { node { id } } pageInfo { hasNextPage } totalCount } }", 10),
            ("{ houses(first: 10) { nodes { rooms(first: 5) { nodes { id } } } } }", 60),
            ("{ houses(first: 10) { edges { node { rooms(first: 5) { nodes { house { id } } } } } } }", 110),
            ("{ houses(first: 5) { nodes { id } } again: houses(first: 6) { nodes { id } } }", 11),
            ("{ houses { totalCount } }", 1),
            ("{ houses(first: 0) { nodes { id } } }", 1),
            ("{ houses(first: -5) { nodes { id } } }", 1),
            ("{ houses(first: 99999) { nodes { id } } }", 100),
            ("{ ...F ... on Query { ...F } } fragment F on Query { houses(first: 3) { nodes { id } } }", 6),
            ("{ ...F } fragment F on Query { houses(first: 3) { nodes { id } } ...F ...G }", 3),
            ('{ node(id: "x") { ... on House { rooms(first: 4) { nodes { id } } } } }', 5),
            ("{ houses(first: 2) { nodes { guests { id } favourites { house { id } } hours { rooms { id }} } } }", 828),
            ("{ houses(first: 2) { nodes { doors { colour } weather { days bestRoom { id } } } } }", 6),
            ("query($n: Int = 3) { houses(first: $n) { nodes { rooms(first: $n) { nodes { id } } } } }", 12),
        ],
    )
    def test_lists_within_lists_multiply_and_those_beside_each_other_add_up(self, document: str, rows: int) -> None:
        assert cost(document).rows({}) == rows

    @pytest.mark.parametrize(
        ("given", "rows"),
        [
            ({"n": 7}, 7),
            ({}, 3),
            ({"n": None}, 1),
            ({"n": -7}, 1),
            ({"n": 10**9}, 100),
            ({"n": "x"}, 1),
            ({"n": 8.0}, 8),
        ],
    )
    def test_variables_and_their_defaults(self, given: dict[str, Any], rows: int) -> None:
        assert cost("query($n: Int = 3) { houses(first: $n) { nodes { id } } }").rows(given) == rows

    def test_above_the_maximum_it_is_refused(self) -> None:
        price = cost("query($n: Int!) { houses(first: $n) { nodes { rooms(first: 100) { nodes { id } } } } }")
        assert price.require({"n": 50}, 5_050) == 5_050
        with pytest.raises(QueryTooCostly, match="could come to 5151 rows, and 5050 is the most"):
            price.require({"n": 51}, 5_050)


class TestReads:
    @pytest.mark.parametrize(
        ("document", "reads"),
        [
            ("{ __typename nothing { at { all } } }", 0),
            ("{ houses(first: 10) { nodes { id } } }", 1),
            ("{ houses(first: 1) { nodes { rooms(first: 9) { nodes { house { id } } } hours { rooms { id } } } } }", 4),
            ("{ houses(first: 1) { nodes { favourites { name } guests { name } weather { days } } } }", 3),
            ("{ houses(first: 1) { nodes { notes { id } } } }", 1 + len(example.SUBJECTS)),
            ("{ houses(first: 1) { nodes { ...N again: notes { id } } } } fragment N on House { notes { id } }", 5),
            ('{ node(id: "x") { id ... on House { rooms(first: 4) { nodes { id } } } } }', 2),
        ],
    )
    def test_each_place_counts_and_a_reference_once_for_each_of_its_types(self, document: str, reads: int) -> None:
        assert cost(document).reads == reads

    def test_above_the_maximum_it_is_refused(self) -> None:
        price = cost("{ houses(first: 1) { nodes { rooms(first: 1) { nodes { id } } } } }")
        price.require_reads(2)
        with pytest.raises(TooManyReads, match="reads 2 tables, its fragments opened, and 1 is the most"):
            price.require_reads(1)


class TestPageSize:
    def test_infinity_is_a_large_page(self) -> None:
        assert page_size(float("inf"), 100) == 100


FULL_INTROSPECTION = get_introspection_query(
    specified_by_url=True,
    directive_is_repeatable=True,
    schema_description=True,
    input_value_deprecation=True,
    experimental_directive_deprecation=True,
    one_of=True,
    type_depth=10,
)
FIELDS_OF_TYPES = "{ __schema { types { fields { type { fields { type { name } } } } } } }"


class TestIntrospection:
    def require(self, document: str) -> None:
        composed, settings = composed_schema(), Settings()
        outline = outline_of(document, settings.graphql_tokens_max)
        costing = Costing(composed.schema, composed.catalogue, settings.graphql_page_max)
        costing.of(outline, outline.operations[0]).require({}, settings.graphql_rows_max)

    @pytest.mark.parametrize("document", [get_introspection_query(), FULL_INTROSPECTION])
    def test_what_tools_ask_fits(self, document: str) -> None:
        self.require(document)

    @pytest.mark.parametrize(
        "document",
        [
            FIELDS_OF_TYPES,
            '{ __type(name: "Query") ' + "{ fields { type " * 4 + "{ name }" + " } }" * 4 + " }",
            "{ ...F } fragment F on Query " + FIELDS_OF_TYPES,
            "{" + " ".join(f"a{n}: __schema {{ ...F }}" for n in range(18)) + " } fragment F on __Schema "
            "{ types { fields { args { name } } } }",
        ],
    )
    def test_types_within_types_and_many_copies_do_not(self, document: str) -> None:
        with pytest.raises(QueryTooCostly):
            self.require(document)

    def test_its_lists_are_as_long_as_the_longest(self) -> None:
        types = COMPOSED.schema.type_map
        assert cost("{ __schema { types { name } queryType { name } } }").rows({}) == len(types)
        fields = max(len(getattr(each, "fields", ())) for each in types.values() if not hasattr(each, "parse_value"))
        assert cost('{ __type(name: "House") { name ofType { name } fields { name } } }').rows({}) == fields
        assert cost("{ __typename __schema { queryType { name } } }").rows({}) == 0
