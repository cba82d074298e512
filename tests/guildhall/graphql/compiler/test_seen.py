"""Nodes that whoever led to them has seen: nobody asks again, and the key may tell all that is wanted."""

import re
from uuid import UUID

from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.graphql.ids import encode_id
from tests.guildhall.graphql.compiler.conftest import Both


def asked(selection: str) -> str:
    return f'{{ house(name: "house-0") {{ scalars {{ values {{ seen {{ {selection} }} }} }} }} }}'


class TestSeen:
    async def test_a_key_tells_all_that_is_wanted(self, odd: Both, anna: Actor) -> None:
        data = await odd(anna, asked("__typename same: __typename id"))
        assert data["house"]["scalars"]["values"]["seen"] == {
            "__typename": "Room",
            "same": "Room",
            "id": encode_id("Room", UUID(int=1002)),
        }
        assert "example_rooms" not in odd.statements[-1]

    async def test_more_is_read_of_its_row_without_its_rule(self, odd: Both, anna: Actor) -> None:
        data = await odd(anna, asked("id ... on Room { name }"))
        assert data["house"]["scalars"]["values"]["seen"]["name"] == "room-0-xx"
        assert re.findall(r"FROM example_rooms\s+WHERE (.*?)\) r", odd.statements[-1], re.DOTALL) == [
            "example_rooms.id = (r1.c1 ->> 'room')::UUID"
        ]

    async def test_its_read_is_recorded(self, odd: Both, anna: Actor) -> None:
        data = await odd(anna, '{ house(name: "house-0") { kept { __typename id } } }')
        assert data["house"]["kept"] == {"__typename": "Secret", "id": encode_id("Secret", UUID(int=1000))}
        found = odd.reads._found["registry:model:discover"]
        assert list(found) == [ResourceRef("Secret", UUID(int=1000)), ResourceRef("House", UUID(int=100))]

    async def test_that_it_is_there_is_no_read(self, odd: Both, anna: Actor) -> None:
        data = await odd(anna, '{ house(name: "house-0") { kept { __typename } } }')
        assert data["house"]["kept"] == {"__typename": "Secret"}
        assert odd.reads._found == {}
