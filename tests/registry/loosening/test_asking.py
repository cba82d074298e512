"""Asking for a loosening: by the team, for something that is looser, of stewards who are there."""

from datetime import date
from uuid import UUID

import pytest
from sqlalchemy import delete, insert, select

from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, InvalidInput, NotFound
from guildhall.inbox.kinds import EventKind
from registry.access.needs import NobodyCanDecide
from registry.access.requests import PersonRequired
from registry.datasets.tables import Classification, DatasetSteward, Visibility
from registry.loosening import asking
from registry.loosening.asking import AlreadyAsked, InvalidLoosening, VersionUnfinished, ask_loosening
from registry.loosening.imposing import Wanted
from registry.loosening.tables import Loosening, LooseningSource, RestrictedProperty
from registry.purposes.lookup import UnknownPurpose
from tests.registry.house import House, fine_tuned_from, trained_on
from tests.registry.loosening.loosened import (
    FOR_EVER,
    INTERNAL,
    MARKETING,
    OVERSEAS,
    asked,
    line,
    loosened,
    source,
    state,
    withdrawn,
)
from tests.told import facts_of, told

WAITS_FOR_MARKETING = Loosening.property == RestrictedProperty.PERMITTED_PURPOSES


async def refused(house: House, version_id: UUID, wanted: Wanted = INTERNAL, *, by: str = "anna") -> GuildhallError:
    """The error, after which nothing was written."""
    before = await house.count(Loosening)
    with pytest.raises(GuildhallError) as caught:
        await asked(house, version_id, wanted, by=by)
    assert await house.count(Loosening) == before
    assert await house.events("registry:restriction:loosen") == []
    return caught.value


class TestAskLoosening:
    async def test_writes_what_is_wanted_and_the_sources_as_they_are(self, house: House) -> None:
        dataset_id, data = await source(house, stewards=["mia", "vera"], legal={"retention_ends_on": date(2030, 1, 1)})
        _, open_data = await source(house, "open", classification=Classification.PUBLIC)
        version_id, _ = await line(house, data, open_data)
        loosening_id = await asked(house, version_id)
        assert await state(house, loosening_id) == "PENDING"
        row = await house.session.get(LooseningSource, (loosening_id, data))
        assert row is not None
        assert (row.dataset_id, row.classification, row.permitted_purposes, row.regions, row.retention_ends_on) == (
            dataset_id,
            "CONFIDENTIAL",
            ["quality", "research"],
            ["eu"],
            date(2030, 1, 1),
        )
        assert await house.session.get(LooseningSource, (loosening_id, open_data)) is None
        (event,) = await house.events("registry:restriction:loosen")
        assert event.justification == "Only sums are left."
        assert event.after == {"looseningId": str(loosening_id), "property": "CLASSIFICATION", "to": "INTERNAL"}

    async def test_tells_the_stewards_but_not_who_asks(self, house: House) -> None:
        _, data = await source(house, stewards=["mia", "vera", "anna"])
        await asked(house, (await line(house, data))[0])
        title = "Anna asks that maintenance/first@1 be classified INTERNAL"
        assert await told(house.session, house.people) == [(title, ["mia", "vera"])]
        assert await facts_of(house.session, EventKind.LOOSENING_ASKED) == {
            "requester": "Anna",
            "justification": "Only sums are left.",
            "resources": ["maintenance/first@1"],
            "to": "classified INTERNAL",
        }

    @pytest.mark.parametrize(
        ("wanted", "words"),
        [
            (MARKETING, "permitted for marketing as well"),
            (OVERSEAS, "allowed in us as well"),
            (FOR_EVER, "kept without an end"),
            (
                Wanted(property=RestrictedProperty.RETENTION, retention_ends_on=date(2031, 1, 1)),
                "kept until 2031-01-01",
            ),
        ],
    )
    async def test_each_property_can_be_asked_for(self, house: House, wanted: Wanted, words: str) -> None:
        _, data = await source(house, legal={"retention_ends_on": date(2030, 1, 1)})
        await asked(house, (await line(house, data))[0], wanted)
        assert (await facts_of(house.session, EventKind.LOOSENING_ASKED))["to"] == words

    @pytest.mark.parametrize(
        ("wanted", "error"),
        [
            (Wanted(property=RestrictedProperty.CLASSIFICATION, classification=Classification.CONFIDENTIAL), "stands"),
            (Wanted(property=RestrictedProperty.CLASSIFICATION, classification=Classification.RESTRICTED), "stricter"),
            (Wanted(property=RestrictedProperty.PERMITTED_PURPOSES, permitted_purposes=("quality",)), "stands"),
            (Wanted(property=RestrictedProperty.PERMITTED_PURPOSES), "at least one purpose"),
            (Wanted(property=RestrictedProperty.REGIONS, regions=("EU",)), "stands"),
            (Wanted(property=RestrictedProperty.REGIONS), "1 to 50 regions"),
            (Wanted(property=RestrictedProperty.RETENTION, retention_ends_on=date(2029, 1, 1)), "stands"),
        ],
    )
    async def test_what_is_no_loosening_is_refused(self, house: House, wanted: Wanted, error: str) -> None:
        _, data = await source(house, legal={"retention_ends_on": date(2030, 1, 1)})
        found = await refused(house, (await line(house, data))[0], wanted)
        assert isinstance(found, InvalidLoosening)
        assert error in found.message

    async def test_a_purpose_that_nobody_knows_is_refused(self, house: House) -> None:
        _, data = await source(house)
        wanted = Wanted(property=RestrictedProperty.PERMITTED_PURPOSES, permitted_purposes=("spying",))
        found = await refused(house, (await line(house, data))[0], wanted)
        assert isinstance(found, InvalidInput)
        assert [problem.code for problem in found.problems] == [UnknownPurpose.code]

    async def test_only_who_may_in_the_models_team_asks(self, house: House) -> None:
        _, data = await source(house)
        version_id, _ = await line(house, data)
        assert isinstance(await refused(house, version_id, by="carl"), PermissionRefused)
        assert isinstance(await refused(house, version_id, by="quinn"), PermissionRefused)

    async def test_what_is_out_of_sight_is_not_there(self, house: House) -> None:
        _, data = await source(house)
        model_id = await house.model("hidden", visibility=Visibility.TEAM)
        version_id = await house.version(model_id, sources=[trained_on(data)])
        assert isinstance(await refused(house, version_id, by="quinn"), NotFound)
        assert isinstance(await refused(house, new_id()), NotFound)

    async def test_a_program_does_not_ask(self, house: House) -> None:
        _, data = await source(house)
        version_id, _ = await line(house, data)
        job = house.job("maintenance", "anna")
        with pytest.raises((PersonRequired, PermissionRefused, NotFound)):
            await ask_loosening(
                house.session, job, model_version_id=version_id, wanted=INTERNAL, justification="x", at=house.at,
                new_id=new_id,
            )  # fmt: skip
        assert await house.count(Loosening) == 0

    async def test_an_unfinished_version_is_refused(self, house: House) -> None:
        _, data = await source(house)
        version_id = await house.version(await house.model(), ready=False, sources=[trained_on(data)])
        assert isinstance(await refused(house, version_id), VersionUnfinished)

    async def test_asked_twice_is_refused_but_another_property_is_not(self, house: House) -> None:
        _, data = await source(house)
        version_id, _ = await line(house, data)
        await asked(house, version_id)
        with pytest.raises(AlreadyAsked):
            await asked(house, version_id)
        await asked(house, version_id, MARKETING)
        assert await house.count(Loosening) == 2

    @pytest.mark.parametrize(
        ("classification", "stewards"),
        [
            (Classification.CONFIDENTIAL, ["anna"]),
            (Classification.RESTRICTED, ["anna", "mia"]),
        ],
    )
    async def test_without_stewards_who_could_decide_it_is_refused(
        self, house: House, classification: Classification, stewards: list[str]
    ) -> None:
        _, data = await source(house, classification=classification, stewards=stewards)
        found = await refused(house, (await line(house, data))[0])
        assert isinstance(found, NobodyCanDecide)
        assert "gauge-digits needs" in found.message

    async def test_data_that_is_not_there_for_who_asks_is_not_named(self, house: House) -> None:
        _, data = await source(house, "secret-merger-data", visibility=Visibility.TEAM, stewards=["quinn"])
        await house.session.execute(delete(DatasetSteward))
        first, _ = await line(house, data)
        version_id = await house.version(
            await house.model("third", by="quinn", team="quality"), by="quinn", sources=[fine_tuned_from(first)]
        )
        found = await refused(house, version_id, by="quinn")
        assert isinstance(found, NobodyCanDecide)
        assert "could decide: data that is not there for you needs 1. Ask" in found.message

    async def test_no_more_are_loosened_around_a_version_than_lineage_bears(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of each diamond one way is loosened, so that each doubles the ways."""
        monkeypatch.setattr(asking, "LOOSENED_AROUND_MAX", 2)
        _, data = await source(house)
        joint, beside = [await house.version(await house.model(name), sources=[trained_on(data)]) for name in "ab"]
        ways = []
        for name in ("first", "second", "third"):
            way = await house.version(await house.model(name), sources=[fine_tuned_from(joint)])
            both = [fine_tuned_from(joint), fine_tuned_from(way)]
            joint = await house.version(await house.model(f"joint-{name}"), sources=both)
            ways.append(way)
        upmost, between, downmost = ways
        first = await asked(house, upmost)
        await loosened(house, downmost)
        with pytest.raises(InvalidLoosening) as caught:
            await asked(house, between)
        assert caught.value.field == "modelVersionId"
        assert caught.value.message.startswith("At most 2 other versions up- and downstream")
        assert await house.count(Loosening) == 2
        await asked(house, beside)
        await asked(house, upmost, MARKETING)
        await withdrawn(house, first)
        with pytest.raises(InvalidLoosening):
            await asked(house, between)
        await withdrawn(house, (await house.session.scalars(select(Loosening.id).where(WAITS_FOR_MARKETING))).one())
        await asked(house, between)

    async def test_more_sources_than_are_decided_together_are_refused(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(asking, "SOURCES_MAX", 0)
        _, data = await source(house)
        found = await refused(house, (await line(house, data))[0])
        assert "at most 0 are decided together" in found.message

    async def test_the_database_keeps_two_waiting_of_one_property_apart(self, house: House) -> None:
        _, data = await source(house)
        version_id, _ = await line(house, data)
        await asked(house, version_id)
        row = {
            "id": new_id(), "model_version_id": version_id, "property": "CLASSIFICATION", "classification": "PUBLIC",
            "justification": "x", "requester_id": house.people["anna"], "state": "PENDING", "created_at": house.at,
        }  # fmt: skip
        with pytest.raises(Exception, match="uq_loosenings_pending"):
            await house.session.execute(insert(Loosening), [row])
