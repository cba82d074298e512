"""Every kind of value and every place of Python, both ways."""

from typing import Any
from uuid import UUID

import pytest
from graphql import build_schema
from sqlalchemy import Integer

from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.graphql.compiler.leaves import About, text_of
from guildhall.graphql.compiler.plan import NotCompilable
from guildhall.graphql.compiler.runs import FallBack
from guildhall.graphql.compiler.shapes import Leaf, RowValue
from tests.guildhall.graphql.compiler.conftest import Both

SCALARS = """{ houses(first: 9) { nodes { scalars {
    real exact day lastDay forever ever truth noTruth at noTime askedAt suit shade texts noTexts any small credits
    several { text } noValues { text } pairs { __typename id } some { name } never { name }
    values { text id whole real truth suit texts any big credits nothing rooms { name } room { name } node { id }
        inner { text } shouted } } } } }"""


class TestValues:
    async def test_of_every_kind(self, odd: Both, anna: Actor) -> None:
        data = await odd(anna, SCALARS)
        scalars = data["houses"]["nodes"][0]["scalars"]
        assert scalars["at"] == "2026-01-31T09:30:00.000005Z"
        assert scalars["shade"] == "DARK"
        assert scalars["credits"] == "-12.500001"
        assert [room["name"] for room in scalars["values"]["rooms"]] == ["room-0-x", "room-0-"]

    @pytest.mark.parametrize(
        "field",
        [
            "noNumber",
            "tooBig",
            "manyBytes",
            "noSuit",
            "noShade",
            "missing",
            "values { whole }",
            "values { suit }",
            "values { credits }",
            "values { truth }",
            "values { secret }",
            "noObject { text }",
            "room { name }",
        ],
    )
    async def test_mistakes_are_for_graphql_core(self, odd: Both, anna: Actor, field: str) -> None:
        text = f"{{ houses(first: 9) {{ nodes {{ mistakes {{ {field} }} }} }} }}"
        assert "errors" in await odd.theirs(anna, text)
        with pytest.raises(FallBack):
            await odd.ours(anna, text)

    async def test_what_python_makes_a_text_of_is_for_graphql_core(self, odd: Both, anna: Actor) -> None:
        for field in ("text", "texts"):
            with pytest.raises(FallBack):
                await odd.ours(anna, f"{{ houses(first: 9) {{ nodes {{ mistakes {{ values {{ {field} }} }} }} }} }}")

    async def test_a_part_that_asks_for_a_permission(self, odd: Both, anna: Actor) -> None:
        await odd(anna, '{ house(name: "house-0") { mistakes { __typename } price balances } }')

    async def test_a_part_of_a_type_that_has_no_team(self, odd: Both, anna: Actor) -> None:
        with pytest.raises(FallBack):
            await odd.ours(anna, '{ house(name: "house-0") { mistakes { needed { __typename } } } }')

    @pytest.mark.parametrize(
        "field", ["keyedText { text }", "scalars { values { moment } }", "scalars { values { counted } }"]
    )
    async def test_that_nobody_checked(self, odd: Both, anna: Actor, field: str) -> None:
        with pytest.raises(NotCompilable):
            await odd.ours(anna, f"{{ houses(first: 1) {{ nodes {{ {field} }} }} }}")

    @pytest.mark.parametrize("field", ["number", "texts", "suit"])
    async def test_without_a_form_in_sql(self, odd: Both, anna: Actor, field: str) -> None:
        with pytest.raises(NotCompilable) as refused:
            await odd.ours(anna, f"{{ houses(first: 1) {{ nodes {{ uncompiled {{ {field} }} }} }} }}")
        assert refused.value.path == ("houses", "nodes", "uncompiled", field)


class TestText:
    def test_of_a_column_that_is_never_null(self) -> None:
        definition = build_schema("type Query { small: Int! }").type_map["Query"].fields["small"]  # type: ignore[attr-defined]
        leaf = Leaf(RowValue("r1", "c1"), definition.type)
        assert text_of(leaf, About(Integer(), certain=True, plain=True)) == "r1.c1"


class TestPython:
    async def test_before_the_statement(self, odd: Both, anna: Actor) -> None:
        text = """{ me { name badges favourites(first: 2) { nodes { name } pageInfo { endCursor } } }
            people(count: 2) { name badges } none: people(count: -1) { name } nobody { name } }"""
        data = await odd(anna, text)
        assert data["me"]["badges"] == ["Anna", "guest"]
        assert len(odd.statements) == 1

    async def test_with_what_the_statement_returned(self, odd: Both, anna: Actor) -> None:
        text = """{ houses(first: 9) { nodes { moments { at day suit key house { name } } no: moments(none: true) { at }
            several { at day key house { name } } few: several(count: 0) { at } nil: several(count: -1) { at }
            coin { side } strange { id }
            days opened } } }"""
        data = await odd(anna, text)
        assert data["houses"]["nodes"][0]["several"][0]["house"] == {"name": "house-0"}
        assert [node["opened"] for node in data["houses"]["nodes"]] == ["open", None, None, None]

    @pytest.mark.parametrize(
        "field", ["never { key }", "wrong", "unwritable { text }", "days(none: true)", "keyed { text }"]
    )
    async def test_what_only_graphql_core_can_tell(self, odd: Both, anna: Actor, field: str) -> None:
        with pytest.raises(FallBack):
            await odd.ours(anna, f"{{ houses(first: 9) {{ nodes {{ {field} }} }} }}")

    async def test_that_gives_the_key_of_a_row(self, odd: Both, anna: Actor) -> None:
        with pytest.raises(NotCompilable):
            await odd.ours(anna, "{ houses(first: 9) { nodes { itself { name } } } }")


class TestScopes:
    async def test_values_of_edges(self, odd: Both, anna: Actor) -> None:
        text = """query ($after: String) { ranked(first: 2, words: ["room-0-x", "none"], after: $after) { totalCount
            edges { __typename cursor score found { text } node { name } } pageInfo { __typename endCursor }
            __typename } }"""
        data = await odd(anna, text)
        await odd(anna, text, after=data["ranked"]["pageInfo"]["endCursor"])

    @pytest.mark.parametrize("field", ["edges { room { name } }", "rooms { text }"])
    async def test_what_has_no_form_in_sql(self, odd: Both, anna: Actor, field: str) -> None:
        with pytest.raises(NotCompilable):
            await odd.ours(anna, f"{{ strange(first: 1) {{ {field} }} }}")


class TestRecords:
    async def test_what_was_read_is_told(self, odd: Both, anna: Actor) -> None:
        text = '{ house(name: "house-0") { secrets(first: 3) { nodes { name } pageInfo { hasNextPage } } } }'
        data = await odd(anna, text)
        assert len(data["house"]["secrets"]["nodes"]) == 3
        found = odd.reads._found["registry:model:discover"]
        assert ResourceRef("Secret", UUID(int=1000)) in found
        assert ResourceRef("House", UUID(int=100)) in found
        assert len(found) == 3

    async def test_that_something_is_there_is_no_read(self, odd: Both, anna: Actor) -> None:
        await odd.ours(anna, '{ house(name: "house-0") { secrets(first: 3) { nodes { __typename } } } }')
        assert odd.reads._found == {}


class TestSwitches:
    async def test_leave_fields_out(self, odd: Both, anna: Actor) -> None:
        text = """query ($with: Boolean!, $without: Boolean = false) { houses(first: 2) { nodes {
            name @include(if: $with) ... @skip(if: $without) { id } ...More } } }
            fragment More on House { more: createdAt @include(if: $with) }"""
        assert list((await odd(anna, text, **{"with": True}))["houses"]["nodes"][0]) == ["name", "id", "more"]
        assert list((await odd(anna, text, **{"with": False}))["houses"]["nodes"][0]) == ["id"]
        assert list((await odd(anna, text, **{"with": True, "without": True}))["houses"]["nodes"][0]) == [
            "name",
            "more",
        ]

    async def test_that_no_request_decides(self, odd: Both, anna: Actor) -> None:
        text = "{ houses(first: 1) { nodes { name @skip(if: true) id @include(if: true) } } }"
        assert list((await odd(anna, text))["houses"]["nodes"][0]) == ["id"]

    async def test_plans_are_bounded(self, odd: Both, anna: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("guildhall.graphql.compiler.compile.PLANS_MAX", 1)
        text = "query ($with: Boolean!) { houses(first: 2) { nodes { id name @include(if: $with) } } }"
        for value in (True, False, True):
            await odd(anna, text, **{"with": value})

    async def test_statements_are_bounded(self, odd: Both, anna: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("guildhall.graphql.compiler.answers.STATEMENTS_MAX", 1)
        text = 'query ($filter: RoomFilter) { searchRooms(text: "x", first: 2, filter: $filter) { nodes { name } } }'
        asked: list[Any] = [{}, {"kind": {"eq": "SMALL"}}, {"kind": {"in": ["SMALL", "LARGE"]}}, {"kind": {"in": []}}]
        for given in asked:
            await odd(anna, text, filter=given)
