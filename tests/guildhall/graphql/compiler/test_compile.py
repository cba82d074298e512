"""Documents over the example house, each run both ways."""

from typing import Any

import pytest
from graphql import parse

from guildhall.auth.actor import Actor
from guildhall.graphql.compiler.compile import compile_document
from guildhall.graphql.compiler.runs import FallBack
from guildhall.graphql.ids import encode_id
from tests.guildhall.graphql.conftest import HOUSES, room_id

EVERYTHING = """{ houses(first: 9) { totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    edges { cursor node { __typename id name createdAt bytes roomCount doors { colour width }
        hours { opensAt closesAt rooms { name } } guests { id name } favourites { name house { name } }
        notes { __typename id ... on House { name } ... on Room { kind } }
        shouted loud: shouted(marks: 3) weather(days: 2) { days bestRoom { name } }
        forecast(days: 2) { days bestRoom { name } } next: forecast { days } letters many: letters(times: 3)
        rooms(first: 2, orderBy: {field: NAME, direction: DESC}, filter: {kind: {eq: LARGE}}) {
            totalCount nodes { name notes { text subject { id } } } pageInfo { endCursor hasNextPage } }
        may: viewerCan(permission: "marketplace:wallet:read") } } } }"""


class TestEveryKindOfField:
    async def test_all_of_a_house(self, both: Any, anna: Actor, bert: Actor) -> None:
        data = await both(anna, EVERYTHING)
        assert [edge["node"]["name"] for edge in data["houses"]["edges"]] == [
            "house-0",
            "house-1",
            "house-2",
            "house-3",
        ]
        assert [edge["node"]["may"] for edge in data["houses"]["edges"]] == [True, True, False, True]
        data = await both(bert, EVERYTHING)
        assert data["houses"]["totalCount"] == 3

    async def test_sql_that_takes_arguments(self, both: Any, anna: Actor, bert: Actor) -> None:
        text = """query ($times: Int = 2, $name: String!) { house(name: $name) {
            forecast(days: 2) { days bestRoom { name } } other: forecast { days } letters(times: $times) } }"""
        data = await both(anna, text, name="house-0")
        assert data["house"]["forecast"] == {"days": 2, "bestRoom": {"name": "room-0-"}}
        assert (data["house"]["other"], data["house"]["letters"]) == ({"days": 1}, 2 * len("house-0") + len("Anna"))
        await both(bert, text, name="house-0", times=5)
        with pytest.raises(FallBack):
            await both.ours(anna, text, name="house-0", times=-1)
        assert len(set(both.statements)) == 1

    async def test_a_search(self, both: Any, anna: Actor) -> None:
        text = """query ($after: String, $text: String = "x") { searchRooms(text: $text, first: 2, after: $after) {
            count { value exact } edges { score cursor node { name } } pageInfo { hasNextPage endCursor } } }"""
        data = await both(anna, text)
        assert data["searchRooms"]["count"] == {"value": 3, "exact": False}
        await both(anna, text, after=data["searchRooms"]["pageInfo"]["endCursor"])

    async def test_one_search_twice(self, both: Any, anna: Actor) -> None:
        hits = 'searchRooms(text: "x", first: 2) { edges { score node { name } } '
        data = await both(
            anna, f"{{ one: {hits} count {{ value }} }} two: {hits} }} three: {hits} count {{ value }} }} }}"
        )
        assert data["one"] == data["three"] == data["two"] | {"count": {"value": 3}}

    async def test_a_list_of_several_types(self, both: Any, bert: Actor) -> None:
        data = await both(
            bert,
            """{ things(first: 5) { complete totalCount nodes { __typename id }
            edges { text cursor node { ... on House { name } } } pageInfo { endCursor hasNextPage } } }""",
        )
        assert [edge["text"] for edge in data["things"]["edges"]] == ["note 1", "note 3"]

    async def test_one_by_its_arguments(self, both: Any, bert: Actor) -> None:
        text = "query ($name: String!) { house(name: $name) { name price } }"
        assert await both(bert, text, name="house-2") == {"house": {"name": "house-2", "price": "12.5"}}
        assert await both(bert, text, name="house-1") == {"house": None}

    async def test_a_node(self, both: Any, anna: Actor) -> None:
        text = "query ($id: ID!) { node(id: $id) { __typename id ... on House { name } ... on Room { kind } } }"
        data = await both(anna, text, id=encode_id("House", HOUSES[1]))
        assert data["node"]["name"] == "house-1"
        data = await both(anna, text, id=encode_id("Room", room_id(0, 1)))
        assert data["node"]["kind"] == "SMALL"
        for nothing in ("none", encode_id("Garden", HOUSES[0]), encode_id("House", room_id(9, 9))):
            assert await both(anna, text, id=nothing) == {"node": None}

    async def test_nodes_are_planned_for_what_fragments_tell_apart(self, both: Any, anna: Actor) -> None:
        text = """{ node(id: "%s") { ... { id } ...N ...N ... on Room { name } } }
            fragment N on Node { __typename ... on House { name rooms(first: 1) { nodes { id } } } }"""
        data = await both(anna, text % encode_id("Room", room_id(0, 0)))
        assert list(data["node"]) == ["id", "__typename", "name"]
        document = parse(text % encode_id("Room", HOUSES[0]))
        made = compile_document(both.composed.schema, both.composed.catalogue, document)
        assert made.fields == 9, "`node`, five of a house, two of a room, and the id of any other type"


class TestLists:
    async def test_a_page_with_pages_below(self, both: Any, anna: Actor) -> None:
        text = """query ($first: Int!, $after: String) { houses(first: $first, after: $after) {
            nodes { __typename id name createdAt rooms(first: 2) { nodes { name kind } } }
            pageInfo { hasNextPage endCursor } } }"""
        data = await both(anna, text, first=2)
        assert [node["name"] for node in data["houses"]["nodes"]] == ["house-0", "house-1"]
        assert data["houses"]["pageInfo"]["hasNextPage"] is True
        after = data["houses"]["pageInfo"]["endCursor"]
        rest = await both(anna, text, first=2, after=after)
        assert [node["name"] for node in rest["houses"]["nodes"]] == ["house-2", "house-3"]

    async def test_a_page_of_none(self, both: Any, anna: Actor) -> None:
        await both(anna, "{ houses(first: 0) { nodes { id } pageInfo { hasNextPage startCursor endCursor } } }")

    async def test_a_caller_sees_what_there_is_for_them(self, both: Any, bert: Actor) -> None:
        data = await both(bert, "{ houses(first: 9) { totalCount nodes { name } } }")
        assert [node["name"] for node in data["houses"]["nodes"]] == ["house-0", "house-2", "house-3"]
        assert data["houses"]["totalCount"] == 3

    async def test_a_cursor_of_a_list_below_an_object(self, both: Any, anna: Actor) -> None:
        text = """query ($name: String!, $after: String) { house(name: $name) {
            rooms(first: 2, after: $after) { nodes { name } pageInfo { endCursor } } } }"""
        data = await both(anna, text, name="house-0")
        after = data["house"]["rooms"]["pageInfo"]["endCursor"]
        rest = await both(anna, text, name="house-0", after=after)
        assert len(rest["house"]["rooms"]["nodes"]) == 2
        for name, cursor in (("house-1", after), ("house-0", "none"), ("house-0", after[:-1])):
            with pytest.raises(FallBack):
                await both.ours(anna, text, name=name, after=cursor)


class TestMistakes:
    @pytest.mark.parametrize(
        "text",
        [
            "{ houses { nodes { id } } }",
            "{ houses(first: -1) { nodes { id } } }",
            "{ houses(first: 100000) { nodes { id } } }",
            '{ houses(first: 1, after: "none") { nodes { id } } }',
            "{ houses(first: 9) { nodes { price } } }",
            '{ houses(first: 9) { nodes { viewerCan(permission: "none") } } }',
        ],
    )
    async def test_are_worded_by_graphql_core(self, both: Any, anna: Actor, text: str) -> None:
        assert "errors" in await both.theirs(anna, text)
        with pytest.raises(FallBack):
            await both.ours(anna, text)
