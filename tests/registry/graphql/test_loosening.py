"""Loosening as clients see it: asked for, found by stewards, decided, withdrawn."""

from typing import Any

import pytest

from guildhall.graphql.ids import encode_id
from registry.datasets.tables import Visibility
from tests.registry.asking import Asking
from tests.registry.asking import version_id as global_version
from tests.registry.house import House, fine_tuned_from
from tests.registry.loosening.loosened import line, source

LOOSENING = """loosening { id state property classification permittedPurposes regions retentionEndsOn
  modelVersion { number restrictions { classification } } requester { name } approvals { person { name } reason }
  sources { datasetVersion { number } classification permittedPurposes regions retentionEndsOn covered }
  decidedBy { name } decisionReason withdrawnBy { name } withdrawalReason }"""
ASK = f"""mutation Ask($input: AskLooseningInput!) {{
  askLoosening(input: $input) {{ {LOOSENING} errors {{ code field }} }} }}"""
DECIDE = f"""mutation Decide($input: DecideLooseningInput!) {{
  decideLoosening(input: $input) {{ {LOOSENING} errors {{ code field }} }} }}"""
WITHDRAW = f"""mutation Withdraw($input: WithdrawLooseningInput!) {{
  withdrawLoosening(input: $input) {{ {LOOSENING} errors {{ code field }} }} }}"""
QUEUE = "query Queue { viewer { looseningsToDecide(first: 5) { totalCount nodes { id } } } }"
LIST = """query All { loosenings(first: 5, filter: {property: {eq: CLASSIFICATION}}) { totalCount nodes {
  modelVersion { loosenings(first: 5) { nodes { state } } } } } }"""


async def payload(ask: Asking, who: str, document: str, **given: Any) -> Any:
    ((_, found),) = (await ask(who, document, input=given)).items()
    return found


@pytest.fixture
async def version(ask: Asking) -> str:
    async with ask.house() as house:
        return global_version((await made(house))[0])


async def made(house: House) -> tuple[Any, Any]:
    _, data = await source(house)
    return await line(house, data)


async def queued(ask: Asking, who: str) -> int:
    found: int = (await ask(who, QUEUE))["viewer"]["looseningsToDecide"]["totalCount"]
    return found


async def test_from_the_asking_to_the_end(ask: Asking, version: str) -> None:
    done = await payload(
        ask, "anna", ASK, modelVersionId=version, to={"classification": "INTERNAL"}, justification="Sums."
    )
    assert done["errors"] == []
    loosening = done["loosening"]
    seen = {
        "datasetVersion": {"number": 1}, "classification": "CONFIDENTIAL", "regions": ["eu"],
        "permittedPurposes": ["quality", "research"], "retentionEndsOn": None, "covered": True,
    }  # fmt: skip
    assert (loosening["state"], loosening["classification"], loosening["sources"]) == ("PENDING", "INTERNAL", [seen])
    assert [await queued(ask, who) for who in ("mia", "anna", "quinn")] == [1, 0, 0]
    key = loosening["id"]
    assert await ask.refused("anna", DECIDE, input={"looseningId": key, "decision": "APPROVE"}) == ["STEWARD_REQUIRED"]
    done = await payload(ask, "mia", DECIDE, looseningId=key, decision="APPROVE", reason="Fine.")
    assert done["loosening"]["state"] == "APPROVED"
    assert done["loosening"]["modelVersion"]["restrictions"] == {"classification": "INTERNAL"}
    assert done["loosening"]["approvals"] == [{"person": {"name": "Mia"}, "reason": "Fine."}]
    assert await queued(ask, "mia") == 0
    done = await payload(ask, "mia", WITHDRAW, looseningId=key, reason="A mistake.")
    assert (done["loosening"]["state"], done["loosening"]["withdrawnBy"]) == ("WITHDRAWN", {"name": "Mia"})
    assert done["loosening"]["modelVersion"]["restrictions"] == {"classification": "CONFIDENTIAL"}
    for who, count in (("anna", 1), ("mia", 1), ("quinn", 0)):
        found = (await ask(who, LIST))["loosenings"]
        assert found["totalCount"] == count
        assert all(node["modelVersion"]["loosenings"]["nodes"] == [{"state": "WITHDRAWN"}] for node in found["nodes"])
    assert await ask("quinn", "query One($id: ID!) { node(id: $id) { id } }", id=key) == {"node": None}


async def test_sources_are_those_that_are_there_for_the_caller(ask: Asking) -> None:
    async with ask.house() as house:
        _, seen = await source(house)
        _, secret = await source(
            house, "secret", visibility=Visibility.TEAM, stewards=["vera"], legal={"regions": ["eu", "us"]}
        )
        base, _ = await line(house, seen, secret)
        made = await house.version(
            await house.model("quinns", by="quinn", team="quality"), by="quinn", sources=[fine_tuned_from(base)]
        )
    done = await payload(
        ask, "quinn", ASK, modelVersionId=global_version(made), to={"classification": "INTERNAL"}, justification="Sums."
    )
    assert [each["regions"] for each in done["loosening"]["sources"]] == [["eu"]]
    one = "query One($id: ID!) { node(id: $id) { ... on Loosening { sources { regions } } } }"
    found = {}
    for who in ("quinn", "paul", "mia", "vera", "anna"):
        node = (await ask(who, one, id=done["loosening"]["id"]))["node"]
        found[who] = sorted(each["regions"] for each in node["sources"])
    part, whole = [["eu"]], [["eu"], ["eu", "us"]]
    assert found == {"quinn": part, "paul": part, "mia": part, "vera": whole, "anna": whole}


@pytest.mark.parametrize(
    ("to", "found"),
    [
        ({"permittedPurposes": ["marketing"]}, {"permittedPurposes": ["marketing"], "property": "PERMITTED_PURPOSES"}),
        ({"regions": ["us"]}, {"regions": ["us"], "property": "REGIONS"}),
    ],
)
async def test_each_property_is_told(ask: Asking, version: str, to: dict[str, Any], found: dict[str, Any]) -> None:
    done = await payload(ask, "anna", ASK, modelVersionId=version, to=to, justification="Sums.")
    assert {name: done["loosening"][name] for name in found} == found


@pytest.mark.parametrize(
    ("to", "field"),
    [
        ({"keptWithoutEnd": False}, "to.keptWithoutEnd"),
        ({"keptWithoutEnd": True}, "to"),
        ({"retentionEndsOn": "2031-01-01"}, "to"),
    ],
)
async def test_what_is_no_loosening_is_refused(ask: Asking, version: str, to: dict[str, Any], field: str) -> None:
    done = await payload(ask, "anna", ASK, modelVersionId=version, to=to, justification="Sums.")
    assert done == {"loosening": None, "errors": [{"code": "INVALID_LOOSENING", "field": field}]}


async def test_what_is_not_there_is_not_found(ask: Asking, version: str) -> None:
    nothing = encode_id("Loosening", (await _any_id(ask)))
    done = await payload(ask, "mia", WITHDRAW, looseningId=nothing, reason="x")
    assert done["errors"] == [{"code": "NOT_FOUND", "field": "looseningId"}]


async def _any_id(ask: Asking) -> Any:
    return ask.actor("mia").id
