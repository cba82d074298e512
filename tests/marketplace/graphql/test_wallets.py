from typing import Any

import pytest
from sqlalchemy import func, select

from guildhall.audit.tables import AuditEvent
from guildhall.db.transaction import Database
from guildhall.graphql.ids import encode_id
from marketplace.tables import Transfer
from tests.marketplace.bank import CREDIT, DAY, START
from tests.marketplace.graphql.conftest import Ask, counted
from tests.marketplace.market import Market

EXTREMES = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z")
WALLET_PAGE = """
query WalletPage($team: String!) {
  team(name: $team) {
    wallet {
      available held
      allocations(first: 20) {
        nodes {
          programme { name strategicClass } validFrom validTo
          allocated received captured held expired returned sent remaining
        }
      }
      transfers(first: 20) { nodes { id occurredAt kind direction credits reason availableChange phase } }
    }
  }
}
"""
ALLOCATE = """
mutation AllocateCredits($input: AllocateCreditsInput!) {
  allocateCredits(input: $input) { allocation { id allocated remaining period { name } } errors { code field message } }
}
"""
RETURN = """
mutation($input: ReturnCreditsInput!) {
  returnCredits(input: $input) { allocation { returned remaining } errors { code field message } }
}
"""
SEND = """
mutation($input: SendCreditsInput!) {
  sendCredits(input: $input) {
    allocation { sent remaining } received { received remaining } errors { code field message }
  }
}
"""
REFUND = """
mutation($input: RefundChargeInput!) {
  refundCharge(input: $input) { refunds { kind credits reason direction } errors { code field message } }
}
"""


def gift(**changed: Any) -> dict[str, Any]:
    return {
        "team": "maintenance",
        "programme": "zero-defects",
        "credits": "12.5",
        "validFrom": START.isoformat(),
        "validTo": (START + 30 * DAY).isoformat(),
        "reason": "Two hundred gauges wait.",
        **changed,
    }


async def in_market(
    database: Database, market: Market, *steps: tuple[str, tuple[Any, ...], dict[str, Any]]
) -> list[Any]:
    """Steps of the market in a transaction that commits."""
    async with database.transaction() as session:
        market.session = session
        return [await getattr(market, name)(*given, **named) for name, given, named in steps]


async def number_of(database: Database, table: Any) -> int:
    async with database.read() as session:
        return (await session.scalars(select(func.count()).select_from(table))).one()


class TestWalletPage:
    async def test_says_what_became_of_every_credit(self, fresh_database: Database, shop: Market, ask: Ask) -> None:
        await in_market(
            fresh_database,
            shop,
            ("give", ("maintenance", 10 * CREDIT), {}),
            ("charge", ("maintenance", 4 * CREDIT), {}),
        )
        body = await ask("vera", WALLET_PAGE, team="maintenance")
        wallet = body["data"]["team"]["wallet"]
        assert "errors" not in body
        assert (wallet["available"], wallet["held"]) == ("6", "0")
        assert wallet["allocations"]["nodes"] == [
            {
                "programme": {"name": "zero-defects", "strategicClass": "A"},
                "validFrom": "2026-03-02T08:00:00.000000Z",
                "validTo": "2026-03-12T08:00:00.000000Z",
                "allocated": "10",
                "received": "0",
                "captured": "4",
                "held": "0",
                "expired": "0",
                "returned": "0",
                "sent": "0",
                "remaining": "6",
            }
        ]
        lines = [
            (line["kind"], line["direction"], line["credits"], line["availableChange"], line["phase"])
            for line in wallet["transfers"]["nodes"]
        ]
        assert lines[0] == ("CAPTURE", "OUT", "4", "0", "POSTED")
        assert sorted(lines[1:]) == [
            ("ALLOCATION", "IN", "10", "10", "POSTED"),
            ("HOLD", "OUT", "4", "-4", "PENDING"),
        ]

    async def test_what_is_not_valid_now_is_not_available(
        self, fresh_database: Database, shop: Market, ask: Ask, clock: Any
    ) -> None:
        await in_market(
            fresh_database,
            shop,
            ("give", ("maintenance", 3 * CREDIT), {"days": 1}),
            ("hold", ("maintenance", CREDIT), {}),
        )
        clock.advance(DAY)
        wallet = (await ask("anna", WALLET_PAGE, team="maintenance"))["data"]["team"]["wallet"]
        assert (wallet["available"], wallet["allocations"]["nodes"][0]["remaining"]) == ("0", "2")
        assert wallet["held"] == "1"  # until its job is settled, also past the end

    @pytest.mark.parametrize("name", ["quinn", "mia"])
    async def test_is_the_team_s_own(self, fresh_database: Database, shop: Market, ask: Ask, name: str) -> None:
        await in_market(fresh_database, shop, ("give", ("maintenance",), {}))
        body = await ask(name, WALLET_PAGE, team="maintenance")
        assert body["data"] == {"team": {"wallet": None}}
        assert [error["extensions"]["code"] for error in body["errors"]] == ["FORBIDDEN"]

    async def test_an_allocation_of_another_team_is_no_node(
        self, fresh_database: Database, shop: Market, ask: Ask
    ) -> None:
        (allocation,) = await in_market(fresh_database, shop, ("give", ("maintenance",), {}))
        document = "query($id: ID!) { node(id: $id) { id ... on Allocation { remaining team { name } } } }"
        wanted = encode_id("Allocation", allocation)
        assert (await ask("quinn", document, id=wanted))["data"] == {"node": None}
        assert (await ask("anna", document, id=wanted))["data"]["node"] == {
            "id": wanted,
            "remaining": "10",
            "team": {"name": "maintenance"},
        }

    async def test_a_transfer_is_a_node_on_either_side(self, fresh_database: Database, shop: Market, ask: Ask) -> None:
        (allocation,) = await in_market(fresh_database, shop, ("give", ("maintenance",), {}))
        sent = {"allocationId": encode_id("Allocation", allocation), "toTeam": "quality", "credits": "1", "reason": "x"}
        await ask("anna", SEND, input=sent)
        document = (
            "query($id: ID!) { node(id: $id) { ... on Transfer { kind direction allocation { team { name } } } } }"
        )
        for name, team, direction in (("anna", "maintenance", "OUT"), ("quinn", "quality", "IN")):
            lines = (await ask(name, WALLET_PAGE, team=team))["data"]["team"]["wallet"]["transfers"]["nodes"]
            (line,) = [line for line in lines if line["kind"] == "SEND"]
            assert (await ask(name, document, id=line["id"]))["data"]["node"] == {
                "kind": "SEND",
                "direction": direction,
                "allocation": {"team": {"name": team}},
            }

    async def test_filters_and_pages(self, fresh_database: Database, shop: Market, ask: Ask) -> None:
        await in_market(fresh_database, shop, *[("give", ("maintenance", CREDIT), {"days": n}) for n in (3, 1, 2)])
        document = """
            query($after: String, $filter: AllocationFilter) { team(name: "maintenance") { wallet {
              allocations(first: 2, after: $after, filter: $filter) {
                totalCount pageInfo { hasNextPage endCursor } nodes { validTo }
              }
              transfers(first: 5, filter: {kind: {in: [HOLD]}}) { nodes { id } }
            } } }
        """
        first = (await ask("anna", document))["data"]["team"]["wallet"]
        assert first["allocations"]["totalCount"] == 3
        assert [node["validTo"][8:10] for node in first["allocations"]["nodes"]] == ["03", "04"]
        assert first["transfers"]["nodes"] == []
        after = first["allocations"]["pageInfo"]["endCursor"]
        second = (await ask("anna", document, after=after))["data"]["team"]["wallet"]["allocations"]
        assert [node["validTo"][8:10] for node in second["nodes"]] == ["05"]
        none = {"programme": {"eq": "another"}}
        found = (await ask("anna", document, filter=none))["data"]["team"]["wallet"]["allocations"]
        assert found["nodes"] == []

    async def test_no_statement_for_each_row(self, fresh_database: Database, shop: Market, ask: Ask) -> None:
        await in_market(fresh_database, shop, ("give", ("maintenance", CREDIT), {}))
        with counted(fresh_database) as few:
            await ask("anna", WALLET_PAGE, team="maintenance")
        await in_market(fresh_database, shop, *[("give", ("maintenance", CREDIT), {}) for _ in range(50)])
        with counted(fresh_database) as many:
            body = await ask("anna", WALLET_PAGE, team="maintenance")
        assert len(body["data"]["team"]["wallet"]["transfers"]["nodes"]) == 20
        assert len(many) == len(few)


class TestAllocateCredits:
    async def test_gives_an_allocation(self, shop: Market, ask: Ask) -> None:
        body = await ask("alma", ALLOCATE, input=gift())
        answer = body["data"]["allocateCredits"]
        assert (answer["allocation"]["allocated"], answer["allocation"]["remaining"]) == ("12.5", "12.5")
        assert answer["errors"] == []

    async def test_the_same_key_gives_once(self, fresh_database: Database, shop: Market, ask: Ask) -> None:
        first, second = [await ask("alma", ALLOCATE, input=gift(idempotencyKey="spring")) for _ in range(2)]
        assert first == second
        other = await ask("alma", ALLOCATE, input=gift(idempotencyKey="spring", credits="99"))
        assert [error["code"] for error in other["data"]["allocateCredits"]["errors"]] == ["IDEMPOTENCY_KEY_REUSED"]
        assert await number_of(fresh_database, Transfer) == 1

    @pytest.mark.parametrize(
        ("changed", "code", "field"),
        [
            ({"credits": "-1"}, "CREDITS_OUT_OF_RANGE", "credits"),
            ({"credits": "0"}, "CREDITS_OUT_OF_RANGE", "credits"),
            ({"team": "nobody"}, "NOT_FOUND", "team"),
            ({"reason": ""}, "REASON_MISSING", "reason"),
            ({"validTo": START.isoformat()}, "TIMES_INVALID", "validTo"),
        ],
    )
    async def test_what_can_be_mended_is_in_errors(
        self, fresh_database: Database, shop: Market, ask: Ask, changed: dict[str, Any], code: str, field: str
    ) -> None:
        answer = (await ask("alma", ALLOCATE, input=gift(**changed)))["data"]["allocateCredits"]
        assert answer["allocation"] is None
        assert [(error["code"], error["field"]) for error in answer["errors"]] == [(code, field)]
        assert await number_of(fresh_database, Transfer) == 0

    @pytest.mark.parametrize("credits", ["1.0000001", "ten", "99999999999999999999", "1e3", ""])
    async def test_what_is_no_amount_never_gets_in(
        self, fresh_database: Database, shop: Market, ask: Ask, credits: str
    ) -> None:
        body = await ask("alma", ALLOCATE, input=gift(credits=credits))
        assert body["errors"]
        assert await number_of(fresh_database, Transfer) == 0

    @pytest.mark.parametrize("changed", [{"validFrom": EXTREMES[0]}, {"validTo": EXTREMES[1]}])
    async def test_moments_that_the_database_takes_for_infinity_never_get_in(
        self, fresh_database: Database, shop: Market, ask: Ask, changed: dict[str, str]
    ) -> None:
        (error,) = (await ask("alma", ALLOCATE, input=gift(**changed)))["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert "A DateTime lies between the years 1970 and 9000 (UTC)" in error["message"]
        assert await number_of(fresh_database, Transfer) == 0

    async def test_the_farthest_moments_come_back_as_they_went_in(self, shop: Market, ask: Ask) -> None:
        farthest = {"validFrom": "1970-01-01T00:00:00.000000Z", "validTo": "9000-12-31T23:59:59.999999Z"}
        answer = (await ask("alma", ALLOCATE, input=gift(**farthest)))["data"]["allocateCredits"]
        assert answer["errors"] == []
        body = await ask("anna", WALLET_PAGE, team="maintenance")
        (allocation,) = body["data"]["team"]["wallet"]["allocations"]["nodes"]
        assert {name: allocation[name] for name in farthest} == farthest

    async def test_a_refusal_is_an_error_and_on_record(self, fresh_database: Database, shop: Market, ask: Ask) -> None:
        body = await ask("anna", ALLOCATE, input=gift())
        assert [error["extensions"]["code"] for error in body["errors"]] == ["PERMISSION_REFUSED"]
        assert await number_of(fresh_database, Transfer) == 0
        async with fresh_database.read() as session:
            (event,) = await session.scalars(select(AuditEvent))
        assert (event.action, event.outcome, event.actor_id) == (
            "marketplace:credits:allocate",
            "REFUSED",
            shop.people["anna"],
        )


class TestOtherMoves:
    async def test_return(self, fresh_database: Database, shop: Market, ask: Ask) -> None:
        (allocation,) = await in_market(fresh_database, shop, ("give", ("maintenance",), {}))
        given = {"allocationId": encode_id("Allocation", allocation), "credits": "4", "reason": "done"}
        answer = (await ask("anna", RETURN, input=given))["data"]["returnCredits"]
        assert answer == {"allocation": {"returned": "4", "remaining": "6"}, "errors": []}

    async def test_return_more_than_there_is(self, fresh_database: Database, shop: Market, ask: Ask) -> None:
        (allocation,) = await in_market(fresh_database, shop, ("give", ("maintenance",), {}))
        given = {"allocationId": encode_id("Allocation", allocation), "credits": "10.5", "reason": "done"}
        (error,) = (await ask("anna", RETURN, input=given))["data"]["returnCredits"]["errors"]
        assert error["code"] == "INSUFFICIENT_CREDITS"
        assert error["message"] == "0.5 credits are missing: the allocation has 10 available."

    async def test_send_shows_the_other_side_only_to_those_who_may(
        self, fresh_database: Database, shop: Market, ask: Ask
    ) -> None:
        (allocation,) = await in_market(fresh_database, shop, ("give", ("maintenance",), {}))
        given = {
            "allocationId": encode_id("Allocation", allocation),
            "toTeam": "quality",
            "credits": "4",
            "reason": "they run it",
        }
        answer = (await ask("anna", SEND, input=given))["data"]["sendCredits"]
        assert answer == {"allocation": {"sent": "4", "remaining": "6"}, "received": None, "errors": []}
        wallet = (await ask("quinn", WALLET_PAGE, team="quality"))["data"]["team"]["wallet"]
        assert (wallet["available"], wallet["allocations"]["nodes"][0]["received"]) == ("4", "4")

    async def test_refund(self, fresh_database: Database, shop: Market, ask: Ask) -> None:
        _, job = await in_market(
            fresh_database, shop, ("give", ("maintenance",), {}), ("charge", ("maintenance", 3 * CREDIT), {})
        )
        given = {"jobId": encode_id("Job", job), "credits": "1", "reason": "The node was slow."}
        answer = (await ask("alma", REFUND, input=given))["data"]["refundCharge"]
        assert answer == {
            "refunds": [{"kind": "REFUND", "credits": "1", "reason": "The node was slow.", "direction": "IN"}],
            "errors": [],
        }

    async def test_an_id_of_something_else(self, shop: Market, ask: Ask) -> None:
        given = {"allocationId": encode_id("Team", shop.teams["quality"]), "credits": "1", "reason": "x"}
        (error,) = (await ask("anna", RETURN, input=given))["data"]["returnCredits"]["errors"]
        assert error["field"] == "allocationId"
