"""Objects, lists and pages through a real schema on real tables."""

from typing import Any
from uuid import UUID

from guildhall.auth.actor import Actor
from guildhall.db.transaction import Database
from guildhall.graphql.ids import encode_id
from guildhall.hints import HINTS
from tests.guildhall.graphql.conftest import HOUSES, Run, counted, room_id, user


class TestFields:
    async def test_every_kind_of_source_answers(self, run: Run, anna: Actor) -> None:
        answer = await run(
            anna,
            """{ house(name: "house-0") {
                __typename id name createdAt price bytes roomCount shouted(marks: 2)
                doors { colour width } hours { opensAt closesAt rooms { name } }
                guests { name } weather(days: 3) { days bestRoom { id } }
            } }""",
        )
        assert answer == {
            "data": {
                "house": {
                    "__typename": "House",
                    "id": encode_id("House", HOUSES[0]),
                    "name": "house-0",
                    "createdAt": "2026-03-02T08:00:00.000000Z",
                    "price": "12.5",
                    "bytes": "1099511627776",
                    "roomCount": 5,
                    "shouted": "HOUSE-0!!",
                    "doors": [{"colour": "red", "width": 0.9}],
                    "hours": {
                        "opensAt": "08:00",
                        "closesAt": "20:00",
                        "rooms": [{"name": "room-0-"}, {"name": "room-0-x"}, {"name": "room-0-xx"}],
                    },
                    "guests": [{"name": "guest-0"}, {"name": "guest-2"}],
                    "weather": {"days": 3, "bestRoom": None},
                }
            }
        }

    async def test_an_embedded_object_is_null_where_its_condition_is_false(self, run: Run, anna: Actor) -> None:
        answer = await run(anna, '{ house(name: "house-3") { hours { opensAt } doors { colour } } }')
        assert answer == {"data": {"house": {"hours": None, "doors": []}}}

    async def test_lists_by_ids_and_by_kind_leave_out_what_is_not_visible(
        self, run: Run, anna: Actor, bert: Actor
    ) -> None:
        document = """{ house(name: "house-2") { favourites { name } notes { __typename id ... on Room { notes {
            text subject { __typename } } } } } }"""
        notes = [
            {
                "__typename": "Room",
                "id": encode_id("Room", room_id(0, 1)),
                "notes": [{"text": "note 1", "subject": {"__typename": "Room"}}],
            },
            {"__typename": "House", "id": encode_id("House", HOUSES[1])},
            {"__typename": "House", "id": encode_id("House", HOUSES[0])},
        ]
        assert await run(anna, document) == {
            "data": {
                "house": {
                    "favourites": [{"name": "room-0-xx"}, {"name": "room-1-"}, {"name": "room-0-"}],
                    "notes": notes,
                }
            }
        }
        assert await run(bert, document) == {
            "data": {
                "house": {"favourites": [{"name": "room-0-xx"}, {"name": "room-0-"}], "notes": [notes[0], notes[2]]}
            }
        }


class TestNode:
    async def test_any_node_by_its_id(self, run: Run, anna: Actor) -> None:
        document = "query ($id: ID!) { node(id: $id) { __typename id ... on Room { name house { name } } } }"
        key = encode_id("Room", room_id(1, 2))
        assert await run(anna, document, id=key) == {
            "data": {"node": {"__typename": "Room", "id": key, "name": "room-1-xx", "house": {"name": "house-1"}}}
        }

    async def test_invisible_absent_and_malformed_are_all_null(self, run: Run, bert: Actor) -> None:
        for key in (
            encode_id("House", HOUSES[1]),
            encode_id("Room", room_id(1, 2)),
            encode_id("House", room_id(0, 0)),
            encode_id("Query", HOUSES[0]),
            encode_id("Door", HOUSES[0]),
            "House_",
            "nonsense",
            "",
        ):
            answer = await run(bert, "query ($id: ID!) { node(id: $id) { id } }", id=key)
            assert answer == {"data": {"node": None}}, key


class TestPermissions:
    async def test_a_field_asks_its_own_permission_in_the_row_s_team(self, run: Run, anna: Actor) -> None:
        answer = await run(anna, "{ houses(first: 9) { nodes { name price } } }")
        assert [house["price"] for house in answer["data"]["houses"]["nodes"]] == ["12.5", "12.5", None, "12.5"]
        (error,) = answer["errors"]
        assert error["path"] == ["houses", "nodes", 2, "price"]
        assert error["extensions"] == {"code": "FORBIDDEN", "hint": HINTS["FORBIDDEN"]}
        assert error["message"] == "This needs the permission marketplace:wallet:read; an administrator can grant it."

    async def test_viewer_can_asks_for_the_row_s_team(self, run: Run, anna: Actor) -> None:
        answer = await run(anna, '{ houses(first: 9) { nodes { viewerCan(permission: "registry:model:register") } } }')
        assert [house["viewerCan"] for house in answer["data"]["houses"]["nodes"]] == [True, True, False, True]

    async def test_an_unknown_permission_is_named(self, run: Run, anna: Actor) -> None:
        answer = await run(anna, '{ house(name: "house-0") { viewerCan(permission: "registry:model:steal") } }')
        assert answer["data"] == {"house": None}
        assert answer["errors"][0]["message"] == "There is no permission 'registry:model:steal'."
        assert answer["errors"][0]["extensions"] == {"code": "BAD_USER_INPUT", "field": "permission"}

    async def test_a_root_field_refuses_who_has_its_permission_nowhere(self, run: Run) -> None:
        answer = await run(user(UUID(int=99), "Stranger"), '{ house(name: "house-0") { name } }')
        assert answer["data"] == {"house": None}
        assert answer["errors"][0]["extensions"] == {"code": "FORBIDDEN", "hint": HINTS["FORBIDDEN"]}

    async def test_an_anonymous_caller_gets_typename_and_nothing_else(self, run: Run) -> None:
        assert await run(None, "{ __typename }") == {"data": {"__typename": "Query"}}
        for document in (
            '{ node(id: "x") { id } }',
            "{ ...f } fragment f on Query { houses { totalCount } }",
        ):
            answer = await run(None, document)
            assert answer == {
                "errors": [
                    {
                        "message": "Sign in first: send a token as `Authorization: Bearer …`.",
                        "extensions": {"code": "UNAUTHENTICATED", "hint": HINTS["UNAUTHENTICATED"]},
                    }
                ]
            }


class TestStatements:
    DOCUMENT = """query ($first: Int!, $rooms: Int!) {
        houses(first: $first) { totalCount nodes {
            name roomCount guests { name } notes { id }
            rooms(first: $rooms) { totalCount nodes { name house { name } notes { text subject { id } } } }
        } }
    }"""

    async def test_a_page_of_many_rows_takes_the_statements_of_a_page_of_one(
        self, run: Run, anna: Actor, house_database: Database
    ) -> None:
        counts: list[int] = []
        answer: Any = None
        for first, rooms in ((1, 1), (4, 1), (4, 5)):
            with counted(house_database) as statements:
                answer = await run(anna, self.DOCUMENT, first=first, rooms=rooms)
            assert "errors" not in answer
            counts.append(len([statement for statement in statements if "example_" in statement]))
        nodes = answer["data"]["houses"]["nodes"]
        assert [len(node["rooms"]["nodes"]) for node in nodes] == [5, 5, 5, 0]
        assert [node["rooms"]["totalCount"] for node in nodes] == [5, 5, 5, 0]
        assert counts[0] <= counts[1] == counts[2] == 10

    async def test_only_what_is_selected_is_loaded(self, run: Run, anna: Actor, house_database: Database) -> None:
        with counted(house_database) as statements:
            await run(anna, "{ houses(first: 2) { nodes { name } } }")
        (statement,) = [statement for statement in statements if "example_" in statement]
        assert "example_houses.name" in statement
        assert "example_rooms" not in statement
        assert "price" not in statement
