"""Connections: pages, cursors, filters, orders, totals, lists of several types."""

from typing import Any

import pytest

from guildhall.auth.actor import Actor
from guildhall.graphql.ids import encode_id
from guildhall.settings import Settings
from tests.guildhall.graphql.conftest import HOUSES, Run

ROOMS = """query ($first: Int, $after: String, $filter: RoomFilter, $orderBy: RoomOrder) {
    house(name: "house-0") { rooms(first: $first, after: $after, filter: $filter, orderBy: $orderBy) {
        totalCount edges { cursor node { name } } nodes { name }
        pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }
}"""


async def all_pages(run: Run, actor: Actor, size: int, **variables: Any) -> list[str]:
    names: list[str] = []
    after = None
    for _ in range(20):
        answer = await run(actor, ROOMS, first=size, after=after, **variables)
        page = answer["data"]["house"]["rooms"]
        assert [edge["node"]["name"] for edge in page["edges"]] == [node["name"] for node in page["nodes"]]
        assert page["pageInfo"]["startCursor"] == (page["edges"][0]["cursor"] if page["edges"] else None)
        assert page["pageInfo"]["endCursor"] == (page["edges"][-1]["cursor"] if page["edges"] else None)
        assert page["pageInfo"]["hasPreviousPage"] is False
        names += [node["name"] for node in page["nodes"]]
        if not page["pageInfo"]["hasNextPage"]:
            return names
        after = page["pageInfo"]["endCursor"]
    raise AssertionError("the pages do not end")


def first_error(answer: Any) -> tuple[str, str]:
    error = answer["errors"][0]
    return error["extensions"]["code"], error["message"]


class TestPaging:
    @pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
    async def test_pages_of_any_size_join_to_the_whole_list(self, run: Run, anna: Actor, size: int) -> None:
        # created_at is the same for two rooms each, so that the key must break the tie
        assert await all_pages(run, anna, size) == ["room-0-xxxx", "room-0-xxx", "room-0-xx", "room-0-x", "room-0-"]

    @pytest.mark.parametrize("direction", ["ASC", "DESC"])
    async def test_an_order_goes_both_ways(self, run: Run, anna: Actor, direction: str) -> None:
        names = await all_pages(run, anna, 2, orderBy={"field": "NAME", "direction": direction})
        assert names == sorted(names, reverse=direction == "DESC")
        assert len(names) == 5

    async def test_an_order_without_a_direction_ascends(self, run: Run, anna: Actor) -> None:
        names = await all_pages(run, anna, 2, orderBy={"field": "CREATED_AT"})
        assert names == ["room-0-", "room-0-x", "room-0-xx", "room-0-xxx", "room-0-xxxx"]

    async def test_an_empty_page_has_no_cursors_and_still_counts(self, run: Run, anna: Actor) -> None:
        answer = await run(anna, ROOMS, first=0)
        page = answer["data"]["house"]["rooms"]
        assert page == {
            "totalCount": 5,
            "edges": [],
            "nodes": [],
            "pageInfo": {"hasNextPage": True, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
        }

    async def test_a_count_alone_needs_no_first(self, run: Run, anna: Actor) -> None:
        answer = await run(anna, '{ house(name: "house-0") { rooms { totalCount } } }')
        assert answer == {"data": {"house": {"rooms": {"totalCount": 5}}}}

    @pytest.mark.parametrize(
        "selected",
        [
            "nodes @skip(if: $left) { id }",
            "nodes @include(if: $kept) { id }",
            "nodes @skip(if: $kept) @include(if: $kept) { id }",
            "... @skip(if: $left) { nodes { id } }",
            "...Nodes @include(if: $kept)",
        ],
    )
    async def test_a_page_that_is_left_out_needs_no_first(self, run: Run, anna: Actor, selected: str) -> None:
        fragment = "fragment Nodes on RoomConnection { nodes { id } }" if "...Nodes" in selected else ""
        rooms = f'house(name: "house-0") {{ rooms {{ {selected} totalCount }} }}'
        used = "a: __typename @skip(if: $left) b: __typename @include(if: $kept)"
        document = f"query($left: Boolean!, $kept: Boolean!) {{ {rooms} {used} }}"
        answer = await run(anna, f"{document} {fragment}", left=True, kept=False)
        assert answer == {"data": {"house": {"rooms": {"totalCount": 5}}}}

    async def test_a_page_that_is_asked_needs_it_whatever_the_directives(self, run: Run, anna: Actor) -> None:
        rooms = "rooms { nodes @skip(if: $left) @include(if: true) { id } totalCount }"
        answer = await run(anna, f'query($left: Boolean!) {{ house(name: "house-0") {{ {rooms} }} }}', left=False)
        assert (answer["data"], first_error(answer)[0]) == ({"house": None}, "FIRST_REQUIRED")

    @pytest.mark.parametrize(
        ("first", "code"),
        [(None, "FIRST_REQUIRED"), (-1, "BAD_USER_INPUT"), (101, "PAGE_TOO_LARGE"), (100_000, "PAGE_TOO_LARGE")],
    )
    async def test_first_is_required_positive_and_capped(
        self, run: Run, anna: Actor, settings: Settings, first: int | None, code: str
    ) -> None:
        assert settings.graphql_page_max == 100
        answer = await run(anna, ROOMS, first=first)
        assert answer["data"] == {"house": None}
        assert first_error(answer)[0] == code
        assert answer["errors"][0]["extensions"]["field"] == "first"


class TestCursors:
    async def cursor(self, run: Run, actor: Actor, **variables: Any) -> str:
        answer = await run(actor, ROOMS, first=2, **variables)
        return str(answer["data"]["house"]["rooms"]["pageInfo"]["endCursor"])

    async def refused(self, run: Run, actor: Actor, document: str, **variables: Any) -> None:
        answer = await run(actor, document, first=2, **variables)
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["INVALID_CURSOR"]

    async def test_a_cursor_serves_its_own_list_only(self, run: Run, anna: Actor, bert: Actor) -> None:
        cursor = await self.cursor(run, anna)
        await self.refused(run, bert, ROOMS, after=cursor)
        await self.refused(run, anna, ROOMS.replace("house-0", "house-1"), after=cursor)
        await self.refused(run, anna, ROOMS, after=cursor, filter={"kind": {"eq": "SMALL"}})
        await self.refused(run, anna, ROOMS, after=cursor, orderBy={"field": "NAME"})
        await self.refused(
            run,
            anna,
            "query ($first: Int, $after: String) { houses(first: $first, after: $after) { nodes { id } } }",
            after=cursor,
        )

    async def test_a_cursor_outlives_another_selection_and_page_size(self, run: Run, anna: Actor) -> None:
        cursor = await self.cursor(run, anna)
        document = """query ($after: String) { house(name: "house-0") {
            rooms(first: 1, after: $after) { nodes { id name } } } }"""
        answer = await run(anna, document, after=cursor)
        assert answer["data"]["house"]["rooms"]["nodes"][0]["name"] == "room-0-xx"

    async def test_malformed_and_altered_cursors_are_refused(self, run: Run, anna: Actor) -> None:
        cursor = await self.cursor(run, anna)
        altered = ("A" if cursor[0] != "A" else "B") + cursor[1:]
        for bad in ("", "x", "?", "ü", "a" * 5000, cursor[:-4], altered, cursor + "AAAA", cursor.swapcase()):
            await self.refused(run, anna, ROOMS, after=bad)

    async def test_siblings_that_share_a_cursor_are_refused_one_by_one(self, run: Run, anna: Actor) -> None:
        cursor = await self.cursor(run, anna)
        document = """query ($after: String) { houses(first: 9) { nodes {
            rooms(first: 2, after: $after) { nodes { name } } } } }"""
        answer = await run(anna, document, after=cursor)
        assert {error["extensions"]["code"] for error in answer["errors"]} == {"INVALID_CURSOR"}
        assert answer["data"] == {"houses": None}


class TestFilters:
    @pytest.mark.parametrize(
        ("given", "want"),
        [
            ({}, 5),
            ({"kind": None}, 5),
            ({"kind": {}}, 5),
            ({"kind": {"eq": "SMALL"}}, 2),
            ({"kind": {"in": ["SMALL", "LARGE"]}}, 5),
            ({"kind": {"in": []}}, 0),
            ({"text": "xxx"}, 2),
            ({"text": "%"}, 0),
            ({"text": "' OR 1=1 --"}, 0),
            ({"kind": {"eq": "SMALL"}, "text": "xxx"}, 1),
            ({"house": {"eq": "house-0"}}, 5),
            ({"house": {"eq": "house-1"}}, 0),
            ({"createdAt": {"from": "2026-03-02T08:01:00Z"}}, 3),
            ({"createdAt": {"from": "2026-03-02T08:01:00Z", "to": "2026-03-02T08:02:00Z"}}, 2),
            ({"createdAt": {"to": "2026-03-02T09:01:00+01:00"}}, 2),
        ],
    )
    async def test_a_filter_narrows_page_and_count_alike(
        self, run: Run, anna: Actor, given: dict[str, Any], want: int
    ) -> None:
        answer = await run(anna, ROOMS, first=10, filter=given)
        page = answer["data"]["house"]["rooms"]
        assert (page["totalCount"], len(page["nodes"])) == (want, want)

    async def test_too_many_values_are_refused(self, run: Run, anna: Actor) -> None:
        answer = await run(anna, ROOMS, first=1, filter={"kind": {"in": ["SMALL"] * 201}})
        assert first_error(answer)[0] == "TOO_MANY_VALUES"


class TestScopes:
    SEARCH = """query ($text: String!, $after: String) { searchRooms(text: $text, first: 2, after: $after) {
        count { value exact } edges { score node { name } } pageInfo { hasNextPage endCursor } } }"""

    async def test_a_search_orders_by_its_own_rank_and_counts_up_to_a_maximum(self, run: Run, bert: Actor) -> None:
        first = (await run(bert, self.SEARCH, text="xxx"))["data"]["searchRooms"]
        assert first["count"] == {"value": 3, "exact": False}  # four, two of them in the house that Bert may see
        assert [(edge["score"], edge["node"]["name"]) for edge in first["edges"]] == [
            (11.0, "room-2-xxxx"),
            (11.0, "room-0-xxxx"),
        ]
        second = (await run(bert, self.SEARCH, text="xxx", after=first["pageInfo"]["endCursor"]))["data"]["searchRooms"]
        assert [edge["node"]["name"] for edge in second["edges"]] == ["room-2-xxx", "room-0-xxx"]
        assert second["pageInfo"]["hasNextPage"] is False

    async def test_a_list_of_several_types_leaves_out_what_is_not_visible(
        self, run: Run, anna: Actor, bert: Actor
    ) -> None:
        document = "{ things(first: 9) { complete edges { text node { __typename id } } nodes { id } } }"
        things = (await run(anna, document))["data"]["things"]
        assert things["complete"] is True
        assert [(edge["text"], edge["node"]["__typename"]) for edge in things["edges"]] == [
            ("note 1", "Room"),
            ("note 2", "House"),
            ("note 3", "House"),
        ]
        seen = (await run(bert, document))["data"]["things"]
        assert [edge["text"] for edge in seen["edges"]] == ["note 1", "note 3"]
        assert seen["nodes"][1]["id"] == encode_id("House", HOUSES[0])


class TestFragments:
    async def test_what_fragments_select_is_loaded_once(self, run: Run, anna: Actor) -> None:
        answer = await run(
            anna,
            """query { houses(first: 1) { ...Page nodes { ... on House { roomCount } ...Name @include(if: true) } } }
            fragment Page on HouseConnection { nodes { ...Name createdAt } edges { node { ... on Node { id } } } }
            fragment Name on House { title: name rooms(first: 1) { ... { nodes { name } } } }""",
        )
        assert answer["data"]["houses"]["nodes"] == [
            {
                "title": "house-0",
                "rooms": {"nodes": [{"name": "room-0-xxxx"}]},
                "createdAt": "2026-03-02T08:00:00.000000Z",
                "roomCount": 5,
            }
        ]

    async def test_the_same_list_twice_under_aliases(self, run: Run, anna: Actor) -> None:
        answer = await run(
            anna,
            """{ house(name: "house-0") { small: rooms(first: 1, filter: {kind: {eq: SMALL}}) { nodes { name } }
                 large: rooms(first: 2, filter: {kind: {eq: LARGE}}) { totalCount }
                 all: rooms(first: 1) { nodes { kind } } } }""",
        )
        assert answer["data"]["house"] == {
            "small": {"nodes": [{"name": "room-0-xxx"}]},
            "large": {"totalCount": 3},
            "all": {"nodes": [{"kind": "LARGE"}]},
        }
