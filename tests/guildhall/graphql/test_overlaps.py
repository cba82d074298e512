"""Documents whose fields would be compared for seconds are refused, by whomever they are sent."""

from dataclasses import replace
from pathlib import Path

import pytest

from guildhall.clock import new_id
from guildhall.graphql.compose import Composed
from guildhall.graphql.documents import Documents, RequestRefused
from guildhall.graphql.outline import DocumentTooComplex
from guildhall.settings import Settings

SETTINGS = Settings(data_dir=Path("/unused"))
GENEROUS = replace(SETTINGS, graphql_tokens_max=10_000, graphql_aliases_max=10_000, graphql_duplicates_max=10_000)
FRAGMENTS = 200


def refusal(composed: Composed | None, text: str) -> BaseException | None:
    with pytest.raises(RequestRefused) as refused:
        Documents(composed, SETTINGS, new_id).prepare(text, None, {})
    (error,) = refused.value.errors
    return error.original_error


def generated(fragments: int, *, own: int, common: int, spread: int) -> str:
    """One object of which each part of a page has a fragment, some fields in all of them, and fragments within."""
    spreads = "".join(f" ...C{index}" for index in range(spread))
    shared = "".join(f" shared{index}: name" for index in range(common))
    parts = [
        f"fragment F{index} on House {{{shared}{spreads}"
        + "".join(f" part{index}_{number}: name" for number in range(own))
        + " }"
        for index in range(fragments)
    ]
    within = [
        f"fragment C{index} on House {{ c{index}: name d{index}: name e{index}: name }}" for index in range(spread)
    ]
    all_parts = "".join(f" ...F{index}" for index in range(fragments))
    return "\n".join([f"{{ houses(first: 1) {{ nodes {{{all_parts} }} }} }}", *parts, *within])


class TestOverlapsWithinLimit:
    @pytest.mark.parametrize(
        "text",
        [
            "{ __typename {" + " x { a b c d e f g h }" * 100 + " } }",
            "{ __typename {" + " x { a { b { c { d } } } }" * 100 + " } }",
            "{ __typename {" + " x(a: 1, b: 2, c: 3)" * 100 + " } }",
            "{ __typename {"
            + "".join(f" ...F{index}" for index in range(FRAGMENTS))
            + " } }"
            + "".join(f" fragment F{index} on Query {{ a{index} }}" for index in range(FRAGMENTS)),
        ],
        ids=["wide", "deep", "arguments", "fragments side by side"],
    )
    @pytest.mark.parametrize("known", [False, True], ids=["a stranger's", "a member's"])
    def test_too_many_comparisons_are_refused(self, composed: Composed, text: str, *, known: bool) -> None:
        error = refusal(composed if known else None, text)
        assert isinstance(error, DocumentTooComplex)
        assert error.message.startswith("This document repeats too many fields, or spreads too many fragments")

    def test_as_many_repeated_fields_as_a_document_may_have_are_compared(self, composed: Composed) -> None:
        text = "{ houses(first: 1) { nodes {" + " id" * (SETTINGS.graphql_duplicates_max + 1) + " } } }"
        prepared, _ = Documents(composed, SETTINGS, new_id).prepare(text, None, {})
        assert len(prepared.operations) == 1

    @pytest.mark.parametrize(
        ("fragments", "own", "common", "spread"),
        [(30, 20, 0, 0), (33, 20, 0, 0), (33, 10, 10, 0), (34, 8, 0, 4)],
        ids=["30 of 20 fields", "33 of 20 fields", "ten of them in common", "each spreads four"],
    )
    def test_what_tools_generate_is_compared(
        self, composed: Composed, fragments: int, own: int, common: int, spread: int
    ) -> None:
        text = generated(fragments, own=own, common=common, spread=spread)
        prepared, _ = Documents(composed, GENEROUS, new_id).prepare(text, None, {})
        assert len(prepared.operations) == 1

    def test_strangers_may_have_less_compared(self, composed: Composed) -> None:
        text = "{ __typename {" + " x(a: 1)" * 100 + " } }"
        assert isinstance(refusal(None, text), DocumentTooComplex)
        assert refusal(composed, text) is None

    def test_what_cannot_be_merged_is_told_as_before(self, composed: Composed) -> None:
        with pytest.raises(RequestRefused) as refused:
            Documents(composed, SETTINGS, new_id).prepare("{ a: houses { count } a: __typename }", None, {})
        assert any("different fields" in error.message for error in refused.value.errors)

    def test_so_many_mistakes_that_validation_ends_are_told_as_before(self, composed: Composed) -> None:
        pairs = "".join(f" a{index}: __typename a{index}: houses {{ totalCount }}" for index in range(24))
        with pytest.raises(RequestRefused) as refused:
            Documents(composed, SETTINGS, new_id).prepare("{" + pairs + " }", None, {})
        codes = {(error.extensions or {}).get("code") for error in refused.value.errors}
        assert codes == {"GRAPHQL_VALIDATION_FAILED"}
        assert refused.value.errors[-1].message.startswith("Too many validation errors")
