"""The outline says of a document what graphql-core's parser would: a difference would be a way around the limits."""

from typing import Any

import pytest
from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    VariableNode,
    get_introspection_query,
    parse,
)
from hypothesis import given
from hypothesis import strategies as st

from guildhall.graphql.outline import (
    Definition,
    DocumentTooComplex,
    Outline,
    Selection,
    Unreadable,
    opened,
    outline_of,
)
from tests.documents.world import CONTRACT


def parsed(document: DocumentNode) -> list[Any]:
    """What the outline must say, from the parsed document."""
    found: list[Any] = []
    for node in document.definitions:
        assert isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
        name = node.name.value if node.name else ""
        directives = len(node.directives or ())
        if isinstance(node, FragmentDefinitionNode):
            found.append(("fragment", name, node.type_condition.name.value, directives, {}, below(node)))
        else:
            defaults = {
                "$" + each.variable.name.value: int(each.default_value.value)
                for each in node.variable_definitions or ()
                if isinstance(each.default_value, IntValueNode)
            }
            found.append((node.operation.value, name, "", directives, defaults, below(node)))
    return found


def below(node: Any) -> list[Any]:
    return [] if node.selection_set is None else [selection(each) for each in node.selection_set.selections]


def selection(node: Any) -> Any:
    directives: tuple[DirectiveNode, ...] = tuple(node.directives or ())
    if isinstance(node, FragmentSpreadNode):
        return ("", "", node.name.value, "", len(directives), None, [])
    if isinstance(node, InlineFragmentNode):
        condition = node.type_condition.name.value if node.type_condition else ""
        return ("", "", "", condition, len(directives), None, below(node))
    assert isinstance(node, FieldNode)
    page = next((each.value for each in node.arguments or () if each.name.value == "first"), None)
    size: Any = None
    if isinstance(page, VariableNode):
        size = "$" + page.name.value
    elif isinstance(page, IntValueNode):
        size = int(page.value)
    key = node.alias.value if node.alias else node.name.value
    return (node.name.value, key, "", "", len(directives), size, below(node))


def outlined(outline: Outline) -> list[Any]:
    return [definition(each) for each in (*outline.operations, *outline.fragments.values())]


def definition(each: Definition) -> Any:
    return (each.kind, each.name, each.condition, each.directives, each.defaults, [plain(one) for one in each.below])


def plain(one: Selection) -> Any:
    return (
        one.name, one.key, one.spread, one.condition, one.directives, one.page, [plain(each) for each in one.below]
    )  # fmt: skip


TRICKS = [
    "{a}",
    '"""What it is for.""" query Q { a }',
    "query($n: Int = 3, $o: F = {n: 1, first: 2}, $p: [Int!]! = [4], $m: Int = -7) { a(first: $m) { b } }",
    'query($o: F = {b: 1}, $n: Int = 9 @x(y: 1)) @live { a(filter: {first: 5, x: "first: 7"}, first: $n) { b } }',
    "{ a(x: first, first: 100) { b(y: [first, {first: 1}], first: 7) { c } } }",
    '{ a(t: """ } first: 3 \\""" { """, first: 2) # } {\n { b(t: "\\"{") } }',
    "{ first: a(last: 1) second: first(first: 4) { first } }",
    "{ ...F @include(if: true) @skip(if: $x) ... on T @a { b } ... @b(first: 1) { c } } fragment F on T @c { e }",
    "subscription S { a } mutation { b } query query { c }",
    "\ufeff{,,a,,,b(first:1,){c}}",
    '{ a(first: 99999999999) { b } c(first: 1.5) { d } e(first: null) { f } g(first: "7") { h } i(f: "") { j } }',
    get_introspection_query(),
]


class TestOutlineOf:
    @pytest.mark.parametrize("text", [*TRICKS, CONTRACT.read_text(encoding="utf-8")])
    def test_it_reads_what_the_parser_reads(self, text: str) -> None:
        want = parsed(parse(text))
        want.sort(key=lambda each: each[0] == "fragment")
        got = outlined(outline_of(text, 100_000))
        if "99999999999" in text:  # ten digits are no Int; what they are is refused when it runs
            want[0][5][0] = (*want[0][5][0][:5], None, want[0][5][0][6])
        assert got == want

    @given(
        st.recursive(
            st.sampled_from(["a", "b: c", "d(first: 3)", "e(x: {first: 1})", "... F", "f @g(h: 1) @i"]),
            lambda inner: st.lists(inner, min_size=1, max_size=4).map(
                lambda many: " ".join(f"{each}" if "F" in each else f"k(first: $n) {{ {each} }}" for each in many)
            ),
            max_leaves=30,
        )
    )
    def test_whatever_is_selected_is_outlined(self, selections: str) -> None:
        text = f"query($n: Int = 5) {{ {selections} }} fragment F on T {{ a }}"
        assert outlined(outline_of(text, 100_000)) == parsed(parse(text))

    @given(st.text(alphabet='{}()[]:$@!|=&.ab1"#\\\n ,on', max_size=60))
    def test_what_the_parser_takes_is_never_unreadable(self, text: str) -> None:
        try:
            want = parsed(parse(text))
        except Exception:  # noqa: BLE001 -- not a document, or one of types: the outline may say anything
            return
        assert sorted(map(repr, outlined(outline_of(text, 100_000)))) == sorted(map(repr, want))

    @pytest.mark.parametrize(
        "text", ["", "{", "{ a(", "{ a(x) { b } }", "type T { a: Int }", "{ \x00 }", '{ a(b: "', "}"]
    )
    def test_what_is_no_document_has_none(self, text: str) -> None:
        if text:
            with pytest.raises(Unreadable):
                outline_of(text, 100)
        else:
            assert outline_of(text, 100) == Outline([], {}, 0)

    def test_tokens_have_a_maximum(self) -> None:
        assert outline_of("{ a b c } # not these", 5).tokens == 5
        with pytest.raises(DocumentTooComplex, match="A document has 4 tokens at most"):
            outline_of("{ a b c }", 4)

    @pytest.mark.parametrize("text", ["{ a " * 70, "{ a(b: " + "[" * 1_000, "query($a: " + "[" * 1_000, "(" * 65])
    def test_brackets_within_each_other_have_a_maximum(self, text: str) -> None:
        with pytest.raises(DocumentTooComplex, match="A document has 64 brackets within each other at most"):
            outline_of(text, 2_000)


class TestOpened:
    def test_a_fragment_is_opened_wherever_it_is_spread_and_never_within_itself(self) -> None:
        outline = outline_of("{ a { ...F } ...F } fragment F on T { b { c } ...F }", 100)
        seen: list[tuple[str, int]] = []
        opened(
            outline.operations[0].below,
            outline.fragments,
            lambda one, depth: seen.append((one.name or one.spread, depth)),
        )
        again = [("F", 2), ("b", 2), ("c", 3), ("F", 2)]
        assert seen == [("a", 1), *again, ("F", 1), ("b", 1), ("c", 2), ("F", 1)]

    def test_fragments_within_fragments_end_like_brackets(self) -> None:
        chain = "".join(f" fragment F{index} on T {{ ...F{index + 1} }}" for index in range(70))
        outline = outline_of("{ ...F0 }" + chain, 2_000)
        with pytest.raises(DocumentTooComplex, match="64 brackets within each other"):
            opened(outline.operations[0].below, outline.fragments, lambda _one, _depth: None)
