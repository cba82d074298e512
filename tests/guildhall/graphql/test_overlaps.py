"""Fields of one key: what graphql-core says of them is said, for the work of the fields and not of all pairs."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from graphql import DocumentNode, GraphQLError, OverlappingFieldsCanBeMergedRule, parse, print_ast, validate

from guildhall.clock import new_id
from guildhall.graphql.compose import Composed
from guildhall.graphql.documents import Documents, RequestRefused
from guildhall.graphql.outline import Outline, Selection, opened, outline_of
from guildhall.graphql.overlaps import conflicting_key, merging_errors
from guildhall.settings import Settings
from tests.guildhall.graphql.merging import SCHEMA, conflicts, documents

SETTINGS = Settings(data_dir=Path("/unused"))
GENEROUS = replace(SETTINGS, graphql_tokens_max=10_000, graphql_aliases_max=10_000, graphql_duplicates_max=10_000)
MERGED = [
    "{ dog { name name @skip(if: true) name } }",
    "{ thing { ... on Dog { name } ... on Cat { name: title } ... on Stone { name } } }",
    "{ thing { ... on Dog { mate { name } } ... on Cat { mate: friend { name: title } } } }",
    "{ thing { ... on Dog { mate { friend { name } } } ... on Cat { mate { friend { name: title } } } } }",
    "{ pet { ...F mate { ...F } } } fragment F on Being { name friend { name } }",
    "{ pet { ...F ...G ... { ...F } } } fragment F on Being { name ...G } fragment G on Being { name }",
    "{ pet { ... on Dog { mate { ...F } } ... on Cat { mate { ...F } } } } fragment F on Being { name }",
    "query ($n: Int) { a: echo(first: $n, second: 1) a: echo(second: 1, first: $n) }",
    '{ pet(like: {name: "x", forms: [SHORT]}) { name } pet(like: {forms: [SHORT], name: "x"}) { name } }',
    "{ __schema { types { name } } __schema { types { fields { name } } } }",
    "{ being { __typename ... on Dog { name: __typename } ... on Cat { name } } }",
]
CONFLICTS = [
    ("{ dog { name name: title } }", "dog.name"),
    ("{ dog { name(form: LONG) name } }", "dog.name"),
    ("{ dog { name(form: LONG) name(form: SHORT) } }", "dog.name"),
    ("{ being { ... on Dog { name } name: title } }", "being.name"),
    ("{ being { ... on Pet { name } ... on Being { name: title } } }", "being.name"),
    ("{ being { ... on Dog { a: size } ... on Cat { a: size } } }", "being.a"),
    ("{ being { ... on Dog { tags } ... on Bird { tags } } }", "being.tags"),
    ("{ being { ... on Dog { a: size } ... on Cat { a: mate { name } } } }", "being.a"),
    ("{ thing { ... on Dog { things { ... on Dog { size } } } ... on Cat { things { ... on Cat { size } } } } }",
     "thing.things.size"),
    ("{ thing { ... on Dog { mate { name } } ... on Cat { mate { name } } ... on Being { mate { name: title } } } }",
     "thing.mate.name"),
    ("{ dog { mate { name } ...F } } fragment F on Pet { mate { ...G } } fragment G on Being { name: title }",
     "dog.mate.name"),
    ("query ($n: Int, $m: Int) { echo(first: $n) echo(first: $m) }", "echo"),
    ("query ($n: Int) { echo(first: $n) echo(first: 1) }", "echo"),
    ('{ pet(like: {name: "x"}) { name } pet(like: {name: """x"""}) { name } }', "pet"),
    ("{ pet(like: {forms: [SHORT, LONG]}) { name } pet(like: {forms: [LONG, SHORT]}) { name } }", "pet"),
    ("query A { dog { name } } query B { dog { name name: title } }", "dog.name"),
    ("{ __schema { types { name } types { name: kind } } }", "__schema.types.name"),
]  # fmt: skip


SIZE = 300
CALLS_EACH_MAX = 4
"""How many functions may be called for each token, field and fragment, fragments opened."""


def exclusive(levels: int) -> str:
    """Every way down through mates of dogs and of cats, and at the end one key for what differs between the two."""
    chains = []
    for number in range(2**levels):
        last, *others = (number >> level & 1 for level in range(levels))
        chain = "... on Dog { name }" if last else "... on Cat { name: title }"
        for dog in others:
            chain = f"... on {'Dog' if dog else 'Cat'} {{ mate {{ {chain} }} }}"
        chains.append(chain)
    return "{ being { " + " ".join(chains) + " } }"


def side_by_side(count: int) -> str:
    spread = " ".join(f"...F{number}" for number in range(count))
    defined = " ".join(f"fragment F{number} on Pet {{ a{number}: name }}" for number in range(count))
    return f"{{ pet {{ {spread} }} }} {defined}"


def within_each_other(count: int) -> str:
    """Each fragment spreads all that come after it."""
    defined = (
        f" fragment F{number} on Being {{ name mate {{ a{number}: name }}"
        + "".join(f" ...F{after}" for after in range(number + 1, count))
        + " }"
        for number in range(count)
    )
    return "{ pet { ...F0 } }" + "".join(defined)


def at_many_depths(count: int) -> str:
    """Each fragment spreads the next one where it stands, and twice below."""
    again = " mate {{ ...F{0} }} friend {{ ...F{0} }} ...F{0}"
    defined = (f" fragment F{number} on Being {{ name{again.format(number + 1)} }}" for number in range(count // 2))
    return "{ pet { ...F0 } }" + "".join(defined) + f" fragment F{count // 2} on Being {{ name }}"


SQUARES: dict[str, Callable[[int], str]] = {
    "wide": lambda count: "{ pet {" + " mate { name title n: name t: title }" * count + " } }",
    "deep": lambda count: "{ pet {" + " mate { mate { mate { mate { name } } } }" * count + " } }",
    "arguments": lambda count: "{" + ' pet(like: {name: "x", near: {forms: [SHORT]}}) { name }' * count + " }",
    "fragments side by side": side_by_side,
}
NESTED: dict[str, Callable[[int], str]] = {"within each other": within_each_other, "at many depths": at_many_depths}


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


class TestConflictingKey:
    @pytest.mark.parametrize("text", MERGED)
    def test_what_can_be_merged_has_none(self, text: str) -> None:
        document = parse(text)
        assert (conflicting_key(SCHEMA, document), conflicts(document)) == (None, False)

    @pytest.mark.parametrize(("text", "key"), CONFLICTS)
    def test_what_cannot_is_named_by_its_place(self, text: str, key: str) -> None:
        document = parse(text)
        assert (conflicting_key(SCHEMA, document), conflicts(document)) == (key, True)

    def test_it_is_what_graphql_core_finds(self) -> None:
        require_agreement(seed=1, count=1_000)

    @pytest.mark.long
    def test_it_is_what_graphql_core_finds_in_many_more(self) -> None:
        require_agreement(seed=2, count=20_000)

    @pytest.mark.parametrize("written", list(SQUARES.values()), ids=list(SQUARES))
    def test_its_work_is_that_of_the_fields(self, written: Callable[[int], str]) -> None:
        once, twice = parse(written(SIZE)), parse(written(2 * SIZE))
        assert aborted(twice), "graphql-core's rule ends at half a million steps"
        assert calls_for(twice) <= 2.1 * calls_for(once)
        tokens, selected = sizes(outline_of(written(2 * SIZE), 100_000))
        assert calls_for(twice) <= CALLS_EACH_MAX * (tokens + selected)

    @pytest.mark.parametrize("written", list(NESTED.values()), ids=list(NESTED))
    def test_fragments_within_fragments_are_no_more_than_what_they_open_to(self, written: Callable[[int], str]) -> None:
        text = written(10)
        tokens, selected = sizes(outline_of(text, 100_000))
        assert selected > 5 * tokens
        assert calls_for(parse(text)) <= CALLS_EACH_MAX * (tokens + selected)

    def test_types_that_exclude_each_other_at_any_level_do(self) -> None:
        assert conflicting_key(SCHEMA, parse(exclusive(6))) is None
        mixed = exclusive(6).replace("... on Cat { name: title }", "... on Being { name: title }", 1)
        assert conflicting_key(SCHEMA, parse(mixed)) is not None


class TestMergingErrors:
    @pytest.mark.parametrize(("text", "key"), CONFLICTS)
    def test_graphql_core_says_what_is_wrong(self, text: str, key: str) -> None:
        document = parse(text)
        told = merging_errors(SCHEMA, document, 10)
        expected = validate(SCHEMA, document)
        assert [(error.message, error.locations) for error in told] == [
            (error.message, error.locations) for error in expected
        ]
        assert key.rpartition(".")[2] in told[0].message or key.partition(".")[0] in told[0].message

    def test_where_that_would_take_long_the_place_is_named(self) -> None:
        fields = " ".join(f"mate(first: {number}) {{ name }}" for number in range(100))
        (error,) = merging_errors(SCHEMA, parse(f"{{ dog {{ {fields} }} }}"), 10)
        assert error.message == (
            "Fields 'dog.mate' conflict: one key of an answer stands for one field with the same arguments and one form"
            " of value. Use different aliases on the fields to fetch all of them."
        )

    def test_a_long_place_is_shortened(self) -> None:
        key = "k" * 200
        fields = " ".join(f"{key}: mate(first: {number}) {{ name }}" for number in range(100))
        (error,) = merging_errors(SCHEMA, parse(f"{{ dog {{ {fields} }} }}"), 10)
        assert error.message.startswith(f"Fields 'dog.{'k' * 76}…' conflict: ")


class TestDocuments:
    @pytest.mark.parametrize(
        ("fragments", "own", "common", "spread"),
        [(30, 20, 0, 0), (90, 10, 0, 0), (33, 10, 10, 0), (34, 8, 0, 4)],
        ids=["30 of 20 fields", "90 of 10 fields", "ten of them in common", "each spreads four"],
    )
    def test_what_tools_generate_runs(
        self, composed: Composed, fragments: int, own: int, common: int, spread: int
    ) -> None:
        text = generated(fragments, own=own, common=common, spread=spread)
        prepared, _ = Documents(composed, GENEROUS, new_id).prepare(text, None, {})
        assert len(prepared.operations) == 1

    def test_as_many_repeated_fields_as_a_document_may_have_run(self, composed: Composed) -> None:
        text = "{ houses(first: 1) { nodes {" + " id" * (SETTINGS.graphql_duplicates_max + 1) + " } } }"
        prepared, _ = Documents(composed, SETTINGS, new_id).prepare(text, None, {})
        assert len(prepared.operations) == 1

    def test_what_cannot_be_merged_is_told(self, composed: Composed) -> None:
        (error,) = refused(composed, "{ houses(first: 1) { totalCount } houses(first: 2) { totalCount } }")
        assert error.message == (
            "Fields 'houses' conflict because they have differing arguments."
            " Use different aliases on the fields to fetch both if this was intentional."
        )
        assert error.extensions == {"code": "GRAPHQL_VALIDATION_FAILED"}

    def test_other_mistakes_are_told_first(self, composed: Composed) -> None:
        (error,) = refused(composed, "{ houses(first: 1) { totalCount } houses(first: 2) { nothing } }")
        assert error.message.startswith("Cannot query field 'nothing'")

    def test_a_fragment_within_itself_is_told_and_nothing_else(self, composed: Composed) -> None:
        text = "{ houses(first: 1) { ...F } } fragment F on HouseConnection { nodes { rooms(first: 1) { ...R } } ...F }"
        rooms = " fragment R on RoomConnection { nodes { house { rooms(first: 1) { ...R } } } }"
        assert all("spread" in error.message for error in refused(composed, text + rooms))

    def test_without_suggestions_nothing_is_told(self, composed: Composed) -> None:
        quiet = replace(SETTINGS, graphql_suggestions=False)
        (error,) = refused(composed, "{ a: __typename a: houses(first: 1) { totalCount } }", quiet)
        assert error.message.startswith("The document does not fit the schema; what is wrong with it is in the log")

    def test_so_many_conflicts_that_validation_ends_are_told_as_graphql_core_does(self, composed: Composed) -> None:
        pairs = "".join(f" a{number}: __typename a{number}: houses(first: 1) {{ totalCount }}" for number in range(24))
        *told, last = refused(composed, "{" + pairs + " }")
        assert len(told) == 10
        assert all("are different fields" in error.message for error in told)
        assert last.message.startswith("Too many validation errors")

    @pytest.mark.parametrize(
        "text",
        ["{ __typename {" + " x { a b c d e f g h }" * 100 + " } }", "{ __typename" + " ...F" * 200 + " }"],
        ids=["fields of what has none", "a fragment that is not there"],
    )
    def test_strangers_are_told_what_is_wrong_besides(self, text: str) -> None:
        codes = {(error.extensions or {})["code"] for error in refused(None, text)}
        assert codes == {"GRAPHQL_VALIDATION_FAILED"}


def require_agreement(seed: int, count: int) -> None:
    conflicting = 0
    for document in documents(seed, count):
        expected = conflicts(document)
        assert (conflicting_key(SCHEMA, document) is not None) is expected, print_ast(document)
        conflicting += expected
    assert 0.35 < conflicting / count < 0.65


def aborted(document: DocumentNode) -> bool:
    errors = validate(SCHEMA, document, [OverlappingFieldsCanBeMergedRule])
    return [error.message for error in errors] == ["Validation aborted."]


def calls_for(document: DocumentNode) -> int:
    """How many functions are called for the check: its work, in something that is the same on every machine."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        found = conflicting_key(SCHEMA, document)
    finally:
        sys.setprofile(before)
    assert found is None
    return calls


def sizes(outline: Outline) -> tuple[int, int]:
    """The tokens of a document, and its fields and fragments once they are opened."""
    selected = 0

    def visit(_selection: Selection, _depth: int) -> None:
        nonlocal selected
        selected += 1

    for operation in outline.operations:
        opened(operation.below, outline.fragments, visit)
    return outline.tokens, selected


def refused(composed: Composed | None, text: str, settings: Settings = SETTINGS) -> list[GraphQLError]:
    with pytest.raises(RequestRefused) as caught:
        Documents(composed, settings, new_id).prepare(text, None, {})
    return caught.value.errors
