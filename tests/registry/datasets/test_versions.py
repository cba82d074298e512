"""Versions of data sets: numbered without gaps or doubles, their columns checked."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import InvalidInput, NotFound, Problem
from registry.artifacts.tables import Artifact
from registry.datasets.tables import DatasetVersion, Visibility
from registry.datasets.versions import ColumnSpec, InvalidRows, create_dataset_version
from tests.registry.estate import Estate, registered, spec
from tests.registry.house import House


async def create(house: House, dataset_id: UUID, *, by: str = "carl", **given: Any) -> UUID:
    values: dict[str, Any] = {"files": [spec("a.csv", b"abc")], **given}
    return await create_dataset_version(
        house.session, house.actor(by), dataset_id=dataset_id, at=house.at, new_id=new_id, **values
    )


class TestCreateDatasetVersion:
    async def test_what_is_stored_and_recorded(self, house: House) -> None:
        dataset_id = await registered(house)
        columns = [
            ColumnSpec(name=" image ", type="uint8[8,8]", unit="grey", personal=False),
            ColumnSpec(name="who", type="text", personal=True),
        ]
        version_id = await create(house, dataset_id, columns=columns, rows=1797)
        row = await house.session.get_one(DatasetVersion, version_id)
        assert (row.number, row.state, row.rows, row.ready_at) == (1, "DRAFT", 1797, None)
        assert row.columns == [
            {"name": "image", "type": "uint8[8,8]", "unit": "grey", "personal": False},
            {"name": "who", "type": "text", "unit": None, "personal": True},
        ]
        artifact = (await house.session.scalars(select(Artifact))).one()
        assert (artifact.owner_kind, artifact.owner_id, artifact.path, artifact.state) == (
            "DATASET_VERSION",
            version_id,
            "a.csv",
            "PENDING",
        )
        (event,) = await house.events("registry:dataset:add-version")
        assert (event.resource_types, event.resource_ids) == (["DatasetVersion", "Dataset"], [version_id, dataset_id])
        assert (event.rows, event.bytes, event.after) == (1797, 3, {"number": 1, "files": 1, "columns": 2})

    async def test_numbers_count_up_for_each_data_set(self, house: House) -> None:
        first, second = await registered(house, "first"), await registered(house, "second")
        made = [await create(house, each) for each in (first, first, second, first)]
        numbers = [(await house.session.get_one(DatasetVersion, each)).number for each in made]
        assert numbers == [1, 2, 1, 3]

    async def test_twenty_at_once_get_twenty_numbers(self, estate: Estate) -> None:
        dataset_id = await estate.dataset()
        await asyncio.gather(*(estate.announce(dataset_id, [spec("a", b"a")]) for _ in range(20)))
        assert sorted(row.number for row in await estate.rows(DatasetVersion)) == list(range(1, 21))

    @pytest.mark.parametrize(
        ("columns", "want"),
        [
            (
                [ColumnSpec(name=" ", type="int")],
                Problem("INVALID_COLUMN", "A column's name has 1 to 200 characters.", "columns[0].name"),
            ),
            (
                [ColumnSpec(name="x" * 201, type="int")],
                Problem("INVALID_COLUMN", "A column's name has 1 to 200 characters.", "columns[0].name"),
            ),
            (
                [ColumnSpec(name="a", type="")],
                Problem(
                    "INVALID_COLUMN",
                    "A column's type has 1 to 100 characters, its unit at most as many.",
                    "columns[0].type",
                ),
            ),
            (
                [ColumnSpec(name="a", type="int"), ColumnSpec(name="a ", type="int")],
                Problem("DUPLICATE_COLUMN", "The column 'a' is named twice.", "columns[1].name"),
            ),
            (
                [ColumnSpec(name=str(number), type="int") for number in range(2001)],
                Problem("TOO_MANY", "2001 columns are more than the 2000 that fit.", "columns"),
            ),
        ],
    )
    async def test_columns_that_cannot_be(self, house: House, columns: list[ColumnSpec], want: Problem) -> None:
        dataset_id = await registered(house)
        with pytest.raises(InvalidInput) as caught:
            await create(house, dataset_id, columns=columns)
        assert caught.value.problems == (want,)
        assert await house.count(DatasetVersion) == 0

    @pytest.mark.parametrize("rows", [-1, 2**63])
    async def test_rows_that_cannot_be(self, house: House, rows: int) -> None:
        dataset_id = await registered(house)
        with pytest.raises(InvalidRows):
            await create(house, dataset_id, rows=rows)

    @pytest.mark.parametrize(
        ("name", "error"), [("vera", PermissionRefused), ("quinn", NotFound), ("mia", NotFound), ("omar", NotFound)]
    )
    async def test_who_may_not(self, house: House, name: str, error: type[Exception]) -> None:
        dataset_id = await registered(house, visibility=Visibility.TEAM, stewards=("anna",))
        with pytest.raises(error):
            await create(house, dataset_id, by=name)
        assert await house.count(DatasetVersion) == await house.count(Artifact) == 0
