"""Registering data sets: the legal record, the stewards, and the owning team's own access."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.auth.actor import Actor, system_actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.clock import new_id
from guildhall.errors import InvalidInput, NotFound, Problem
from guildhall.slugs import InvalidSlug
from registry.access.decision import decide_read
from registry.access.ownership import SecondPersonRequired, ownership_end
from registry.access.tables import AccessGrant, AccessGrantResource, AccessRequest, AccessRequestSource
from registry.datasets.legal import RetentionOver
from registry.datasets.lookup import find_dataset
from registry.datasets.registration import DatasetNameTaken, StewardsInvalid, register_dataset
from registry.datasets.tables import Classification, Dataset, DatasetSteward, Visibility
from registry.texts import InvalidText
from tests.registry.estate import LEGAL, RETENTION, dataset_ref, list_purposes, registered
from tests.registry.house import House


async def register(house: House, actor: Actor, **given: Any) -> UUID:
    values: dict[str, Any] = {
        "team": "maintenance",
        "name": "gauge-digits",
        "description": "Dials.",
        "classification": Classification.CONFIDENTIAL,
        "legal": LEGAL,
        "stewards": ["mia@example.org"],
        **given,
    }
    return await register_dataset(house.session, actor, at=house.at, new_id=new_id, **values)


@pytest.fixture(autouse=True)
async def purposes(house: House) -> None:
    await list_purposes(house.session, house.at)


class TestRegisterDataset:
    async def test_what_is_stored_and_recorded(self, house: House) -> None:
        legal = replace(
            LEGAL,
            licence=" CC-BY-4.0 ",
            permitted_purposes=["research", "quality", "research"],
            regions=["US", "eu"],
            retention_ends_on=RETENTION,
            consent=" asked each ",
        )
        dataset_id = await register(
            house, house.actor("carl"), legal=legal, stewards=["Mia@Example.org", "anna@example.org"]
        )
        row = await house.session.get_one(Dataset, dataset_id)
        stored = {name: getattr(row, name) for name in Dataset.__table__.c.keys()}  # noqa: SIM118 -- not a mapping
        assert stored == {
            "id": dataset_id,
            "team_id": house.teams["maintenance"],
            "name": "gauge-digits",
            "description": "Dials.",
            "visibility": "ORGANISATION",
            "classification": "CONFIDENTIAL",
            "licence": "CC-BY-4.0",
            "legal_basis": "contract",
            "consent": "asked each",
            "permitted_purposes": ["quality", "research"],
            "retention_ends_on": RETENTION,
            "regions": ["eu", "us"],
            "withdrawal_policy": "STOP",
            "created_by": house.people["carl"],
            "created_at": house.at,
        }
        stewards = await house.session.scalars(select(DatasetSteward.user_id))
        assert set(stewards) == {house.people["mia"], house.people["anna"]}
        registered_event, granted_event = await house.events("registry:dataset:register")
        assert registered_event.resource_ids == granted_event.resource_ids == [dataset_id]
        assert registered_event.after is not None
        assert registered_event.after["permitted_purposes"] == ["quality", "research"]
        assert granted_event.access_grant_id is not None

    @pytest.mark.parametrize(
        ("given", "error", "field"),
        [
            ({"team": "nobody"}, NotFound, "team"),
            ({"name": "Gauge Digits"}, InvalidSlug, "name"),
            ({"description": " "}, InvalidText, "description"),
            ({"stewards": []}, StewardsInvalid, "stewards"),
            ({"stewards": ["mia@example.org"] * 21}, StewardsInvalid, "stewards"),
            ({"stewards": ["mia@example.org", "nobody@example.org"]}, InvalidInput, "stewards[1]"),
            ({"legal": replace(LEGAL, retention_ends_on=date(2026, 3, 1))}, RetentionOver, "legal.retentionEndsOn"),
            ({"legal": replace(LEGAL, regions=["not a slug"])}, InvalidSlug, "legal.regions[0]"),
            (
                {"legal": replace(LEGAL, permitted_purposes=["quality", "spying"])},
                InvalidInput,
                "legal.permittedPurposes[1]",
            ),
            ({"legal": replace(LEGAL, licence="x" * 201)}, InvalidText, "legal.licence"),
            ({"legal": replace(LEGAL, regions=["eu"] * 51)}, InvalidInput, "legal.regions"),
        ],
    )
    async def test_what_cannot_be_registered(
        self, house: House, given: dict[str, Any], error: type[Exception], field: str
    ) -> None:
        with pytest.raises(error) as caught:
            await register(house, house.actor("anna"), **given)
        assert getattr(caught.value, "field", None) == field
        assert await house.count(Dataset) == 0
        assert await house.count(AccessGrant) == 0

    async def test_all_that_a_legal_record_lacks_is_told_at_once(self, house: House) -> None:
        empty = replace(LEGAL, licence=" ", legal_basis="", permitted_purposes=[], regions=[])
        with pytest.raises(InvalidInput) as caught:
            await register(house, house.actor("anna"), legal=empty)
        assert caught.value.problems == (
            Problem("REQUIRED", "A legal record names a licence.", "legal.licence"),
            Problem("REQUIRED", "A legal record names a legal basis.", "legal.legalBasis"),
            Problem("REQUIRED", "A legal record names at least one permitted purpose.", "legal.permittedPurposes"),
            Problem("REQUIRED", "A legal record names at least one region where the data may be.", "legal.regions"),
        )

    async def test_a_consent_is_said_or_left_out(self, house: House) -> None:
        with pytest.raises(InvalidInput) as caught:
            await register(house, house.actor("anna"), legal=replace(LEGAL, consent=" \t"))
        assert caught.value.problems == (
            Problem(
                "REQUIRED",
                "A consent says how the persons concerned agreed; leave it out where there is none.",
                "legal.consent",
            ),
        )
        assert await house.count(Dataset) == 0

    @pytest.mark.parametrize("letter", ["\u202a", "\u202e", "\u2066", "\u2069"])
    async def test_no_text_turns_the_direction_of_writing(self, house: House, letter: str) -> None:
        with pytest.raises(InvalidText, match=f"holds U\\+{ord(letter):04X}, which changes the direction") as caught:
            await register(house, house.actor("anna"), legal=replace(LEGAL, licence=f"CC{letter}0-YB"))
        assert caught.value.field == "legal.licence"
        assert await house.count(Dataset) == 0

    async def test_a_name_is_taken_once_per_team(self, house: House) -> None:
        await register(house, house.actor("anna"))
        with pytest.raises(DatasetNameTaken) as caught:
            await register(house, house.actor("anna"))
        assert caught.value.message == "The team maintenance has a data set named gauge-digits already."
        await register(house, house.actor("quinn"), team="quality")
        assert await house.count(Dataset) == 2

    @pytest.mark.parametrize("name", ["vera", "quinn", "mia"])
    async def test_who_may_not(self, house: House, name: str) -> None:
        with pytest.raises(PermissionRefused) as caught:
            await register(house, house.actor(name))
        assert caught.value.permission.name == "registry:dataset:register"
        assert await house.count(Dataset) == 0


class TestOwningTeam:
    @pytest.mark.parametrize("classification", [Classification.PUBLIC, Classification.INTERNAL])
    async def test_needs_no_grant_for_what_goes_by_role(self, house: House, classification: Classification) -> None:
        await registered(house, classification=classification)
        assert await house.count(AccessGrant) == await house.count(AccessRequest) == 0

    async def test_gets_a_grant_for_confidential_data(self, house: House) -> None:
        dataset_id = await registered(house, classification=Classification.CONFIDENTIAL)
        (grant,) = (await house.session.scalars(select(AccessGrant))).all()
        assert (grant.basis, grant.beneficiary_team_id, grant.purpose, grant.approved_by) == (
            "OWNERSHIP",
            house.teams["maintenance"],
            None,
            None,
        )
        assert (grant.valid_from, grant.valid_to) == (house.at, house.at + timedelta(days=365))
        resource = (await house.session.scalars(select(AccessGrantResource))).one()
        assert (resource.resource_kind, resource.resource_id) == ("DATASET", dataset_id)

    async def test_reads_restricted_data_only_after_a_second_person(self, house: House) -> None:
        dataset_id = await registered(house, classification=Classification.RESTRICTED, stewards=("anna", "mia"))
        assert await house.count(AccessGrant) == 0
        (request,) = (await house.session.scalars(select(AccessRequest))).all()
        assert (request.basis, request.state, request.requester_id, request.purpose) == (
            "OWNERSHIP",
            "PENDING",
            house.people["anna"],
            None,
        )
        source = (await house.session.scalars(select(AccessRequestSource))).one()
        assert source.dataset_id == dataset_id
        decision = await decide_read(
            house.session,
            actor_user_id=house.people["anna"],
            team_ids=[house.teams["maintenance"]],
            resource=dataset_ref(dataset_id),
            purpose=None,
            at=house.at,
        )
        assert decision.reason is not None
        assert decision.reason.code == "ACCESS_GRANT_REQUIRED"

    async def test_restricted_data_without_a_second_steward_is_refused(self, house: House) -> None:
        with pytest.raises(SecondPersonRequired) as caught:
            await registered(house, classification=Classification.RESTRICTED, stewards=("anna",))
        assert caught.value.field == "stewards"

    async def test_a_program_cannot_register_restricted_data(self, house: House) -> None:
        with pytest.raises(SecondPersonRequired):
            await register(house, system_actor("importer"), classification=Classification.RESTRICTED)

    @pytest.mark.parametrize(
        ("retention", "want"),
        [
            (None, datetime(2027, 3, 2, 8, tzinfo=UTC)),
            (date(2026, 3, 10), datetime(2026, 3, 11, tzinfo=UTC)),
            (date(2027, 3, 1), datetime(2027, 3, 2, tzinfo=UTC)),
            (date(2027, 3, 2), datetime(2027, 3, 2, 8, tzinfo=UTC)),
            (date(2040, 1, 1), datetime(2027, 3, 2, 8, tzinfo=UTC)),
        ],
    )
    def test_its_grant_ends_with_the_year_or_the_retention(self, retention: date | None, want: datetime) -> None:
        assert ownership_end(datetime(2026, 3, 2, 8, tzinfo=UTC), retention) == want


class TestVisibility:
    async def test_a_steward_sees_what_only_the_team_sees(self, house: House) -> None:
        dataset_id = await registered(house, visibility=Visibility.TEAM)
        for name in ("anna", "vera", "mia"):
            assert (await find_dataset(house.session, house.actor(name), dataset_id, field="id")).id == dataset_id
        for name in ("quinn", "omar"):
            with pytest.raises(NotFound):
                await find_dataset(house.session, house.actor(name), dataset_id, field="id")
