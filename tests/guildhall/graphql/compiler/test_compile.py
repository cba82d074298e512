"""Documents over the example house, each run both ways."""

from typing import Any

from guildhall.auth.actor import Actor


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

    async def test_a_caller_sees_what_there_is_for_them(self, both: Any, bert: Actor) -> None:
        data = await both(bert, "{ houses(first: 9) { totalCount nodes { name } } }")
        assert [node["name"] for node in data["houses"]["nodes"]] == ["house-0", "house-2", "house-3"]
        assert data["houses"]["totalCount"] == 3
