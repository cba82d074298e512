from uuid import UUID

import pytest
from sqlalchemy import delete, insert, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from guildhall.clock import new_id
from registry.lineage.edges import write_edges
from registry.lineage.tables import EdgeBasis, LineageEdge
from tests.registry.house import House, fine_tuned_from, trained_on


def edge(house: House, from_id: UUID, to_id: UUID, **given: object) -> dict[str, object]:
    return {
        "id": new_id(),
        "kind": "FINE_TUNED_FROM",
        "from_kind": "MODEL_VERSION",
        "from_id": from_id,
        "to_kind": "MODEL_VERSION",
        "to_id": to_id,
        "basis": "DECLARED",
        "created_at": house.at,
        **given,
    }


class TestWriteEdges:
    async def test_twice_is_once(self, house: House) -> None:
        data = await house.dataset_version(await house.dataset())
        version_id = await house.version(await house.model(), ready=False)
        for _ in range(2):
            await write_edges(
                house.session,
                model_version_id=version_id,
                edges=[trained_on(data)],
                basis=EdgeBasis.DECLARED,
                job_id=None,
                at=house.at,
                new_id=new_id,
            )
        assert await house.count(LineageEdge) == 1


class TestTheDatabase:
    async def test_refuses_a_thing_made_from_itself(self, house: House) -> None:
        version_id = await house.version(await house.model())
        with pytest.raises(IntegrityError, match="circle"):
            await house.session.execute(insert(LineageEdge).values(edge(house, version_id, version_id)))

    async def test_refuses_a_circle_over_several_steps(self, house: House) -> None:
        model_id = await house.model()
        versions = [await house.version(model_id)]
        for _ in range(3):
            versions.append(await house.version(model_id, sources=[fine_tuned_from(versions[-1])]))
        with pytest.raises(IntegrityError, match="circle"):
            await house.session.execute(insert(LineageEdge).values(edge(house, versions[0], versions[-1])))

    @pytest.mark.parametrize(
        "given",
        [
            {"kind": "TRAINED_ON"},
            {"to_kind": "PACKAGE"},
            {"kind": "MADE_UP"},
            {"basis": "OBSERVED"},
            {"basis": "GUESSED"},
        ],
    )
    async def test_refuses_what_cannot_be_joined(self, house: House, given: dict[str, object]) -> None:
        with pytest.raises(IntegrityError):
            await house.session.execute(insert(LineageEdge).values(edge(house, new_id(), new_id(), **given)))

    @pytest.mark.parametrize("statement", [update(LineageEdge).values(basis="DECLARED"), delete(LineageEdge)])
    async def test_keeps_edges_as_they_were_written(self, house: House, statement: object) -> None:
        base = await house.version(await house.model("base"))
        await house.version(await house.model(), sources=[fine_tuned_from(base)])
        with pytest.raises(DBAPIError, match=r"permission denied|record"):
            await house.session.execute(statement)  # type: ignore[call-overload]
