"""A changed legal record: what was made from the data inherits it at once, and what was granted may open nothing."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from guildhall.clock import new_id
from guildhall.errors import InvalidInput, NotFound
from registry.access.decision import decide_read
from registry.datasets.changing import update_legal_record
from registry.datasets.stewards import StewardRequired
from registry.datasets.tables import Classification, Dataset
from tests.registry.estate import LEGAL, granted, registered, version_ref, versioned
from tests.registry.house import House, fine_tuned_from, trained_on


async def change(house: House, dataset_id: UUID, *, by: str = "mia", **given: Any) -> list[UUID]:
    classification = given.pop("classification", None)
    return await update_legal_record(
        house.session,
        house.actor(by),
        dataset_id=dataset_id,
        classification=classification,
        legal=replace(LEGAL, **given),
        at=house.at,
        new_id=new_id,
    )


class TestUpdateLegalRecord:
    async def test_models_of_any_depth_inherit_it(self, house: House) -> None:
        dataset_id = await registered(house)
        model_id = await house.model()
        first = await house.version(model_id, sources=[trained_on(await versioned(house, dataset_id))])
        second = await house.version(model_id, sources=[fine_tuned_from(first)])
        untouched = await house.version(model_id)
        changed = await change(
            house, dataset_id, classification=Classification.RESTRICTED, permitted_purposes=["research"]
        )
        assert changed == sorted([first, second])
        for version_id in (first, second):
            facts = await house.facts(version_id)
            assert (facts.effective_classification, facts.effective_permitted_purposes) == ("RESTRICTED", ["research"])
        assert (await house.facts(untouched)).effective_classification == "PUBLIC"

    async def test_before_and_after_are_recorded(self, house: House) -> None:
        dataset_id = await registered(house)
        await change(house, dataset_id, licence="proprietary")
        (event,) = await house.events("registry:dataset:steward")
        assert event.before is not None
        assert event.after is not None
        differing = {name for name in event.after if event.after[name] != event.before[name]}
        assert differing == {"licence"}
        assert (event.before["licence"], event.after["licence"]) == ("CC-BY-4.0", "proprietary")

    async def test_the_classification_stays_where_none_is_named(self, house: House) -> None:
        dataset_id = await registered(house)
        await change(house, dataset_id)
        assert (await house.session.get_one(Dataset, dataset_id)).classification == "CONFIDENTIAL"

    async def test_a_grant_for_a_purpose_that_is_no_longer_permitted_opens_nothing(self, house: House) -> None:
        dataset_id = await registered(house)
        version_id = await versioned(house, dataset_id)
        await granted(house, [version_ref(version_id)])
        await change(house, dataset_id, permitted_purposes=["research"])
        decision = await decide_read(
            house.session,
            actor_user_id=house.people["quinn"],
            team_ids=[house.teams["quality"]],
            resource=version_ref(version_id),
            purpose=None,
            at=house.at,
        )
        assert decision.reason is not None
        assert decision.reason.code == "ACCESS_GRANT_REQUIRED"

    @pytest.mark.parametrize("name", ["anna", "quinn"])
    async def test_only_a_steward_may(self, house: House, name: str) -> None:
        dataset_id = await registered(house)
        with pytest.raises(StewardRequired) as caught:
            await change(house, dataset_id, by=name, licence="proprietary")
        assert caught.value.message == ("Only a steward of every data set concerned may do this. Ask mia@example.org.")
        assert (await house.session.get_one(Dataset, dataset_id)).licence == "CC-BY-4.0"
        assert await house.events("registry:dataset:steward") == []

    async def test_a_blank_consent_changes_nothing(self, house: House) -> None:
        dataset_id = await registered(house)
        with pytest.raises(InvalidInput):
            await change(house, dataset_id, consent="  ", licence="proprietary")
        assert (await house.session.get_one(Dataset, dataset_id)).licence == "CC-BY-4.0"
        assert await house.events("registry:dataset:steward") == []

    async def test_what_is_named_twice_counts_once(self, house: House) -> None:
        dataset_id = await registered(house)
        await change(house, dataset_id, permitted_purposes=["research", "research"], regions=["eu", "EU"])
        dataset = await house.session.get_one(Dataset, dataset_id)
        assert (dataset.permitted_purposes, dataset.regions) == (["research"], ["eu"])

    async def test_no_such_data_set(self, house: House) -> None:
        with pytest.raises(NotFound):
            await change(house, new_id())
