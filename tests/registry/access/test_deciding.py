"""Deciding: by a steward of everything, never by who asked or profits, once; and never more than was asked for."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from guildhall.auth.actor import TokenUse
from guildhall.auth.authorize import Refused
from guildhall.clock import new_id
from guildhall.errors import GuildhallError, NotFound
from registry.access.deciding import (
    AlreadyDecided,
    Decided,
    DecisionKind,
    RequesterCannotDecide,
    decide_access,
)
from registry.access.decision import AccessDecision, decide_read
from registry.access.narrowing import InvalidNarrowing, Narrowing, NothingLeft
from registry.access.requests import InvalidDuration
from registry.access.tables import AccessGrant, AccessGrantResource, AccessRequest
from registry.datasets.changing import update_legal_record
from registry.datasets.stewards import StewardRequired
from registry.datasets.tables import Classification, Dataset, DatasetSteward
from registry.minimisation.filters import data_filter
from registry.texts import InvalidText
from tests.registry.estate import (
    DAY,
    LEGAL,
    RETENTION,
    Estate,
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


async def decide(house: House, request_id: UUID, *, by: str = "mia", **given: Any) -> Decided:
    values: dict[str, Any] = {"decision": DecisionKind.APPROVE, "reason": None, "narrow": None, **given}
    return await decide_access(
        house.session, house.actor(by), access_request_id=request_id, at=house.at, new_id=new_id, **values
    )


async def may_quality_read(house: House, version_id: UUID, **given: Any) -> AccessDecision:
    values: dict[str, Any] = {"purpose": "quality", "at": house.at, "resource": version_ref(version_id), **given}
    return await decide_read(
        house.session, actor_user_id=house.people["paul"], team_ids=[house.teams["quality"]], **values
    )


class TestApprove:
    async def test_the_grant_its_record_and_its_effect(self, house: House) -> None:
        dataset_id = await registered(house)
        version_id = await versioned(house, dataset_id)
        request_id = await asked(house, [version_ref(version_id)])
        assert not (await may_quality_read(house, version_id)).allowed
        decided = await decide(house, request_id, reason="Fine.")
        assert decided.access_grant_id is not None
        grant = await house.session.get_one(AccessGrant, decided.access_grant_id)
        assert (grant.basis, grant.request_id, grant.beneficiary_team_id, grant.purpose, grant.approved_by) == (
            "REQUEST",
            request_id,
            house.teams["quality"],
            "quality",
            house.people["mia"],
        )
        assert (grant.valid_from, grant.valid_to, grant.columns) == (house.at, house.later(days=1), None)
        request = await house.session.get_one(AccessRequest, request_id)
        assert (request.state, request.decided_at, request.decided_by, request.decision_reason) == (
            "APPROVED",
            house.at,
            house.people["mia"],
            "Fine.",
        )
        (event,) = await house.events("registry:access:decide")
        assert (event.access_grant_id, event.purpose, event.justification) == (
            grant.id,
            "quality",
            "We compare gauges.",
        )
        assert set(event.resource_ids) == {version_id, dataset_id}
        allowed = await may_quality_read(house, version_id)
        assert (allowed.allowed, allowed.grant_id, allowed.team_id) == (True, grant.id, house.teams["quality"])

    async def test_it_ends_by_itself(self, house: House) -> None:
        version_id = await versioned(house, await registered(house))
        await granted(house, [version_ref(version_id)])
        assert (await may_quality_read(house, version_id, at=house.later(days=1, microseconds=-1))).allowed
        ended = await may_quality_read(house, version_id, at=house.later(days=1))
        assert ended.reason is not None
        assert ended.reason.code == "ACCESS_GRANT_ENDED"

    async def test_it_never_outlasts_the_retention(self, house: House) -> None:
        dataset_id = await registered(house, legal={"retention_ends_on": RETENTION})
        grant_id = await granted(house, [dataset_ref(dataset_id)], seconds=90 * DAY)
        grant = await house.session.get_one(AccessGrant, grant_id)
        assert grant.valid_to == datetime(2026, 3, 11, tzinfo=UTC)

    async def test_the_second_person_opens_restricted_data_to_its_owners(self, house: House) -> None:
        dataset_id = await registered(house, classification=Classification.RESTRICTED, stewards=("anna", "mia"))
        (request_id,) = (await house.session.scalars(select(AccessRequest.id))).all()
        with pytest.raises(RequesterCannotDecide):
            await decide(house, request_id, by="anna")
        await decide(house, request_id, by="mia")
        decision = await decide_read(
            house.session,
            actor_user_id=house.people["carl"],
            team_ids=[house.teams["maintenance"]],
            resource=dataset_ref(dataset_id),
            purpose="research",
            at=house.at,
        )
        assert (decision.allowed, decision.purpose) == (True, "research")

    async def test_a_model_by_itself(self, house: House) -> None:
        dataset_id = await registered(house)
        version_id = await house.version(await house.model(), sources=[trained_on(await versioned(house, dataset_id))])
        await granted(house, [model_ref(version_id)])
        assert (await may_quality_read(house, version_id, resource=model_ref(version_id))).allowed
        assert not (await may_quality_read(house, version_id, resource=dataset_ref(dataset_id))).allowed

    async def test_a_model_by_its_data(self, house: House) -> None:
        dataset_id = await registered(house)
        version_id = await house.version(await house.model(), sources=[trained_on(await versioned(house, dataset_id))])
        await granted(house, [dataset_ref(dataset_id)])
        assert (await may_quality_read(house, version_id, resource=model_ref(version_id))).allowed


class TestRefuse:
    async def test_a_refusal_grants_nothing(self, house: House) -> None:
        version_id = await versioned(house, await registered(house))
        request_id = await asked(house, [version_ref(version_id)])
        grants = await house.count(AccessGrant)
        decided = await decide(house, request_id, decision=DecisionKind.REFUSE, reason="Use the open data.")
        assert decided == Decided(request_id, None)
        request = await house.session.get_one(AccessRequest, request_id)
        assert (request.state, request.decision_reason) == ("REFUSED", "Use the open data.")
        assert await house.count(AccessGrant) == grants
        assert not (await may_quality_read(house, version_id)).allowed

    async def test_a_refusal_gives_its_reason(self, house: House) -> None:
        request_id = await asked(house, [dataset_ref(await registered(house))])
        with pytest.raises(InvalidText) as caught:
            await decide(house, request_id, decision=DecisionKind.REFUSE, reason=" ")
        assert caught.value.field == "reason"
        assert (await house.session.get_one(AccessRequest, request_id)).state == "PENDING"


class TestNarrow:
    async def test_less_time(self, house: House) -> None:
        grant_id = await approved(
            house, await asked(house, [dataset_ref(await registered(house))]), narrow=Narrowing(duration_seconds=3600)
        )
        assert (await house.session.get_one(AccessGrant, grant_id)).valid_to == house.later(hours=1)

    async def test_one_version_of_a_data_set(self, house: House) -> None:
        dataset_id = await registered(house)
        first, second = await versioned(house, dataset_id), await versioned(house, dataset_id)
        request_id = await asked(house, [dataset_ref(dataset_id)])
        await approved(house, request_id, narrow=Narrowing(resources=[version_ref(second)]))
        assert not (await may_quality_read(house, first)).allowed
        assert (await may_quality_read(house, second)).allowed

    async def test_one_of_two_data_sets(self, house: House) -> None:
        first, second = await registered(house, "first"), await registered(house, "second")
        request_id = await asked(house, [dataset_ref(first), dataset_ref(second)])
        grant_id = await approved(house, request_id, narrow=Narrowing(resources=[dataset_ref(second)]))
        statement = select(AccessGrantResource.resource_id).where(AccessGrantResource.grant_id == grant_id)
        assert (await house.session.scalars(statement)).all() == [second]

    async def test_columns_open_the_files_with_a_filter(self, house: House) -> None:
        version_id = await versioned(house, await registered(house), columns=("image", "digit", "who"))
        request_id = await asked(house, [version_ref(version_id)])
        grant_id = await approved(house, request_id, narrow=Narrowing(columns=["image", "digit", "image"]))
        assert (await house.session.get_one(AccessGrant, grant_id)).columns == ["digit", "image"]
        decision = await may_quality_read(house, version_id)
        assert (decision.grant_id, decision.limits) == (grant_id, data_filter(["digit", "image"], None, None))

    @pytest.mark.parametrize(
        ("narrow", "error", "field"),
        [
            (Narrowing(duration_seconds=DAY + 1), InvalidNarrowing, "narrow.durationSeconds"),
            (Narrowing(duration_seconds=1), InvalidDuration, "narrow.durationSeconds"),
            (Narrowing(resources=[]), NothingLeft, "narrow.resourceIds"),
            (Narrowing(resources=[dataset_ref(UUID(int=1))]), InvalidNarrowing, "narrow.resourceIds[0]"),
            (Narrowing(resources=[version_ref(UUID(int=1))]), InvalidNarrowing, "narrow.resourceIds[0]"),
            (Narrowing(columns=[]), NothingLeft, "narrow.columns"),
            (Narrowing(columns=["image", "salary"]), InvalidNarrowing, "narrow.columns[1]"),
        ],
    )
    async def test_nothing_wider_and_not_nothing(
        self, house: House, narrow: Narrowing, error: type[GuildhallError], field: str
    ) -> None:
        dataset_id = await registered(house)
        await versioned(house, dataset_id)
        request_id = await asked(house, [dataset_ref(dataset_id)])
        grants = await house.count(AccessGrant)
        with pytest.raises(error) as caught:
            await decide(house, request_id, narrow=narrow)
        assert caught.value.field == field
        assert await house.count(AccessGrant) == grants

    async def test_a_model_has_no_columns(self, house: House) -> None:
        version_id = await house.version(
            await house.model(), sources=[trained_on(await versioned(house, await registered(house)))]
        )
        request_id = await asked(house, [model_ref(version_id)])
        with pytest.raises(InvalidNarrowing):
            await decide(house, request_id, narrow=Narrowing(columns=["image"]))


class TestWhoDecides:
    async def test_a_token_limited_to_other_roles_decides_nothing(self, house: House) -> None:
        request_id = await asked(house, [dataset_ref(await registered(house))])
        refusals: list[tuple[str, type[GuildhallError] | None]] = [
            ("viewer", NotFound), ("contributor", StewardRequired), ("steward", None),
        ]  # fmt: skip
        for role, refusal in refusals:
            token = TokenUse(new_id(), None, roles=(role,))
            decided = decide_access(
                house.session, replace(house.actor("mia"), token=token), access_request_id=request_id,
                decision=DecisionKind.APPROVE, reason=None, at=house.at, new_id=new_id,
            )  # fmt: skip
            if refusal is None:
                assert (await decided).access_grant_id is not None
                continue
            with pytest.raises(refusal):
                await decided
            given = select(AccessGrant.id).where(AccessGrant.request_id == request_id)
            assert (await house.session.scalars(given)).all() == []

    @pytest.mark.parametrize(
        ("name", "error", "code"),
        [
            ("anna", StewardRequired, "STEWARD_REQUIRED"),  # a maintainer of the owning team is no steward
            ("quinn", StewardRequired, "STEWARD_REQUIRED"),
            ("vera", NotFound, "NOT_FOUND"),
            ("omar", NotFound, "NOT_FOUND"),
        ],
    )
    async def test_nobody_else(self, house: House, name: str, error: type[GuildhallError], code: str) -> None:
        request_id = await asked(house, [dataset_ref(await registered(house))])
        grants = await house.count(AccessGrant)
        with pytest.raises(error) as caught:
            await decide(house, request_id, by=name)
        assert caught.value.code == code
        assert (await house.session.get_one(AccessRequest, request_id)).state == "PENDING"
        assert await house.count(AccessGrant) == grants

    @pytest.mark.parametrize("decision", list(DecisionKind))
    async def test_never_the_requester(self, house: House, decision: DecisionKind) -> None:
        dataset_id = await registered(house, stewards=("mia", "quinn"))
        request_id = await asked(house, [dataset_ref(dataset_id)], by="quinn")
        with pytest.raises(RequesterCannotDecide) as caught:
            await decide(house, request_id, by="quinn", decision=decision, reason="Mine.")
        assert isinstance(caught.value, Refused)  # so that the refusal is recorded
        assert (caught.value.permission.name, caught.value.purpose) == ("registry:access:decide", "quality")
        assert (await house.session.get_one(AccessRequest, request_id)).state == "PENDING"

    async def test_never_who_profits(self, house: House) -> None:
        dataset_id = await registered(house, stewards=("mia", "vera"))
        request_id = await asked(house, [dataset_ref(dataset_id)], email="vera@example.org")
        with pytest.raises(RequesterCannotDecide):
            await decide(house, request_id, by="vera")

    async def test_the_database_refuses_the_requester_too(self, house: House) -> None:
        request_id = await asked(house, [dataset_ref(await registered(house))])
        statement = update(AccessRequest).where(AccessRequest.id == request_id)
        with pytest.raises(DBAPIError, match="second_person_decides"):
            await house.session.execute(
                statement.values(state="APPROVED", decided_at=house.at, decided_by=house.people["quinn"])
            )

    async def test_a_source_that_came_later_counts(self, house: House) -> None:
        """Stewards are found again at the decision: whoever stopped being one decides no more."""
        dataset_id = await registered(house, stewards=("mia", "carl"))
        request_id = await asked(house, [dataset_ref(dataset_id)])
        steward = await house.session.get_one(DatasetSteward, (dataset_id, house.people["mia"]))
        await house.session.delete(steward)
        await house.session.flush()
        with pytest.raises(NotFound):  # and sees no more of it
            await decide(house, request_id, by="mia")
        await decide(house, request_id, by="carl")


class TestOnce:
    @pytest.mark.parametrize("second", list(DecisionKind))
    async def test_a_request_is_decided_once(self, house: House, second: DecisionKind) -> None:
        request_id = await asked(house, [dataset_ref(await registered(house))])
        await decide(house, request_id)
        grants = await house.count(AccessGrant)
        with pytest.raises(AlreadyDecided) as caught:
            await decide(house, request_id, decision=second, reason="Again.")
        assert caught.value.message == "This request was approved already."
        assert await house.count(AccessGrant) == grants

    async def test_two_stewards_at_once(self, estate: Estate) -> None:
        dataset_id = await estate.dataset(stewards=("mia", "carl"))
        async with estate.database.transaction() as session:
            estate.house.session = session
            request_id = await asked(estate.house, [dataset_ref(dataset_id)])

        async def one(name: str) -> str:
            try:
                async with estate.database.transaction() as session:
                    await decide_access(
                        session,
                        estate.actor(name),
                        access_request_id=request_id,
                        decision=DecisionKind.APPROVE,
                        reason=None,
                        at=estate.clock.now(),
                        new_id=new_id,
                    )
            except AlreadyDecided:
                return "late"
            return "first"

        answers = await asyncio.gather(*(one(name) for name in ("mia", "carl") * 5))
        assert sorted(answers) == ["first"] + ["late"] * 9
        grants = [grant for grant in await estate.rows(AccessGrant) if grant.request_id == request_id]
        assert len(grants) == 1

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE access_requests SET state = 'PENDING', decided_at = NULL, decided_by = NULL",
            "UPDATE access_requests SET justification = 'another'",
            "DELETE FROM access_requests",
            "UPDATE access_grants SET valid_to = valid_to + interval '1 year'",
            "UPDATE access_grants SET purpose = 'marketing'",
            "DELETE FROM access_grants",
            "UPDATE access_grant_resources SET resource_id = gen_random_uuid()",
            "DELETE FROM access_grant_resources",
            "TRUNCATE access_request_sources",
        ],
    )
    async def test_raw_sql_under_the_services_role_changes_no_decision(self, house: House, statement: str) -> None:
        await granted(house, [dataset_ref(await registered(house))])
        with pytest.raises(DBAPIError):
            async with house.session.begin_nested():
                await house.session.execute(text(statement))


class TestLegalRecordChangedMeanwhile:
    async def test_the_purpose_is_no_longer_permitted(self, house: House) -> None:
        dataset_id = await registered(house)
        request_id = await asked(house, [dataset_ref(dataset_id)])
        await update_legal_record(
            house.session,
            house.actor("mia"),
            dataset_id=dataset_id,
            classification=None,
            legal=replace(LEGAL, permitted_purposes=["research"]),
            at=house.at,
            new_id=new_id,
        )
        with pytest.raises(NothingLeft) as caught:
            await decide(house, request_id)
        assert caught.value.message == "The data does not permit quality any more."

    async def test_the_retention_is_over(self, house: House) -> None:
        dataset_id = await registered(house)
        request_id = await asked(house, [dataset_ref(dataset_id)])
        await house.change(Dataset, dataset_id, retention_ends_on=(house.at - timedelta(days=1)).date())
        house.session.expire_all()
        with pytest.raises(NothingLeft) as caught:
            await decide(house, request_id)
        assert caught.value.message == "The retention of this data has ended: it may not be read any more."
