"""One field twice in a document: each alias keeps to its own arguments, whatever the first request gave to both.

Fragments are kept by arguments, so aliases that are asked for the same share theirs, and the statement that is written
then serves all requests of its shape.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import pytest

from guildhall.auth.actor import Actor
from guildhall.graphql.compiler import texts
from tests.guildhall.graphql.compiler.conftest import Both, in_order

LARGE, SMALL = ["LARGE"], ["SMALL"]
ROOMS = """query ($p: [RoomKind!], $q: [RoomKind!]) { house(name: "house-0") {
    one: rooms(first: 9, filter: {kind: {in: $p}}) { totalCount nodes { name kind } pageInfo { endCursor } }
    two: rooms(first: 9, filter: {kind: {in: $q}}) { totalCount nodes { name kind } } } }"""
HOUSE = "query ($p: String!, $q: String!) { one: house(name: $p) { name } two: house(name: $q) { name } }"
LETTERS = """query ($p: Int, $q: Int) { house(name: "house-0") {
    one: letters(times: $p) two: letters(times: $q) near: forecast(days: $p) { days } far: forecast(days: $q) { days }
} }"""
FOUND_LETTERS = """query ($p: Int, $q: Int) { sought(name: "house", first: 9) { nodes {
    one: letters(times: $p) two: letters(times: $q) name } } }"""
SEARCH = """query ($p: String!, $q: String!) {
    one: searchRooms(text: $p, first: 2) { nodes { name } count { value } }
    two: searchRooms(text: $q, first: 2) { nodes { name } count { value } } }"""
FIELDS: Mapping[str, tuple[str, Any, Any]] = {
    "lists": (ROOMS, LARGE, SMALL),
    "by name": (HOUSE, "house-0", "house-1"),
    "with arguments": (LETTERS, 2, 5),
    "with arguments, of rows that are found": (FOUND_LETTERS, 2, 5),
    "searches": (SEARCH, "x", "1"),
}


@pytest.fixture(autouse=True)
def _nothing_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_kept", OrderedDict())


@pytest.mark.parametrize("name", FIELDS)
class TestOneDocument:
    async def test_asked_for_the_same_first(self, odd: Both, anna: Actor, name: str) -> None:
        text, one, other = FIELDS[name]
        await odd(anna, text, p=one, q=one)
        there = await odd(anna, text, p=one, q=other)
        back = await odd(anna, text, p=other, q=one)
        assert in_order(there) != in_order(back)
        assert len(set(odd.statements)) == 1

    async def test_asked_for_different_things_first(self, odd: Both, anna: Actor, name: str) -> None:
        text, one, other = FIELDS[name]
        there = await odd(anna, text, p=other, q=one)
        await odd(anna, text, p=other, q=other)
        back = await odd(anna, text, p=one, q=other)
        assert in_order(there) != in_order(back)
        assert len(set(odd.statements)) == 1

    async def test_asked_by_several_callers(self, odd: Both, anna: Actor, bert: Actor, name: str) -> None:
        text, one, other = FIELDS[name]
        await odd(anna, text, p=one, q=one)
        await odd(bert, text, p=other, q=one)
        await odd(anna, text, p=one, q=other)


class TestSeveralDocuments:
    """Of rows that are found the whole SELECT is one text, which serves all documents with columns of these shapes."""

    @pytest.mark.parametrize(("first", "then"), [((2, 2), (2, 5)), ((2, 5), (5, 5)), ((5, 5), (5, 2))])
    async def test_with_arguments(self, odd: Both, anna: Actor, first: tuple[int, int], then: tuple[int, int]) -> None:
        page = '{ sought(name: "house", first: 9) { nodes { one: letters(times: %d) two: letters(times: %d) } } }'
        for times in (first, then):
            data = await odd(anna, page % times)
            lengths = [len("house-0") * each + len("Anna") for each in times]
            assert list(data["sought"]["nodes"][0].values()) == lengths

    async def test_with_what_the_request_says(self, odd: Both, anna: Actor) -> None:
        page = '{ sought(name: "house", first: 9) { nodes { scalars { %s } } } }'
        for fields in ("askedBy askedByWhom", "askedBy askedOf", "askedOf askedBy", "askedByWhom askedBy"):
            data = await odd(anna, page % fields)
            said = dict.fromkeys(("askedBy", "askedByWhom"), "Anna") | {"askedOf": odd.settings.public_url}
            assert data["sought"]["nodes"][0]["scalars"] == {name: said[name] for name in fields.split()}


class TestPages:
    async def test_of_one_list_begin_elsewhere(self, odd: Both, anna: Actor) -> None:
        text = """query ($p: String, $q: String) { house(name: "house-0") {
            one: rooms(first: 1, after: $p) { nodes { name } pageInfo { endCursor } }
            two: rooms(first: 1, after: $q) { nodes { name } pageInfo { endCursor } } } }"""
        first = (await odd(anna, text))["house"]["one"]["pageInfo"]["endCursor"]
        both = await odd(anna, text, p=first, q=first)
        second = both["house"]["one"]["pageInfo"]["endCursor"]
        there = await odd(anna, text, p=first, q=second)
        assert there["house"]["one"]["nodes"] == both["house"]["one"]["nodes"] != there["house"]["two"]["nodes"]
        back = await odd(anna, text, p=second, q=first)
        assert back["house"]["two"]["nodes"] == both["house"]["one"]["nodes"] != back["house"]["one"]["nodes"]
