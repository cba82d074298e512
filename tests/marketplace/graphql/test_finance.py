import pytest

from guildhall.db.transaction import Database
from tests.marketplace.bank import CREDIT
from tests.marketplace.graphql.conftest import Ask
from tests.marketplace.market import Market

REPORT = """{
  ledgerCheck { balances postingsSum transfers allocations allocationsWrong }
  financeReport(first: 5) {
    totalCount
    nodes {
      team { name } programme { name } allocation { id } balances
      allocated received captured held expired returned sent remaining
    }
  }
}"""


@pytest.fixture
async def spent(fresh_database: Database, shop: Market) -> Market:
    """A charge of four credits of ten."""
    async with fresh_database.transaction() as session:
        shop.session = session
        await shop.give("maintenance", 10 * CREDIT)
        await shop.charge("maintenance", 4 * CREDIT)
    return shop


class TestFinanceReport:
    @pytest.mark.parametrize("name", ["audrey", "alma"])
    async def test_balances_to_the_micro_credit(self, spent: Market, ask: Ask, name: str) -> None:
        body = await ask(name, REPORT)
        assert "errors" not in body
        assert body["data"]["ledgerCheck"] == {
            "balances": True,
            "postingsSum": "0",
            "transfers": "2",
            "allocations": 1,
            "allocationsWrong": 0,
        }
        (row,) = body["data"]["financeReport"]["nodes"]
        assert row.pop("allocation")["id"]
        assert row == {
            "team": {"name": "maintenance"},
            "programme": {"name": "zero-defects"},
            "balances": True,
            "allocated": "10",
            "received": "0",
            "captured": "4",
            "held": "0",
            "expired": "0",
            "returned": "0",
            "sent": "0",
            "remaining": "6",
        }

    @pytest.mark.parametrize("name", ["anna", "adam", "mia"])
    async def test_is_for_auditors_and_allocators(self, spent: Market, ask: Ask, name: str) -> None:
        body = await ask(name, REPORT)
        assert {error["extensions"]["code"] for error in body["errors"]} == {"FORBIDDEN"}
        assert "remaining" not in str(body.get("data"))
