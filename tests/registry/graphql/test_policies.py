"""Budgets, alerts, narrowed grants, reviewers and people who leave, as clients see them."""

from datetime import timedelta
from typing import Any

import pytest

from guildhall.clock import new_id
from guildhall.graphql.ids import decode_id, encode_id
from guildhall.organisation.emergencies import take_role
from registry.volume.tables import AccessAlert
from tests.registry.asking import Asking
from tests.registry.graphql.contract import DOCUMENTS, VERSION, mutate, register

pytestmark = pytest.mark.usefixtures("purposes")

BUDGETS = "id readBudgets { scope windowSeconds rowsMax bytesMax habitFactor action delaySeconds } withdrawalPolicy"
SET_BUDGET = f"""mutation Set($input: SetReadBudgetInput!) {{
  setReadBudget(input: $input) {{ dataset {{ {BUDGETS} }} errors {{ code field }} }} }}"""
REMOVE_BUDGET = f"""mutation Remove($input: RemoveReadBudgetInput!) {{
  removeReadBudget(input: $input) {{ dataset {{ {BUDGETS} }} errors {{ code field }} }} }}"""
SET_POLICY = f"""mutation Set($input: SetWithdrawalPolicyInput!) {{
  setWithdrawalPolicy(input: $input) {{ dataset {{ {BUDGETS} }} errors {{ code field }} }} }}"""
ALERTS = """query Alerts { accessAlerts(first: 5) { totalCount nodes {
  dataset { name } scope person { name } team { name } action rows bytes message raisedAt delayedUntil } } }"""
REVIEWERS = """mutation Name($input: NameRiskReviewersInput!) {
  nameRiskReviewers(input: $input) { named errors { code field } } }"""
LEAVE = """mutation Leave($input: DeactivatePersonInput!) { deactivatePerson(input: $input) {
  person { name deactivatedAt } tokensEnded rolesEnded accessGrantsEnded datasetsHandedOver reviewsHandedOver
  errors { code field } } }"""
ACKNOWLEDGE = """mutation Close($input: AcknowledgeAccessAlertInput!) { acknowledgeAccessAlert(input: $input) {
  accessAlert { acknowledgedAt acknowledgedBy { name } acknowledgement } errors { code field } } }"""
BUDGET = {"scope": "PERSON", "windowSeconds": 3600, "action": "BLOCK", "rowsMax": "100"}


async def change(ask: Asking, who: str, document: str, **given: Any) -> Any:
    ((_, payload),) = (await ask(who, document, input=given)).items()
    return payload


class TestBudgets:
    async def test_stewards_set_and_remove_them(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        done = await change(ask, "mia", SET_BUDGET, datasetId=dataset_id, **BUDGET)
        budget = {**BUDGET, "bytesMax": None, "habitFactor": None, "delaySeconds": 0}
        assert done == {
            "dataset": {"id": dataset_id, "readBudgets": [budget], "withdrawalPolicy": "STOP"},
            "errors": [],
        }
        again = await change(ask, "mia", SET_BUDGET, datasetId=dataset_id, **{**BUDGET, "rowsMax": "7"})
        assert again["dataset"]["readBudgets"] == [{**budget, "rowsMax": "7"}]
        for _ in range(2):
            gone = await change(ask, "mia", REMOVE_BUDGET, datasetId=dataset_id, scope="PERSON")
            assert gone["dataset"]["readBudgets"] == []
        flag = await change(ask, "mia", SET_POLICY, datasetId=dataset_id, policy="FLAG")
        assert flag["dataset"]["withdrawalPolicy"] == "FLAG"

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"windowSeconds": 59}, "windowSeconds"),
            ({"rowsMax": None}, "rowsMax"),
            ({"rowsMax": "0"}, "rowsMax"),
            ({"bytesMax": "-1"}, "bytesMax"),
            ({"habitFactor": 1}, "habitFactor"),
            ({"delaySeconds": 5}, "delaySeconds"),
            ({"action": "DELAY"}, "delaySeconds"),
            ({"action": "DELAY", "delaySeconds": 86_401}, "delaySeconds"),
        ],
    )
    async def test_that_mean_nothing(self, ask: Asking, given: dict[str, Any], field: str) -> None:
        dataset_id = await register(ask)
        refused = await change(ask, "mia", SET_BUDGET, datasetId=dataset_id, **{**BUDGET, **given})
        assert refused == {"dataset": None, "errors": [{"code": "INVALID_READ_BUDGET", "field": field}]}

    async def test_are_set_by_whose_role_in_the_team_says_so(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        async with ask.house() as house:
            vera = house.as_role("vera", "steward", team="maintenance")
            other = house.as_role("paul", "steward", team="quality")
        for document, given, read in (
            (SET_BUDGET, BUDGET, lambda found: len(found["readBudgets"])),
            (REMOVE_BUDGET, {"scope": "PERSON"}, lambda found: len(found["readBudgets"])),
            (SET_POLICY, {"policy": "FLAG"}, lambda found: found["withdrawalPolicy"]),
        ):
            assert await ask.refused(other, document, input={"datasetId": dataset_id, **given}) == ["STEWARD_REQUIRED"]
            body = await ask(vera, document, input={"datasetId": dataset_id, **given})
            ((_, payload),) = body.items()
            assert payload["errors"] == []
            assert read(payload["dataset"]) == {SET_BUDGET: 1, REMOVE_BUDGET: 0, SET_POLICY: "FLAG"}[document]

    async def test_outlive_an_emergency_and_are_not_set_in_one(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        async with ask.house() as house:
            team_id = house.teams["maintenance"]
            await take_role(
                house.session, house.as_role("vera", "on-call", team="maintenance"), role="steward", team_id=team_id,
                reason="The stewards are away, and readers wait.", duration=timedelta(minutes=1), at=house.at,
                new_id=new_id,
            )  # fmt: skip
            vera = house.as_role("vera", "steward", team="maintenance")
        await change(ask, "mia", SET_BUDGET, datasetId=dataset_id, **BUDGET)
        for document, given in (
            (SET_BUDGET, {**BUDGET, "rowsMax": "5"}),
            (REMOVE_BUDGET, {"scope": "PERSON"}),
            (SET_POLICY, {"policy": "FLAG"}),
        ):
            body = await ask(vera, document, input={"datasetId": dataset_id, **given})
            ((_, payload),) = body.items()
            assert payload == {"dataset": None, "errors": [{"code": "ENDS_WITH_EMERGENCY", "field": None}]}
        removed = await change(ask, "mia", REMOVE_BUDGET, datasetId=dataset_id, scope="TEAM")
        (budget,) = removed["dataset"]["readBudgets"]
        assert (budget["rowsMax"], removed["dataset"]["withdrawalPolicy"]) == ("100", "STOP")

    async def test_are_nobody_elses(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        for document, given in (
            (SET_BUDGET, BUDGET),
            (REMOVE_BUDGET, {"scope": "PERSON"}),
            (SET_POLICY, {"policy": "FLAG"}),
        ):
            body = await ask.body("anna", document, input={"datasetId": dataset_id, **given})
            assert body["errors"][0]["extensions"]["code"] in {"STEWARD_REQUIRED", "PERMISSION_REFUSED", "FORBIDDEN"}


class TestAlerts:
    async def test_are_seen_by_stewards_and_nobody_who_has_no_part_in_it(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        async with ask.house() as house:
            people, at, alert_id = house.people, house.at, new_id()
            house.session.add(
                AccessAlert(
                    id=alert_id, dataset_id=decode_id(dataset_id, "Dataset", field="id"), scope="PERSON",
                    subject_id=people["paul"],
                    window_seconds=3600, window_start=at, action="WARN", user_id=people["paul"],
                    team_id=house.teams["quality"], rows=5, bytes=6, message="Much.", raised_at=at,
                )
            )  # fmt: skip
        assert (await ask("mia", ALERTS))["accessAlerts"] == {
            "totalCount": 1,
            "nodes": [
                {
                    "dataset": {"name": "gauge-digits"},
                    "scope": "PERSON",
                    "person": {"name": "Paul"},
                    "team": {"name": "quality"},
                    "action": "WARN",
                    "rows": "5",
                    "bytes": "6",
                    "message": "Much.",
                    "raisedAt": "2026-03-02T08:00:00.000000Z",
                    "delayedUntil": None,
                }
            ],
        }
        for other in ("paul", "anna", "quinn"):
            assert (await ask(other, ALERTS))["accessAlerts"] == {"totalCount": 0, "nodes": []}
        given = {"accessAlertId": encode_id("AccessAlert", alert_id), "note": "Agreed with Paul."}
        closed = await change(ask, "mia", ACKNOWLEDGE, **given)
        assert closed["errors"] == []
        found = closed["accessAlert"]
        assert (found["acknowledgedBy"], found["acknowledgement"]) == ({"name": "Mia"}, "Agreed with Paul.")
        again = await change(ask, "mia", ACKNOWLEDGE, **given)
        assert again == {
            "accessAlert": None,
            "errors": [{"code": "ALREADY_ACKNOWLEDGED", "field": "accessAlertId"}],
        }


class TestNarrowedGrants:
    async def test_say_what_they_are_for_and_when_they_end(self, ask: Asking) -> None:
        dataset_id = await register(ask)
        await mutate(ask, "anna", "CreateDatasetVersion", datasetId=dataset_id, **VERSION)
        asked = await mutate(
            ask, "quinn", "RequestAccess", resourceIds=[dataset_id], beneficiary={"team": "quality"},
            purpose="quality", justification="We compare gauges.", durationSeconds=3600,
        )  # fmt: skip
        narrow = {"columns": ["pixels"], "sample": {"fraction": 0.25}}
        request_id = asked["accessRequest"]["id"]
        await mutate(ask, "mia", "DecideAccess", accessRequestId=request_id, decision="APPROVE", narrow=narrow)
        about = "{ viewer { accessGrantsAboutToEnd(first: 5) { nodes { columns firstRows sampleFraction validTo } } } }"
        assert (await ask("quinn", f"query Ending {about}"))["viewer"]["accessGrantsAboutToEnd"]["nodes"] == [
            {"columns": ["pixels"], "firstRows": None, "sampleFraction": 0.25, "validTo": "2026-03-02T09:00:00.000000Z"}
        ]
        ask.clock.advance(seconds=3600)
        ended = await ask("quinn", f"query Ending {about}")
        assert ended["viewer"]["accessGrantsAboutToEnd"]["nodes"] == []
        approvals = (
            "query Who($id: ID!) { node(id: $id) { ... on AccessRequest { approvals { capacity person { name } } } } }"
        )
        assert await ask("quinn", approvals, id=request_id) == {
            "node": {"approvals": [{"capacity": "STEWARD", "person": {"name": "Mia"}}]}
        }

    async def test_both_kinds_of_sample_are_no_sample(self, ask: Asking) -> None:
        narrow = {"sample": {"fraction": 0.5, "firstRows": 1}}
        given = {"accessRequestId": "x", "decision": "APPROVE", "narrow": narrow}
        body = await ask.body("mia", DOCUMENTS["DecideAccess"], input=given)
        assert body["errors"]


class TestGoverning:
    async def test_who_governs_names_reviewers_and_nobody_else(self, ask: Asking) -> None:
        given = {"riskTier": "HIGH", "subject": "ETHICS", "people": ["mia@example.org"]}
        body = await ask.body("mia", REVIEWERS, input=given)
        assert body["errors"][0]["extensions"]["code"] in {"PERMISSION_REFUSED", "FORBIDDEN"}
        assert (await ask("mia", "query R { riskReviewers { riskTier subject person { name } } }")) == {
            "riskReviewers": []
        }

    async def test_who_governs_deactivates_people_and_nobody_else(self, ask: Asking) -> None:
        async with ask.house() as house:
            user_id = encode_id("User", house.people["paul"])
        body = await ask.body("mia", LEAVE, input={"userId": user_id, "reason": "Gone."})
        assert body["errors"][0]["extensions"]["code"] in {"PERMISSION_REFUSED", "FORBIDDEN"}
        about = "deactivatedAt stewardOf(first: 2) { totalCount }"
        held = f"query Held($id: ID!) {{ node(id: $id) {{ ... on User {{ {about} }} }} }}"
        assert await ask("mia", held, id=user_id) == {"node": {"deactivatedAt": None, "stewardOf": {"totalCount": 0}}}
