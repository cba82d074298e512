"""What a document may be before it is parsed, and what it may cost before it runs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from graphql import DocumentNode, GraphQLSchema

from guildhall.auth.actor import Actor
from guildhall.clock import new_id
from guildhall.graphql import documents
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.compiler.compile import CompiledDocument, CompiledMutation, compile_document
from guildhall.graphql.compose import Composed
from guildhall.graphql.limits import VALUES_MAX, VariablesTooLarge, check_outline, check_variables
from guildhall.graphql.outline import DocumentTooComplex, outline_of
from guildhall.settings import Settings
from tests.guildhall.graphql.conftest import Run

SETTINGS = replace(
    Settings(data_dir=Path("/unused")),
    graphql_depth_max=3,
    graphql_fields_max=6,
    graphql_aliases_max=2,
    graphql_directives_max=2,
    graphql_duplicates_max=2,
)


def check(text: str) -> None:
    check_outline(outline_of(text, 10_000), SETTINGS)


class TestCheckOutline:
    @pytest.mark.parametrize(
        ("fitting", "beyond", "most"),
        [
            ("{ a { b { c } } }", "{ a { b { c { d } } } }", "3 fields within each other"),
            ("{ a { ...F } } fragment F on T { b { c } }", "{ a { ...F } } fragment F on T { b { c { d } } }", "3 "),
            ("{ a b c d e f }", "{ a b c d e f g }", "6 fields"),
            ("{ a { ...F } ...F } fragment F on T { c d }", "{ a { ...F } ...F } fragment F on T { c d e }", "6 "),
            ("{ a: x b: x }", "{ a: x b: x c: x }", "2 aliases"),
            ("{ ...F ...F } fragment F on T { a: x }", "{ ...F ...F ...F } fragment F on T { a: x }", "2 aliases"),
            ("{ a @x @y }", "{ a @x @y b @z }", "2 directives"),
            ("query @x { ...F @y } fragment F on T { a }", "query @x { ...F @y ...F @z } fragment F on T { a }", "2 "),
            ("{ a a a }", "{ a a a a }", "2 repeated fields"),
            ("{ a ... { a } ...F } fragment F on T { a }", "{ ... { a } ...F ...F ...F } fragment F on T { a }", "2 "),
            ("{ a { b b } c { b b } }", "{ a { b b } c { b b b } }", "2 repeated"),
        ],
    )  # fmt: skip
    def test_each_has_a_most_with_fragments_opened(self, fitting: str, beyond: str, most: str) -> None:
        check(fitting)
        with pytest.raises(DocumentTooComplex, match=f"A document has {most}"):
            check(beyond)

    def test_what_no_operation_reaches_counts_as_well(self) -> None:
        with pytest.raises(DocumentTooComplex, match="2 aliases"):
            check("{ a: x } query B { b: x } fragment F on T { c: x }")

    def test_spreads_that_lead_to_nothing_count(self) -> None:
        with pytest.raises(DocumentTooComplex, match="12 selections"):
            check("{" + " ...F" * 13 + "}")

    def test_doubling_fragments_stop_at_the_most(self) -> None:
        bomb = "{ ...F0 }" + "".join(
            f" fragment F{index} on T {{ ...F{index + 1} ...F{index + 1} }}" for index in range(40)
        )
        with pytest.raises(DocumentTooComplex, match="12 selections"):
            check(bomb)

    def test_operations_have_a_most(self) -> None:
        check(" ".join(f"query Q{index} {{ a }}" for index in range(6)))
        with pytest.raises(DocumentTooComplex, match="A document has 10 operations at most"):
            check(" ".join(f"query Q{index} {{ a }}" for index in range(11)))

    def test_introspection_may_be_deeper(self) -> None:
        check("{ __schema { a { b { c { d } } } } }")


class TestCheckVariables:
    @pytest.mark.parametrize(
        "variables",
        [
            {"a": ["x"] * (VALUES_MAX - 1)},
            {"a": {"b": {"c": ["x"] * (VALUES_MAX - 3)}}},
            {"a": [[]] * (VALUES_MAX - 1)},
            {"a": [{"b": 1}] * (VALUES_MAX // 2 - 1), "b": 1},
            {f"a{number}": None for number in range(VALUES_MAX)},
        ],
        ids=["a list", "a list within objects", "lists", "objects", "many"],
    )
    def test_so_many_values_are_the_most(self, variables: dict[str, Any]) -> None:
        check_variables(variables)
        with pytest.raises(VariablesTooLarge, match="The variables of a query hold 2000 values at most"):
            check_variables(variables | {"one": 1, "more": 2})

    def test_what_lies_beyond_is_not_looked_at(self) -> None:
        class Unread(list[object]):
            def __iter__(self) -> Iterator[object]:
                raise AssertionError("these are too many to be looked at")

        with pytest.raises(VariablesTooLarge):
            check_variables({"a": Unread([None] * (VALUES_MAX + 1))})


class TestRun:
    async def test_many_operations_are_refused_before_they_are_parsed(
        self, run: Run, anna: Actor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(documents, "parse", None)
        document = " ".join(f"query Q{index}{{__typename}}" for index in range(400))
        answer = await run(anna, document, "Q7")
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["DOCUMENT_TOO_COMPLEX"]
        assert "data" not in answer

    async def test_only_the_operation_that_runs_is_compiled(
        self, composed: Composed, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        compiled: list[str | None] = []

        def noted(
            schema: GraphQLSchema, catalogue: Catalogue, document: DocumentNode, name: str | None
        ) -> CompiledDocument | CompiledMutation:
            compiled.append(name)
            return compile_document(schema, catalogue, document, name)

        monkeypatch.setattr(documents, "compile_document", noted)
        made = documents.Documents(composed, settings, new_id, compiling=True)
        text = " ".join(f"query Q{index}{{houses(first: {index}){{totalCount}}}}" for index in range(10))
        for _ in range(2):
            _, operation = made.prepare(text, "Q7", {})
            assert (operation.name, isinstance(operation.compiled, CompiledDocument)) == ("Q7", True)
        assert compiled == ["Q7"]

    async def test_nothing_of_a_costly_document_is_executed(self, run: Run, anna: Actor) -> None:
        page = "rooms(first: 100) { nodes { house { %s } } }"
        document = "{ houses(first: 100) { nodes { " + page % (page % (page % "id")) + " } } }"
        answer = await run(anna, document)
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["QUERY_TOO_COSTLY"]
        assert "data" not in answer

    async def test_long_lists_of_a_query_are_refused_before_they_are_coerced(
        self, composed: Composed, settings: Settings
    ) -> None:
        made = documents.Documents(composed, settings, new_id, compiling=True)
        text = "query ($f: RoomFilter) { houses(first: 1) { nodes { rooms(first: 1, filter: $f) { totalCount } } } }"
        made.prepare(text, None, {"f": {"kind": {"in": ["SMALL"] * 200}}})
        with pytest.raises(documents.RequestRefused) as refused:
            made.prepare(text, None, {"f": {"kind": {"in": ["SMALL"] * VALUES_MAX}}})
        (error,) = refused.value.errors
        assert isinstance(error.original_error, VariablesTooLarge)

    async def test_what_changes_something_may_bring_long_lists(self, composed: Composed, settings: Settings) -> None:
        made = documents.Documents(composed, settings, new_id)
        text = "mutation ($input: RenameHouseInput!) { renameHouse(input: $input) { previous } }"
        _, operation = made.prepare(text, None, {"input": {"many": [None] * 10_000}})
        assert operation.kind == "mutation"
