"""How many rows a document may ask for: pages within pages multiply."""

from typing import Any

import pytest
from graphql import parse

from guildhall.auth.actor import Actor
from guildhall.graphql.limits import QueryTooCostly, check_rows, find_operation
from tests.guildhall.graphql.conftest import Run

NESTED = "{ a(first: 100) { nodes { b(first: 100) { nodes { c(first: 100) { totalCount } } } } } }"


def check(text: str, rows_max: int, **variables: Any) -> None:
    document = parse(text)
    check_rows(document, find_operation(document, None), variables, page_max=100, rows_max=rows_max)


class TestCheckRows:
    def test_pages_within_pages_multiply(self) -> None:
        check(NESTED, 1_010_100)
        with pytest.raises(QueryTooCostly, match="could hold 1010100 rows, and 1010099 is the most"):
            check(NESTED, 1_010_099)

    def test_pages_beside_each_other_add_up(self) -> None:
        check("{ a(first: 5) { nodes { id } } b(first: 5) { nodes { id } } }", 10)
        with pytest.raises(QueryTooCostly):
            check("{ a(first: 5) { nodes { id } } again: a(first: 6) { nodes { id } } }", 10)

    def test_fragments_count_where_they_are_used(self) -> None:
        text = "{ a(first: 10) { ...f ... on A { ...f } } } fragment f on A { b(first: 10) { nodes { id } } }"
        check(text, 210)
        with pytest.raises(QueryTooCostly):
            check(text, 209)

    @pytest.mark.parametrize(
        ("given", "rows"),
        [({"n": 7}, 7), ({}, 3), ({"n": None}, 0), ({"n": -7}, 0), ({"n": 10**9}, 100), ({"n": "x"}, 0)],
    )
    def test_variables_and_their_defaults(self, given: dict[str, Any], rows: int) -> None:
        text = "query($n: Int = 3) { a(first: $n) { nodes { id } } }"
        check(text, rows, **given)
        if rows:
            with pytest.raises(QueryTooCostly):
                check(text, rows - 1, **given)


class TestRun:
    async def test_nothing_of_it_is_executed(self, run: Run, anna: Actor) -> None:
        page = "rooms(first: 100) { nodes { house { %s } } }"
        document = "{ houses(first: 100) { nodes { " + page % (page % "id") + " } } }"
        answer = await run(anna, document)
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["QUERY_TOO_COSTLY"]
        assert "data" not in answer
