"""The documents of the contract about access, as clients send them, and what they answer to the letter."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from guildhall.audit.tables import AuditEvent
from guildhall.graphql.ids import encode_id
from registry.access.tables import AccessRequest
from tests.registry.asking import Asking
from tests.registry.graphql.contract import DOCUMENTS, key, mutate, register

pytestmark = pytest.mark.usefixtures("purposes")


class TestAccess:
    async def ask_for_access(self, ask: Asking, resource_id: str, **given: Any) -> Any:
        values = {
            "resourceIds": [resource_id],
            "beneficiary": {"team": "quality"},
            "purpose": "quality",
            "justification": "We compare gauges.",
            "durationSeconds": 3600,
            **given,
        }
        return await mutate(ask, "quinn", "RequestAccess", **values)

    async def test_asked_queued_decided_and_withdrawn(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        asked = await self.ask_for_access(ask, dataset_id)
        request_id = asked["accessRequest"]["id"]
        assert asked == {"accessRequest": {"id": request_id, "state": "PENDING"}, "errors": []}

        queue = await ask("mia", DOCUMENTS["AccessQueue"], first=5)
        assert queue["viewer"]["accessRequestsToDecide"]["nodes"] == [
            {
                "id": request_id,
                "createdAt": "2026-03-02T08:00:00.000000Z",
                "requester": {"name": "Quinn"},
                "team": {"name": "quality"},
                "purpose": "quality",
                "justification": "We compare gauges.",
                "durationSeconds": 3600,
                "resources": [{"__typename": "Dataset", "id": dataset_id, "name": "gauge-digits"}],
            }
        ]
        for other in ("quinn", "anna", "vera"):
            empty = await ask(other, DOCUMENTS["AccessQueue"], first=5)
            assert empty["viewer"]["accessRequestsToDecide"]["nodes"] == []

        decided = await mutate(ask, "mia", "DecideAccess", accessRequestId=request_id, decision="APPROVE")
        grant_id = decided["accessGrant"]["id"]
        assert decided == {
            "accessRequest": {"id": request_id, "state": "APPROVED", "decidedBy": {"name": "Mia"}},
            "accessGrant": {"id": grant_id, "validTo": "2026-03-02T09:00:00.000000Z", "purpose": "quality"},
            "errors": [],
        }
        ask.clock.advance(seconds=60)
        withdrawn = await mutate(ask, "mia", "WithdrawAccess", accessGrantId=grant_id, reason="Enough.")
        assert withdrawn == {
            "accessGrant": {"id": grant_id, "validTo": "2026-03-02T08:01:00.000000Z"},
            "errors": [],
        }

    async def test_narrowed(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        request_id = (await self.ask_for_access(ask, dataset_id))["accessRequest"]["id"]
        decided = await mutate(
            ask,
            "mia",
            "DecideAccess",
            accessRequestId=request_id,
            decision="APPROVE",
            reason="For an hour at most.",
            narrow={"durationSeconds": 600},
        )
        assert decided["accessGrant"]["validTo"] == "2026-03-02T08:10:00.000000Z"

    async def test_refused_with_a_reason(self, ask: Asking) -> None:
        request_id = (await self.ask_for_access(ask, await register(ask)))["accessRequest"]["id"]
        given = {"accessRequestId": request_id, "decision": "REFUSE"}
        without = await mutate(ask, "mia", "DecideAccess", **given)
        assert [(error["code"], error["field"]) for error in without["errors"]] == [("INVALID_TEXT", "reason")]
        decided = await mutate(ask, "mia", "DecideAccess", **given, reason="Use the open data.")
        assert (decided["accessRequest"]["state"], decided["accessGrant"]) == ("REFUSED", None)

    async def test_the_requester_never_decides_and_the_attempt_is_recorded(self, ask: Asking) -> None:
        dataset_id = await register(ask, stewards=["mia@example.org", "quinn@example.org"])
        request_id = (await self.ask_for_access(ask, dataset_id))["accessRequest"]["id"]
        given = {"accessRequestId": request_id, "decision": "APPROVE"}
        assert await ask.refused("quinn", DOCUMENTS["DecideAccess"], input=given) == ["REQUESTER_CANNOT_DECIDE"]
        async with ask.database.read() as session:
            assert (await session.get_one(AccessRequest, key(request_id))).state == "PENDING"
            (event,) = (await session.scalars(select(AuditEvent).where(AuditEvent.outcome == "REFUSED"))).all()
        assert (event.action, event.reason_code, event.actor_id) == (
            "registry:access:decide",
            "REQUESTER_CANNOT_DECIDE",
            ask.actor("quinn").id,
        )

    async def test_what_one_has_already_is_told(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        request_id = (await self.ask_for_access(ask, dataset_id))["accessRequest"]["id"]
        await mutate(ask, "mia", "DecideAccess", accessRequestId=request_id, decision="APPROVE")
        again = await self.ask_for_access(ask, dataset_id)
        assert again["errors"] == [
            {
                "code": "ALREADY_GRANTED",
                "message": "This is granted already, until 2026-03-02 09:00 UTC. Ask for longer to renew it.",
                "field": "resourceIds",
            }
        ]

    async def test_ids_that_are_none(self, ask: Asking) -> None:
        unknown = await self.ask_for_access(ask, encode_id("Dataset", UUID(int=1)))
        assert [(error["code"], error["field"]) for error in unknown["errors"]] == [("NOT_FOUND", "resourceIds[0]")]
        wrong = await self.ask_for_access(ask, encode_id("Model", UUID(int=1)))
        assert [(error["code"], error["field"]) for error in wrong["errors"]] == [("NOT_FOUND", "resourceIds[0]")]
        decided = await mutate(
            ask, "mia", "DecideAccess", accessRequestId=encode_id("AccessRequest", UUID(int=1)), decision="APPROVE"
        )
        assert [(error["code"], error["field"]) for error in decided["errors"]] == [("NOT_FOUND", "accessRequestId")]

    async def test_requests_and_grants_by_id(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        request_id = (await self.ask_for_access(ask, dataset_id))["accessRequest"]["id"]
        decided = await mutate(ask, "mia", "DecideAccess", accessRequestId=request_id, decision="APPROVE")
        node = "query($id: ID!) { node(id: $id) { id } }"
        for global_id in (request_id, decided["accessGrant"]["id"]):
            seen = {who: (await ask(who, node, id=global_id))["node"] for who in ("quinn", "mia", "anna", "vera")}
            assert {who for who, found in seen.items() if found} == {"quinn", "mia", "anna"}

    async def test_the_owning_teams_own_grant_is_in_the_list(self, ask: Asking) -> None:
        await register(ask)
        document = """query { dataset(team: "maintenance", name: "gauge-digits") { accessGrants(first: 5) {
            nodes { basis team { name } purpose approvedBy { name } validTo resources { __typename } } } } }"""
        answer = await ask("anna", document)
        assert answer["dataset"]["accessGrants"]["nodes"] == [
            {
                "basis": "OWNERSHIP",
                "team": {"name": "maintenance"},
                "purpose": None,
                "approvedBy": None,
                "validTo": "2027-03-02T08:00:00.000000Z",
                "resources": [{"__typename": "Dataset"}],
            }
        ]
        assert (await ask("quinn", document))["dataset"]["accessGrants"]["nodes"] == []
