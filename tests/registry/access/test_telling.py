"""Who is told that access was asked for, decided and withdrawn: those concerned, and nobody else."""

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import insert, select

from guildhall.auth.subjects import ActorKind
from guildhall.clock import new_id
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.tables import InboxEvent
from registry.access.deciding import DecisionKind, decide_access
from registry.access.needs import NobodyCanDecide
from registry.access.tables import AccessRequest, ReviewSubject, RiskReviewer
from registry.access.withdrawal import withdraw_access
from registry.datasets.tables import Classification
from registry.models.tables import RiskTier
from tests.people import bind
from tests.registry.estate import (
    DAY,
    approved,
    asked,
    dataset_ref,
    granted,
    model_ref,
    registered,
    version_ref,
    versioned,
)
from tests.registry.house import House, trained_on
from tests.told import facts_of, told


async def decide(house: House, request_id: UUID, decision: DecisionKind, *, by: str = "mia") -> None:
    await decide_access(
        house.session, house.actor(by), access_request_id=request_id, decision=decision, reason="Because.",
        at=house.at, new_id=new_id,
    )  # fmt: skip


async def events(house: House) -> list[tuple[str, str, UUID | None]]:
    statement = select(InboxEvent.kind, InboxEvent.subject_type, InboxEvent.team_id).order_by(InboxEvent.id)
    return [(kind, subject, team) for kind, subject, team in await house.session.execute(statement)]


class TestAsked:
    async def test_tells_every_steward_of_all_of_it_but_not_who_asks_or_whom_it_is_for(self, house: House) -> None:
        dataset_id = await registered(house, stewards=["mia", "vera", "quinn", "paul"])
        other_id = await registered(house, "gauge-faces", stewards=["mia", "quinn", "paul"])
        resources = [dataset_ref(dataset_id), dataset_ref(other_id)]
        await asked(house, resources, by="quinn", email="paul@example.org")
        title = "Quinn asks for access to maintenance/gauge-digits, maintenance/gauge-faces"
        assert await told(house.session, house.people) == [(title, ["mia"])]
        assert await events(house) == [("ACCESS_ASKED", "AccessRequest", house.teams["maintenance"])]
        assert await facts_of(house.session, EventKind.ACCESS_ASKED) == {
            "requester": "Quinn",
            "for": "Paul",
            "purpose": "quality",
            "justification": "We compare gauges.",
            "durationSeconds": DAY,
            "resources": ["maintenance/gauge-digits", "maintenance/gauge-faces"],
        }

    async def test_tells_reviewers_whom_the_risk_of_a_model_asks_for(self, house: House) -> None:
        dataset_id = await registered(house)
        version_id = await versioned(house, dataset_id)
        model_id = await house.model(risk_tier=RiskTier.HIGH)
        model_version_id = await house.version(model_id, sources=[trained_on(version_id)])
        reviewer = {"risk_tier": RiskTier.HIGH, "subject": ReviewSubject.ETHICS, "user_id": house.people["carl"]}
        await house.session.execute(insert(RiskReviewer), [{**reviewer, "added_by": new_id(), "added_at": house.at}])
        await asked(house, [model_ref(model_version_id), version_ref(version_id)])
        title = "Quinn asks for access to maintenance/gauge-digits@1, maintenance/gauge-reader@1"
        assert await told(house.session, house.people) == [(title, ["carl", "mia"])]

    async def test_the_owning_team_s_own_request_for_restricted_data_is_told_to_its_stewards(
        self, house: House
    ) -> None:
        await registered(house, classification=Classification.RESTRICTED, stewards=["mia", "anna"])
        title = "Anna asks for access to maintenance/gauge-digits"
        assert await told(house.session, house.people) == [(title, ["mia"])]
        assert (await facts_of(house.session, EventKind.ACCESS_ASKED))["purpose"] is None

    async def test_what_is_refused_tells_nobody(self, house: House) -> None:
        dataset_id = await registered(house, stewards=["quinn"])
        with pytest.raises(NobodyCanDecide):
            await asked(house, [dataset_ref(dataset_id)])
        assert await told(house.session, house.people) == []


class TestDecided:
    async def test_tells_who_asked_and_the_person_whom_it_is_for(self, house: House) -> None:
        dataset_id = await registered(house)
        request_id = await asked(house, [dataset_ref(dataset_id)], by="quinn", email="paul@example.org")
        await decide(house, request_id, DecisionKind.APPROVE)
        assert (await told(house.session, house.people))[1:] == [
            ("Access to maintenance/gauge-digits is granted", ["paul", "quinn"])
        ]
        assert await facts_of(house.session, EventKind.ACCESS_DECIDED) == {
            "state": "APPROVED",
            "by": "Mia",
            "reason": "Because.",
            "purpose": "quality",
            "validTo": (house.at + timedelta(seconds=DAY)).isoformat(),
            "resources": ["maintenance/gauge-digits"],
        }

    async def test_a_refusal_is_told_too(self, house: House) -> None:
        dataset_id = await registered(house)
        await decide(house, await asked(house, [dataset_ref(dataset_id)]), DecisionKind.REFUSE)
        assert (await told(house.session, house.people))[1:] == [
            ("Access to maintenance/gauge-digits was refused", ["quinn"])
        ]
        assert (await events(house))[1] == ("ACCESS_DECIDED", "AccessRequest", house.teams["quality"])

    async def test_the_first_of_two_approvals_is_no_decision_yet(self, house: House) -> None:
        dataset_id = await registered(house, classification=Classification.RESTRICTED, stewards=["mia", "vera"])
        request_id = await asked(house, [dataset_ref(dataset_id)])
        before = await told(house.session, house.people)
        await decide(house, request_id, DecisionKind.APPROVE)
        assert (await house.session.get_one(AccessRequest, request_id)).state == "PENDING"
        assert await told(house.session, house.people) == before
        await approved(house, request_id, by="vera")
        assert (await told(house.session, house.people))[len(before) :] == [
            ("Access to maintenance/gauge-digits is granted", ["quinn"])
        ]


class TestWithdrawn:
    async def test_tells_the_members_who_read_under_it_and_who_asked_but_not_who_ended_it(self, house: House) -> None:
        for name, role in (("paul", "contributor"), ("vera", "viewer")):
            await bind(house.session, ActorKind.USER, house.people[name], {role: [house.teams["quality"]]})
        await bind(house.session, ActorKind.USER, house.people["carl"], {"contributor": [None]})
        dataset_id = await registered(house)
        grant_id = await granted(house, [dataset_ref(dataset_id)])
        before = await told(house.session, house.people)
        await withdraw_access(
            house.session, house.actor("mia"), access_grant_id=grant_id, reason="Over.", at=house.at, new_id=new_id
        )
        assert (await told(house.session, house.people))[len(before) :] == [
            ("Access to maintenance/gauge-digits was withdrawn", ["paul", "quinn"])
        ]
        assert (await events(house))[-1] == ("ACCESS_WITHDRAWN", "AccessGrant", house.teams["quality"])
        assert await facts_of(house.session, EventKind.ACCESS_WITHDRAWN) == {
            "by": "Mia",
            "reason": "Over.",
            "purpose": "quality",
            "resources": ["maintenance/gauge-digits"],
        }

    async def test_who_gives_up_their_own_is_not_told(self, house: House) -> None:
        dataset_id = await registered(house)
        grant_id = await granted(house, [dataset_ref(dataset_id)], email="quinn@example.org")
        await withdraw_access(
            house.session, house.actor("quinn"), access_grant_id=grant_id, reason="Done.", at=house.at, new_id=new_id
        )
        assert (await told(house.session, house.people))[-1] == (
            "Access to maintenance/gauge-digits was withdrawn",
            [],
        )
