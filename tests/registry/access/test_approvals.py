"""More than one person: two stewards for restricted data, and the reviewers whom a model's risk asks for."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.auth.actor import system_actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.tables import User
from guildhall.clock import new_id
from registry.access.deciding import AlreadyDecided, Decided, DecisionKind, RequesterCannotDecide, decide_access
from registry.access.narrowing import InvalidNarrowing, Narrowing, SampleSpec
from registry.access.needs import NobodyCanDecide
from registry.access.reviewers import name_reviewers
from registry.access.tables import AccessApproval, AccessGrant, AccessRequest, ReviewSubject, RiskReviewer
from registry.access.visibility import requests_to_decide
from registry.datasets.stewards import StewardRequired
from registry.datasets.tables import Classification
from registry.models.tables import RiskTier
from tests.registry.estate import DAY, Estate, asked, dataset_ref, model_ref, registered, version_ref, versioned
from tests.registry.house import House, trained_on


async def decide(house: House, request_id: UUID, *, by: str, **given: Any) -> Decided:
    values: dict[str, Any] = {"decision": DecisionKind.APPROVE, "reason": None, "narrow": None, **given}
    return await decide_access(
        house.session, house.actor(by), access_request_id=request_id, at=house.at, new_id=new_id, **values
    )


async def restricted(house: House) -> tuple[UUID, UUID]:
    """A restricted data set of which Mia and Vera are stewards, and Quality's request for it."""
    dataset_id = await registered(house, classification=Classification.RESTRICTED, stewards=("mia", "vera"))
    await versioned(house, dataset_id)
    return dataset_id, await asked(house, [dataset_ref(dataset_id)])


async def waiting(house: House, who: str) -> list[UUID]:
    statement = select(AccessRequest.id).where(requests_to_decide(house.actor(who)), AccessRequest.basis == "REQUEST")
    return list(await house.session.scalars(statement))


class TestTwoStewards:
    async def test_the_second_approval_grants(self, house: House) -> None:
        _, request_id = await restricted(house)
        first = await decide(house, request_id, by="mia")
        assert (first.access_grant_id, (await house.session.get_one(AccessRequest, request_id)).state) == (
            None,
            "PENDING",
        )
        assert (await waiting(house, "mia"), await waiting(house, "vera")) == ([], [request_id])
        event = (await house.events("registry:access:decide"))[-1]
        assert event.after is not None
        assert (event.after["missing"], event.after["approvals"]) == (["1 more steward"], 1)
        second = await decide(house, request_id, by="vera")
        assert second.access_grant_id is not None
        grant = await house.session.get_one(AccessGrant, second.access_grant_id)
        assert grant.approved_by == house.people["vera"]
        approvals = (await house.session.scalars(select(AccessApproval.user_id))).all()
        assert set(approvals) == {house.people["mia"], house.people["vera"]}

    async def test_nobody_approves_twice(self, house: House) -> None:
        _, request_id = await restricted(house)
        await decide(house, request_id, by="mia")
        grants = await house.count(AccessGrant)
        with pytest.raises(AlreadyDecided, match="waits for somebody else"):
            await decide(house, request_id, by="mia")
        assert await house.count(AccessGrant) == grants

    async def test_one_refusal_is_enough(self, house: House) -> None:
        _, request_id = await restricted(house)
        await decide(house, request_id, by="mia")
        await decide(house, request_id, by="vera", decision=DecisionKind.REFUSE, reason="No.")
        assert (await house.session.get_one(AccessRequest, request_id)).state == "REFUSED"

    async def test_what_the_first_narrowed_stays_narrow(self, house: House) -> None:
        _, request_id = await restricted(house)
        limits = Narrowing(duration_seconds=DAY // 2, columns=["digit"], sample=SampleSpec(fraction=0.1))
        await decide(house, request_id, by="mia", narrow=limits)
        for wider in (
            Narrowing(duration_seconds=DAY),
            Narrowing(columns=["image"]),
            Narrowing(sample=SampleSpec(fraction=0.2)),
            Narrowing(sample=SampleSpec(first_rows=1)),
        ):
            with pytest.raises(InvalidNarrowing):
                await decide(house, request_id, by="vera", narrow=wider)
        decided = await decide(house, request_id, by="vera", narrow=Narrowing(sample=SampleSpec(fraction=0.05)))
        grant = await house.session.get_one(AccessGrant, decided.access_grant_id)
        assert (grant.columns, grant.sample_millionths, (grant.valid_to - grant.valid_from).total_seconds()) == (
            ["digit"],
            50_000,
            DAY / 2,
        )

    async def test_one_steward_is_too_few_to_ask(self, house: House) -> None:
        dataset_id = await registered(house, classification=Classification.RESTRICTED, stewards=("mia", "quinn"))
        with pytest.raises(NobodyCanDecide, match="Restricted data needs two people"):
            await asked(house, [dataset_ref(dataset_id)], by="quinn")

    @pytest.mark.parametrize(
        ("sample", "field"),
        [
            (SampleSpec(), "narrow.sample"),
            (SampleSpec(first_rows=1, fraction=0.5), "narrow.sample"),
            (SampleSpec(first_rows=0), "narrow.sample.firstRows"),
            (SampleSpec(fraction=0), "narrow.sample.fraction"),
            (SampleSpec(fraction=1.0), "narrow.sample.fraction"),
            (SampleSpec(fraction=float("nan")), "narrow.sample.fraction"),
            (SampleSpec(fraction=1e-9), "narrow.sample.fraction"),
        ],
    )
    async def test_samples_that_are_none(self, house: House, sample: SampleSpec, field: str) -> None:
        _, request_id = await restricted(house)
        with pytest.raises(InvalidNarrowing) as caught:
            await decide(house, request_id, by="mia", narrow=Narrowing(sample=sample))
        assert caught.value.field == field
        assert (await house.session.scalars(select(AccessApproval.user_id))).all() == []


class TestReviewers:
    async def risky(self, house: House) -> tuple[UUID, UUID]:
        """A model of high risk, whose ethics Vera reviews, and Quality's request for it."""
        await name(house, "vera")
        dataset_version = await versioned(house, await registered(house))
        model_id = await house.model(risk_tier=RiskTier.HIGH)
        version_id = await house.version(model_id, sources=[trained_on(dataset_version)])
        return version_id, await asked(house, [model_ref(version_id)])

    @pytest.mark.parametrize("order", [("mia", "vera"), ("vera", "mia")])
    async def test_both_have_to_approve(self, house: House, order: tuple[str, str]) -> None:
        _, request_id = await self.risky(house)
        assert await waiting(house, "vera") == [request_id]
        assert (await decide(house, request_id, by=order[0])).access_grant_id is None
        assert (await decide(house, request_id, by=order[1])).access_grant_id is not None
        capacities = dict((await house.session.execute(select(AccessApproval.user_id, AccessApproval.capacity))).all())
        assert capacities == {house.people["mia"]: "STEWARD", house.people["vera"]: "REVIEWER"}

    async def test_of_data_alone_nothing_is_reviewed(self, house: House) -> None:
        await name(house, "vera")
        version_id = await versioned(house, await registered(house))
        request_id = await asked(house, [version_ref(version_id)])
        with pytest.raises(StewardRequired):
            await decide(house, request_id, by="anna")
        assert (await decide(house, request_id, by="mia")).access_grant_id is not None

    async def test_a_reviewer_does_not_decide_for_themself(self, house: House) -> None:
        await name(house, "quinn")
        version_id = await versioned(house, await registered(house))
        model = await house.version(await house.model(risk_tier=RiskTier.HIGH), sources=[trained_on(version_id)])
        request_id = await asked(house, [model_ref(model)], by="quinn")
        with pytest.raises(RequesterCannotDecide):
            await decide(house, request_id, by="quinn")

    async def test_a_review_is_not_dropped_by_leaving(self, house: House) -> None:
        _, request_id = await self.risky(house)
        await house.change(User, house.people["vera"], deactivated_at=house.at)
        assert (await decide(house, request_id, by="mia")).access_grant_id is None

    async def test_names_take_the_place_of_those_before(self, house: House) -> None:
        assert await name(house, "vera", "carl") == 2
        assert await name(house, "carl") == 1
        assert (await house.session.scalars(select(RiskReviewer.user_id))).all() == [house.people["carl"]]
        assert await name(house) == 0
        assert await house.session.scalar(select(RiskReviewer.user_id)) is None
        last = (await house.events("registry:reviewer:name"))[-1]
        assert last.before == {"riskTier": "HIGH", "subject": "ETHICS", "people": [str(house.people["carl"])]}

    async def test_administrators_name_them(self, house: House) -> None:
        with pytest.raises(PermissionRefused):
            await name_reviewers(
                house.session,
                house.actor("mia"),
                risk_tier=RiskTier.HIGH,
                subject=ReviewSubject.ETHICS,
                people=[],
                at=house.at,
                new_id=new_id,
            )


async def name(house: House, *people: str) -> int:
    return await name_reviewers(
        house.session,
        system_actor("test"),
        risk_tier=RiskTier.HIGH,
        subject=ReviewSubject.ETHICS,
        people=[f"{person}@example.org" for person in people],
        at=house.at,
        new_id=new_id,
    )


class TestRace:
    async def test_two_stewards_at_once_make_one_grant(self, estate: Estate) -> None:
        """Each waits for the other's lock; the second finds the first one's approval and makes the grant."""
        async with estate.database.transaction() as session:
            estate.house.session = session
            _, request_id = await restricted(estate.house)

        async def approve(who: str) -> UUID | None:
            async with estate.database.transaction() as session:
                decided = await decide_access(
                    session,
                    estate.actor(who),
                    access_request_id=request_id,
                    decision=DecisionKind.APPROVE,
                    reason=None,
                    at=estate.clock.now(),
                    new_id=new_id,
                )
                return decided.access_grant_id

        grants = await asyncio.gather(approve("mia"), approve("vera"))
        assert sorted(grant is None for grant in grants) == [False, True]
        assert [grant.basis for grant in await estate.rows(AccessGrant)] == ["REQUEST"]
