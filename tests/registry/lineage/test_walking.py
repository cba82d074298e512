from collections.abc import Collection
from uuid import UUID

import pytest

from guildhall.clock import new_id
from registry.lineage import walking
from registry.lineage.edges import write_edges
from registry.lineage.tables import EdgeBasis, EdgeKind, NodeKind
from registry.lineage.walking import LineageNode, Links, impact, read_links
from tests.registry.house import House, fine_tuned_from, trained_on


async def diamond(house: House) -> tuple[UUID, UUID, UUID, UUID, UUID]:
    """A data set version, two versions trained on it, one joined from both, and one trained further from that."""
    data = await house.dataset_version(await house.dataset())
    model_id = await house.model()
    left = await house.version(model_id, sources=[trained_on(data)])
    right = await house.version(model_id, sources=[trained_on(data)])
    joined = await house.version(model_id, sources=[fine_tuned_from(left), fine_tuned_from(right)])
    last = await house.version(model_id, sources=[fine_tuned_from(joined)])
    return data, left, right, joined, last


def without(links: Links, *hidden: UUID) -> Collection[LineageNode]:
    return {node for node in links.nodes() if node.id not in hidden}


class TestImpact:
    async def test_each_thing_once_by_a_shortest_path(self, house: House) -> None:
        data, left, right, joined, last = await diamond(house)
        links = await read_links(house.session, [data])
        found = impact(links, [data], visible=links.nodes())
        assert found.complete
        assert [(reached.distance, reached.node.id) for reached in found.reached] == [
            (1, left),
            (1, right),
            (2, joined),
            (3, last),
        ]
        assert [link.kind for link in found.reached[-1].path] == [
            EdgeKind.TRAINED_ON,
            EdgeKind.FINE_TUNED_FROM,
            EdgeKind.FINE_TUNED_FROM,
        ]
        assert found.reached[-1].node.kind == NodeKind.MODEL_VERSION

    async def test_what_lies_behind_the_hidden_is_withheld(self, house: House) -> None:
        data, left, right, joined, _ = await diamond(house)
        links = await read_links(house.session, [data])
        found = impact(links, [data], visible=without(links, joined))
        assert ([reached.node.id for reached in found.reached], found.complete) == ([left, right], False)

    async def test_a_chain_longer_than_a_walk(self, house: House) -> None:
        model_id = await house.model()
        first = await house.version(model_id)
        previous = first
        for _ in range(walking.DEPTH_MAX + 1):
            version = await house.version(model_id)
            await write_edges(
                house.session,
                model_version_id=version,
                edges=[fine_tuned_from(previous)],
                basis=EdgeBasis.DECLARED,
                job_id=None,
                at=house.at,
                new_id=new_id,
            )
            previous = version
        links = await read_links(house.session, [first])
        found = impact(links, [first], visible=links.nodes())
        assert (len(found.reached), found.complete) == (walking.DEPTH_MAX, False)

    async def test_more_edges_than_one_statement_reads(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        data, *_ = await diamond(house)
        monkeypatch.setattr(walking, "EDGES_MAX", 2)
        links = await read_links(house.session, [data])
        found = impact(links, [data], visible=links.nodes())
        assert (links.cut, len(found.reached), found.complete) == (True, 2, False)

    async def test_nothing_was_made_from_it(self, house: House) -> None:
        data = await house.dataset_version(await house.dataset())
        links = await read_links(house.session, [data])
        assert impact(links, [data], visible=links.nodes()) == walking.Impact((), complete=True)
