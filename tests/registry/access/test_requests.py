"""Asking for access: who may ask for what, and the clear answer where asking is in vain."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.auth.actor import system_actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.resources import ResourceRef
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, InvalidInput, NotFound
from registry.access.needs import AlreadyGranted, AlreadyRequested, NobodyCanDecide
from registry.access.requests import Beneficiary, InvalidDuration, PersonRequired, TooManyResources, request_access
from registry.access.tables import AccessRequest, AccessRequestResource, AccessRequestSource
from registry.access.visibility import requests_to_decide, visible_access_requests
from registry.datasets.tables import Classification, Visibility
from registry.purposes.lookup import UnknownPurpose
from registry.texts import InvalidText
from tests.registry.estate import DAY, asked, dataset_ref, granted, model_ref, registered, version_ref, versioned
from tests.registry.house import House, fine_tuned_from, trained_on


class TestRequestAccess:
    async def test_what_is_stored_and_recorded(self, house: House) -> None:
        dataset_id = await registered(house)
        version_id = await versioned(house, dataset_id)
        request_id = await asked(house, [version_ref(version_id), version_ref(version_id)])
        row = await house.session.get_one(AccessRequest, request_id)
        assert (row.basis, row.state, row.requester_id, row.beneficiary_team_id, row.beneficiary_user_id) == (
            "REQUEST",
            "PENDING",
            house.people["quinn"],
            house.teams["quality"],
            None,
        )
        assert (row.purpose, row.justification, row.duration_seconds) == ("quality", "We compare gauges.", DAY)
        resource = (await house.session.scalars(select(AccessRequestResource))).one()
        assert (resource.resource_kind, resource.resource_id) == ("DATASET_VERSION", version_id)
        assert (await house.session.scalars(select(AccessRequestSource.dataset_id))).all() == [dataset_id]
        (event,) = await house.events("registry:access:request")
        assert event.resource_ids == [version_id, dataset_id]
        assert (event.purpose, event.justification, event.team_id) == (
            "quality",
            "We compare gauges.",
            house.teams["quality"],
        )

    async def test_for_a_person(self, house: House) -> None:
        dataset_id = await registered(house)
        request_id = await asked(house, [dataset_ref(dataset_id)], email="Paul@example.org")
        row = await house.session.get_one(AccessRequest, request_id)
        assert (row.beneficiary_team_id, row.beneficiary_user_id) == (None, house.people["paul"])

    async def test_a_model_leads_to_the_data_that_it_was_made_from(self, house: House) -> None:
        first, second = await registered(house, "first"), await registered(house, "second")
        open_one = await registered(house, "open", classification=Classification.INTERNAL)
        model_id = await house.model()
        base = await house.version(
            model_id,
            sources=[trained_on(await versioned(house, first)), trained_on(await versioned(house, open_one))],
        )
        tuned = await house.version(
            model_id, sources=[fine_tuned_from(base), trained_on(await versioned(house, second))]
        )
        await asked(house, [model_ref(tuned)])
        sources = await house.session.scalars(select(AccessRequestSource.dataset_id))
        assert set(sources) == {first, second}

    @pytest.mark.parametrize(
        ("given", "error", "field"),
        [
            ({"purpose": "spying"}, UnknownPurpose, "purpose"),
            ({"justification": "  "}, InvalidText, "justification"),
            ({"duration_seconds": 59}, InvalidDuration, "durationSeconds"),
            ({"duration_seconds": 366 * DAY + 1}, InvalidDuration, "durationSeconds"),
            ({"resources": []}, InvalidInput, "resourceIds"),
            ({"resources": [ResourceRef("Model", UUID(int=1))]}, InvalidInput, "resourceIds[0]"),
            ({"resources": [dataset_ref(UUID(int=1))]}, InvalidInput, "resourceIds[0]"),
            ({"beneficiary": Beneficiary(team="nobody")}, NotFound, "beneficiary.team"),
            ({"beneficiary": Beneficiary(email="nobody@example.org")}, InvalidInput, "beneficiary.email[0]"),
        ],
    )
    async def test_what_cannot_be_asked(
        self, house: House, given: dict[str, Any], error: type[GuildhallError], field: str
    ) -> None:
        dataset_id = await registered(house)
        values: dict[str, Any] = {
            "resources": [dataset_ref(dataset_id)],
            "beneficiary": Beneficiary(team="quality"),
            "purpose": "quality",
            "justification": "Because.",
            "duration_seconds": DAY,
            **given,
        }
        with pytest.raises(error) as caught:
            await request_access(house.session, house.actor("quinn"), at=house.at, new_id=new_id, **values)
        assert caught.value.field == field
        assert await house.count(AccessRequest) == 0

    async def test_more_than_one_decision_should_cover(self, house: House) -> None:
        with pytest.raises(TooManyResources):
            await asked(house, [dataset_ref(UUID(int=number)) for number in range(51)])

    async def test_what_the_caller_cannot_see_is_not_there(self, house: House) -> None:
        dataset_id = await registered(house, visibility=Visibility.TEAM)
        with pytest.raises(InvalidInput) as caught:
            await asked(house, [dataset_ref(dataset_id)])
        assert [problem.code for problem in caught.value.problems] == ["NOT_FOUND"]

    @pytest.mark.parametrize("classification", [Classification.PUBLIC, Classification.INTERNAL])
    async def test_what_goes_by_role_need_not_be_asked(self, house: House, classification: Classification) -> None:
        dataset_id = await registered(house, classification=classification)
        with pytest.raises(InvalidInput) as caught:
            await asked(house, [dataset_ref(dataset_id)])
        (problem,) = caught.value.problems
        assert (problem.code, problem.field) == ("ACCESS_NOT_NEEDED", "resourceIds[0]")
        assert problem.message == f"It is {classification} and goes by role: no access grant is needed to read it."

    async def test_a_purpose_that_the_data_does_not_permit(self, house: House) -> None:
        dataset_id = await registered(house)
        with pytest.raises(InvalidInput) as caught:
            await asked(house, [dataset_ref(dataset_id)], purpose="marketing")
        (problem,) = caught.value.problems
        assert (problem.code, problem.field, problem.message) == (
            "PURPOSE_NOT_PERMITTED",
            "purpose",
            "It may not be used for marketing. It permits quality, research.",
        )

    async def test_what_is_granted_already(self, house: House) -> None:
        dataset_id = await registered(house)
        version_id = await versioned(house, dataset_id)
        await granted(house, [dataset_ref(dataset_id)])
        with pytest.raises(AlreadyGranted) as caught:
            await asked(house, [version_ref(version_id)])
        assert caught.value.message == (
            "This is granted already, until 2026-03-03 08:00 UTC. Ask for longer to renew it."
        )
        await asked(house, [version_ref(version_id)], seconds=DAY + 1)  # a renewal is a new decision
        await asked(house, [version_ref(version_id)], purpose="research")

    async def test_what_ones_team_has_already(self, house: House) -> None:
        dataset_id = await registered(house)
        await granted(house, [dataset_ref(dataset_id)])
        with pytest.raises(AlreadyGranted):
            await asked(house, [dataset_ref(dataset_id)], by="paul", email="paul@example.org")

    async def test_what_the_owning_team_has_anyway(self, house: House) -> None:
        dataset_id = await registered(house)
        with pytest.raises(AlreadyGranted):
            await asked(house, [dataset_ref(dataset_id)], by="carl", team="maintenance")

    async def test_what_waits_already(self, house: House) -> None:
        dataset_id = await registered(house)
        await asked(house, [dataset_ref(dataset_id)])
        with pytest.raises(AlreadyRequested):
            await asked(house, [dataset_ref(dataset_id)], by="paul")
        await asked(house, [dataset_ref(dataset_id)], purpose="research")
        assert await house.count(AccessRequest) == 2

    async def test_a_steward_cannot_be_the_only_one_to_decide(self, house: House) -> None:
        dataset_id = await registered(house)
        with pytest.raises(NobodyCanDecide):
            await asked(house, [dataset_ref(dataset_id)], by="mia", team="quality")

    async def test_nobody_is_steward_of_everything(self, house: House) -> None:
        first = await registered(house, "first", stewards=("mia",))
        second = await registered(house, "second", stewards=("anna",))
        with pytest.raises(NobodyCanDecide):
            await asked(house, [dataset_ref(first), dataset_ref(second)])
        assert await house.count(AccessRequest) == 0

    async def test_a_program_cannot_ask(self, house: House) -> None:
        dataset_id = await registered(house)
        with pytest.raises(PersonRequired):
            await request_access(
                house.session,
                system_actor("program"),
                resources=[dataset_ref(dataset_id)],
                beneficiary=Beneficiary(team="quality"),
                purpose="quality",
                justification="Because.",
                duration_seconds=DAY,
                at=house.at,
                new_id=new_id,
            )

    async def test_a_job_cannot_ask(self, house: House) -> None:
        with pytest.raises(PermissionRefused):
            await request_access(
                house.session,
                house.job("quality", "quinn"),
                resources=[],
                beneficiary=Beneficiary(team="quality"),
                purpose="quality",
                justification="Because.",
                duration_seconds=DAY,
                at=house.at,
                new_id=new_id,
            )


class TestVisibility:
    async def who_sees(self, house: House, rule: Any) -> set[str]:
        return {
            name
            for name in (*house.people, "omar")
            if (await house.session.scalars(select(AccessRequest.id).where(rule(house.actor(name))))).all()
        }

    async def test_a_request_of_a_team(self, house: House) -> None:
        dataset_id = await registered(house)
        await asked(house, [dataset_ref(dataset_id)])
        # The asking team, the owning team's people who may see access, and the steward.
        assert await self.who_sees(house, visible_access_requests) == {"quinn", "paul", "anna", "carl", "mia"}
        assert await self.who_sees(house, requests_to_decide) == {"mia"}

    async def test_a_request_for_a_person(self, house: House) -> None:
        dataset_id = await registered(house, stewards=("mia", "anna"))
        await asked(house, [dataset_ref(dataset_id)], email="vera@example.org")
        assert await self.who_sees(house, visible_access_requests) == {"quinn", "vera", "anna", "carl", "mia"}
        assert await self.who_sees(house, requests_to_decide) == {"mia", "anna"}

    async def test_only_stewards_of_everything_decide(self, house: House) -> None:
        first = await registered(house, "first", stewards=("mia", "anna", "quinn"))
        second = await registered(house, "second", stewards=("mia", "carl", "quinn"))
        await asked(house, [dataset_ref(first), dataset_ref(second)])
        assert await self.who_sees(house, requests_to_decide) == {"mia"}

    async def test_what_is_for_oneself_is_for_another_steward(self, house: House) -> None:
        dataset_id = await registered(house, stewards=("mia", "vera"))
        await asked(house, [dataset_ref(dataset_id)], email="vera@example.org")
        assert await self.who_sees(house, requests_to_decide) == {"mia"}

    async def test_what_is_decided_waits_for_nobody(self, house: House) -> None:
        dataset_id = await registered(house)
        await granted(house, [dataset_ref(dataset_id)])
        assert await self.who_sees(house, requests_to_decide) == set()
