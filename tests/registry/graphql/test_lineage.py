from uuid import UUID

import pytest

from guildhall.clock import new_id
from guildhall.graphql.ids import encode_id
from tests.registry.asking import Asking, model_id, version_id
from tests.registry.house import House, fine_tuned_from, trained_on

LINEAGE = """query ($id: ID!, $direction: Direction! = UPSTREAM, $depth: Int! = 3, $first: Int! = 50) {
  node(id: $id) { ... on ModelVersion { lineage(direction: $direction, depth: $depth, first: $first) {
    complete links { kind basis from { __typename id } to { __typename id } } } } } }"""
IMPACT = """query Impact($id: ID!, $first: Int!, $after: String) {
  impact(of: $id, first: $first, after: $after) {
    complete
    edges { distance path { kind basis } node { __typename id } }
    pageInfo { hasNextPage endCursor }
  }
}"""


async def three_generations(house: House, *, hidden: str | None = None) -> tuple[UUID, UUID, list[UUID]]:
    """A data set, a version of it, and three versions of three models, each trained further from the one before."""
    dataset = await house.dataset()
    data = await house.dataset_version(dataset)
    versions: list[UUID] = []
    for name in ("first", "second", "third"):
        model = await house.model(name, visibility="TEAM" if name == hidden else "ORGANISATION")
        source = fine_tuned_from(versions[-1]) if versions else trained_on(data)
        versions.append(await house.version(model, sources=[source]))
    return dataset, data, versions


class TestLineage:
    async def test_stops_at_what_is_hidden_and_says_so(self, ask: Asking) -> None:
        async with ask.house() as house:
            _, _, (first, second, third) = await three_generations(house, hidden="first")
        seen = {who: (await ask(who, LINEAGE, id=version_id(third)))["node"]["lineage"] for who in ("vera", "quinn")}
        assert (seen["vera"]["complete"], [link["kind"] for link in seen["vera"]["links"]]) == (
            True,
            ["FINE_TUNED_FROM", "FINE_TUNED_FROM", "TRAINED_ON"],
        )
        assert seen["quinn"] == {
            "complete": False,
            "links": [
                {
                    "kind": "FINE_TUNED_FROM",
                    "basis": "DECLARED",
                    "from": {"__typename": "ModelVersion", "id": version_id(third)},
                    "to": {"__typename": "ModelVersion", "id": version_id(second)},
                }
            ],
        }
        assert version_id(first) not in str(seen["quinn"])

    async def test_downstream(self, ask: Asking) -> None:
        async with ask.house() as house:
            _, _, (first, second, third) = await three_generations(house)
        lineage = (await ask("mia", LINEAGE, id=version_id(first), direction="DOWNSTREAM"))["node"]["lineage"]
        assert [link["from"]["id"] for link in lineage["links"]] == [version_id(second), version_id(third)]

    @pytest.mark.parametrize("given", [{"depth": 0}, {"depth": 21}, {"first": -1}, {"first": 501}])
    async def test_arguments_out_of_range(self, ask: Asking, given: dict[str, int]) -> None:
        async with ask.house() as house:
            version = await house.version(await house.model())
        assert await ask.refused("mia", LINEAGE, id=version_id(version), **given) == ["BAD_USER_INPUT"]


class TestImpact:
    async def test_of_a_data_set_by_pages(self, ask: Asking) -> None:
        async with ask.house() as house:
            dataset, _, versions = await three_generations(house)
        edges, after = [], None
        for more in (True, False):
            page = (await ask("mia", IMPACT, id=encode_id("Dataset", dataset), first=2, after=after))["impact"]
            assert (page["complete"], page["pageInfo"]["hasNextPage"]) == (True, more)
            edges += page["edges"]
            after = page["pageInfo"]["endCursor"]
        trained, tuned = ({"kind": kind, "basis": "DECLARED"} for kind in ("TRAINED_ON", "FINE_TUNED_FROM"))
        assert edges == [
            {
                "distance": distance,
                "path": [trained, *[tuned] * (distance - 1)],
                "node": {"__typename": "ModelVersion", "id": version_id(version)},
            }
            for distance, version in enumerate(versions, start=1)
        ]

    async def test_of_a_version_and_of_a_model(self, ask: Asking) -> None:
        async with ask.house() as house:
            _, data, (first, second, third) = await three_generations(house)
            model = (await house.facts(second)).model_id
        for key, reached in (
            (encode_id("DatasetVersion", data), [first, second, third]),
            (version_id(second), [third]),
            (model_id(model), [third]),
            (version_id(third), []),
        ):
            page = (await ask("mia", IMPACT, id=key, first=9))["impact"]
            assert [edge["node"]["id"] for edge in page["edges"]] == [version_id(each) for each in reached]
            assert page["complete"] is True

    async def test_what_is_hidden_is_withheld_with_all_behind_it(self, ask: Asking) -> None:
        async with ask.house() as house:
            dataset, _, (first, *_) = await three_generations(house, hidden="second")
        page = (await ask("mia", IMPACT, id=encode_id("Dataset", dataset), first=9))["impact"]
        assert (page["complete"], [edge["node"]["id"] for edge in page["edges"]]) == (False, [version_id(first)])

    async def test_of_what_is_hidden_unknown_or_nonsense(self, ask: Asking) -> None:
        async with ask.house() as house:
            hidden = await house.model("hidden", visibility="TEAM")
        for key in (model_id(hidden), model_id(new_id()), "nonsense", encode_id("Team", new_id())):
            assert await ask.refused("quinn", IMPACT, id=key, first=9) == ["NOT_FOUND"]

    @pytest.mark.parametrize(
        ("given", "code"),
        [({"first": -1}, "BAD_USER_INPUT"), ({"first": 101}, "PAGE_TOO_LARGE"), ({"after": "x"}, "INVALID_CURSOR")],
    )
    async def test_arguments_that_cannot_be(self, ask: Asking, given: dict[str, object], code: str) -> None:
        async with ask.house() as house:
            model = await house.model()
        assert await ask.refused("mia", IMPACT, id=model_id(model), **{"first": 9, **given}) == [code]

    async def test_a_cursor_of_another_question(self, ask: Asking) -> None:
        async with ask.house() as house:
            dataset, data, _ = await three_generations(house)
        page = (await ask("mia", IMPACT, id=encode_id("Dataset", dataset), first=1))["impact"]
        after = page["pageInfo"]["endCursor"]
        key = encode_id("DatasetVersion", data)
        assert await ask.refused("mia", IMPACT, id=key, first=1, after=after) == ["INVALID_CURSOR"]
        same = encode_id("Dataset", dataset)
        assert await ask.refused("anna", IMPACT, id=same, first=1, after=after) == ["INVALID_CURSOR"]

    async def test_as_many_statements_for_fifty_as_for_one(self, ask: Asking) -> None:
        async with ask.house() as house:
            data = await house.dataset_version(await house.dataset())
            model = await house.model()
            for _ in range(50):
                await house.version(model, sources=[trained_on(data)])
        counts = []
        for first in (1, 50):
            with ask.counted() as statements:
                page = await ask("mia", IMPACT, id=encode_id("DatasetVersion", data), first=first)
            assert len(page["impact"]["edges"]) == first
            counts.append(len(statements))
        assert counts[0] == counts[1]
