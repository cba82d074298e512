from datetime import date
from typing import Any
from uuid import UUID

from registry.datasets.tables import Classification, Dataset
from registry.lineage.restrictions import recompute_effective
from tests.registry.house import House, fine_tuned_from, trained_on


async def effective(house: House, version_id: UUID) -> tuple[Any, ...]:
    version = await house.facts(version_id)
    return (
        version.effective_classification,
        version.effective_permitted_purposes,
        version.effective_regions,
        version.effective_retention_ends_on,
    )


async def chain(house: House, first: UUID, length: int) -> list[UUID]:
    """Versions, each trained further from the one before."""
    model_id = await house.model("chain")
    versions = [first]
    for _ in range(length):
        versions.append(await house.version(model_id, sources=[fine_tuned_from(versions[-1])]))
    return versions


class TestRecomputeEffective:
    async def test_nothing_known_restricts_nothing(self, house: House) -> None:
        assert await effective(house, await house.version(await house.model())) == ("PUBLIC", None, None, None)

    async def test_several_data_sets_leave_what_all_allow(self, house: House) -> None:
        first = await house.dataset(
            "a",
            classification=Classification.INTERNAL,
            purposes=["quality", "research"],
            retention_ends_on=date(2030, 1, 1),
        )
        second = await house.dataset(
            "b",
            classification=Classification.RESTRICTED,
            purposes=["audit", "research"],
            regions=["eu"],
            retention_ends_on=date(2028, 6, 30),
        )
        sources = [trained_on(await house.dataset_version(key)) for key in (first, second)]
        version_id = await house.version(await house.model(), sources=sources)
        assert await effective(house, version_id) == ("RESTRICTED", ["research"], ["eu"], date(2028, 6, 30))

    async def test_two_versions_of_one_data_set_count_once(self, house: House) -> None:
        data = await house.dataset()
        sources = [trained_on(await house.dataset_version(data, number=number)) for number in (1, 2)]
        version_id = await house.version(await house.model(), sources=sources)
        assert await effective(house, version_id) == ("CONFIDENTIAL", ["quality", "research"], ["eu", "us"], None)

    async def test_nothing_in_common_leaves_nothing(self, house: House) -> None:
        first = await house.dataset("a", purposes=["quality"], regions=["eu"])
        second = await house.dataset("b", purposes=["research"], regions=["us"])
        sources = [trained_on(await house.dataset_version(key)) for key in (first, second)]
        version_id = await house.version(await house.model(), sources=sources)
        assert await effective(house, version_id) == ("CONFIDENTIAL", [], [], None)

    async def test_inherited_over_five_generations(self, house: House) -> None:
        data = await house.dataset(retention_ends_on=date(2029, 1, 1))
        first = await house.version(await house.model(), sources=[trained_on(await house.dataset_version(data))])
        *_, fifth = await chain(house, first, 5)
        assert await effective(house, fifth) == (
            "CONFIDENTIAL",
            ["quality", "research"],
            ["eu", "us"],
            date(2029, 1, 1),
        )

    async def test_a_tightened_data_set_tightens_all_that_came_from_it(self, house: House) -> None:
        data = await house.dataset()
        first = await house.version(await house.model(), sources=[trained_on(await house.dataset_version(data))])
        generations = await chain(house, first, 5)
        bystander = await house.version(await house.model("bystander"))
        await house.change(
            Dataset,
            data,
            classification=Classification.RESTRICTED,
            permitted_purposes=["research"],
            regions=["eu"],
            retention_ends_on=date(2027, 1, 1),
        )
        changed = await recompute_effective(house.session, dataset_ids=[data])
        assert changed == sorted(generations)
        tightened = ("RESTRICTED", ["research"], ["eu"], date(2027, 1, 1))
        assert [await effective(house, version) for version in generations] == [tightened] * 6
        assert await effective(house, bystander) == ("PUBLIC", None, None, None)
        assert await recompute_effective(house.session, dataset_ids=[data]) == []

    async def test_a_second_path_to_the_same_data_changes_nothing(self, house: House) -> None:
        data = trained_on(await house.dataset_version(await house.dataset()))
        left = await house.version(await house.model("left"), sources=[data])
        right = await house.version(await house.model("right"), sources=[data])
        joined = await house.version(
            await house.model("joined"), sources=[fine_tuned_from(left), fine_tuned_from(right), data]
        )
        assert await effective(house, joined) == ("CONFIDENTIAL", ["quality", "research"], ["eu", "us"], None)
