from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ColumnElement, select

from registry.lineage import around
from registry.lineage.around import links_around
from registry.lineage.tables import NodeKind
from registry.lineage.walking import Direction
from registry.models.tables import ModelVersion
from tests.registry.house import House
from tests.registry.lineage.test_walking import diamond


async def walk(
    house: House,
    *roots: UUID,
    direction: Direction = Direction.UPSTREAM,
    depth: int = 5,
    first: int = 50,
    hidden: UUID | None = None,
) -> Mapping[UUID, Any]:
    """The walks of some versions in one statement, for somebody who sees all but one thing."""

    def exists(_kind: NodeKind, key: ColumnElement[Any], _within: object) -> ColumnElement[bool]:
        return key.is_not(None) if hidden is None else key != hidden

    found = links_around(ModelVersion.id, direction=direction, depth=depth, first=first, exists=exists)
    rows = await house.session.execute(select(ModelVersion.id, found).where(ModelVersion.id.in_(roots)))
    return {row[0]: row[1] for row in rows}


def ends(walked: Any) -> list[tuple[str, UUID, UUID]]:
    return [(link["kind"], UUID(link["from_id"]), UUID(link["to_id"])) for link in walked["links"]]


class TestLinksAround:
    async def test_upstream_step_by_step_each_link_once(self, house: House) -> None:
        data, left, right, joined, last = await diamond(house)
        walked = (await walk(house, last, depth=3))[last]
        assert walked["complete"]
        assert ends(walked) == [
            ("FINE_TUNED_FROM", last, joined),
            ("FINE_TUNED_FROM", joined, left),
            ("FINE_TUNED_FROM", joined, right),
            ("TRAINED_ON", left, data),
            ("TRAINED_ON", right, data),
        ]
        assert {(link["basis"], link["from_kind"]) for link in walked["links"]} == {("DECLARED", "MODEL_VERSION")}
        assert {link["to_kind"] for link in walked["links"]} == {"MODEL_VERSION", "DATASET_VERSION"}

    @pytest.mark.parametrize(("depth", "first", "count"), [(1, 50, 1), (2, 50, 3), (3, 2, 2), (3, 0, 0)])
    async def test_says_when_it_was_cut(self, house: House, depth: int, first: int, count: int) -> None:
        *_, last = await diamond(house)
        walked = (await walk(house, last, depth=depth, first=first))[last]
        assert (len(walked["links"]), walked["complete"]) == (count, False)

    async def test_goes_round_nothing_that_is_hidden(self, house: House) -> None:
        data, left, right, joined, last = await diamond(house)
        walked = (await walk(house, last, hidden=left))[last]
        assert not walked["complete"]
        assert ends(walked) == [
            ("FINE_TUNED_FROM", last, joined),
            ("FINE_TUNED_FROM", joined, right),
            ("TRAINED_ON", right, data),
        ]

    async def test_downstream(self, house: House) -> None:
        _, left, right, joined, last = await diamond(house)
        walked = (await walk(house, left, direction=Direction.DOWNSTREAM))[left]
        assert (ends(walked), walked["complete"]) == (
            [("FINE_TUNED_FROM", joined, left), ("FINE_TUNED_FROM", last, joined)],
            True,
        )
        assert not (await walk(house, right, direction=Direction.DOWNSTREAM, depth=1))[right]["complete"]

    async def test_many_versions_in_one_statement(self, house: House) -> None:
        data, left, right, *_ = await diamond(house)
        walked = await walk(house, left, right, depth=1)
        assert {key: ends(each) for key, each in walked.items()} == {
            left: [("TRAINED_ON", left, data)],
            right: [("TRAINED_ON", right, data)],
        }

    async def test_nothing_around_is_complete(self, house: House) -> None:
        version = await house.version(await house.model())
        assert (await walk(house, version))[version] == {"complete": True, "links": []}

    async def test_more_edges_than_one_walk_reads(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        *_, last = await diamond(house)
        monkeypatch.setattr(around, "EDGES_MAX", 2)
        walked = (await walk(house, last))[last]
        assert (len(walked["links"]), walked["complete"]) == (3, False)
