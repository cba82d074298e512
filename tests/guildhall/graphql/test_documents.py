"""Documents made ready: what graphql-core would say of them is said, whichever of its rules were asked."""

from dataclasses import replace

import pytest
from graphql import DocumentNode, parse, specified_rules, validate

from guildhall.clock import new_id
from guildhall.graphql import documents
from guildhall.graphql.compose import Composed
from guildhall.graphql.cost import TooManyReads
from guildhall.graphql.documents import RULES_ABOUT, Documents, RequestRefused
from guildhall.graphql.outline import MARKS
from guildhall.settings import Settings

MISTAKES = (
    "{ __typename nothing }",
    "query ($v: Query) { __typename @include(if: $v) }",
    "query ($v: Boolean!, $v: Boolean!) { __typename @include(if: $v) }",
    "query { __typename @include(if: $v) }",
    "query ($v: Boolean!) { __typename }",
    "query ($v: String) { __typename @include(if: $v) }",
    "{ ... on String { __typename } }",
    "{ __typename } fragment F on String { length }",
    "{ ...F } fragment F on Query { __typename } fragment F on Query { __typename }",
    "{ ...F }",
    "{ __typename } fragment F on Query { __typename }",
    "{ ... on PageInfo { __typename } }",
    "{ ...F } fragment F on Query { ...F }",
    "{ __typename @never }",
    "{ __typename @skip(if: true) @skip(if: true) }",
    "{ ... @defer { __typename } } { __typename }",
    "mutation { ... @defer { __typename } }",
    "{ __typename @stream }",
    'subscription { ... @defer(label: "a") { __typename } ... @defer(label: "a") { __typename } }',
)


class TestRules:
    @pytest.mark.parametrize("text", MISTAKES)
    def test_all_that_graphql_core_finds_is_told(self, text: str, composed: Composed, settings: Settings) -> None:
        found = validate(composed.schema, parse(text), specified_rules)
        assert found != []
        with pytest.raises(RequestRefused) as caught:
            Documents(composed, settings, new_id).prepare(text, None, {})
        assert [error.message for error in caught.value.errors] == [error.message for error in found]

    def test_of_many_mistakes_the_first_are_told(self, composed: Composed, settings: Settings) -> None:
        text = "{ " + " ".join(f"unknown{number}" for number in range(600)) + " }"
        with pytest.raises(RequestRefused) as caught:
            Documents(composed, settings, new_id).prepare(text, None, {})
        *told, last = [error.message for error in caught.value.errors]
        assert len(told) == 10
        assert all(message.startswith("Cannot query field 'unknown") for message in told)
        assert last == "Too many validation errors, error limit reached. Validation aborted."

    def test_each_rule_that_may_be_idle_is_one_of_the_specification(self) -> None:
        assert set(RULES_ABOUT) == MARKS
        rules = [rule for rules in RULES_ABOUT.values() for rule in rules]
        assert len(rules) == len(set(rules))
        assert set(rules) <= set(specified_rules)

    def test_the_rest_is_asked_of_every_document(self, composed: Composed, settings: Settings) -> None:
        documents = Documents(composed, settings, new_id)
        text = "query Q { __typename } query R { __typename }"
        prepared, operation = documents.prepare(text, "R", {})
        assert operation.name == "R"
        assert len(prepared.operations) == 2
        with pytest.raises(RequestRefused, match="There can be only one operation named 'Q'"):
            documents.prepare("query Q { __typename } query Q { __typename }", "Q", {})


class TestReads:
    def test_too_many_tables_are_refused_before_anything_is_parsed(
        self, composed: Composed, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parsed: list[str] = []

        def noted(text: str) -> DocumentNode:
            parsed.append(text)
            return parse(text)

        monkeypatch.setattr(documents, "parse", noted)
        made = Documents(composed, replace(settings, graphql_reads_max=2), new_id)
        rooms = "{ houses(first: 1) { nodes { %s } } }"
        allowed = rooms % "rooms(first: 1) { nodes { id } }"
        made.prepare(allowed, None, {})
        with pytest.raises(RequestRefused) as caught:
            made.prepare(rooms % "rooms(first: 1) { nodes { house { id } } }", None, {})
        (error,) = caught.value.errors
        assert isinstance(error.original_error, TooManyReads)
        assert error.original_error.code == "DOCUMENT_TOO_COMPLEX"
        assert parsed == [allowed]
