import pytest
from sqlalchemy import text

from guildhall.clock import new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.transaction import Database
from marketplace import ledger
from marketplace.identity import LedgerCheck, check_ledger, figures_of_allocations
from marketplace.views import FIGURES, wallet_transfers
from tests.marketplace.bank import CREDIT, DAY, START, Bank


class TestFiguresOfAllocations:
    async def test_every_way_that_credits_can_go(self, fresh_bank: Bank) -> None:
        """One allocation that was given, received, captured, refunded, held, expired, returned and sent."""
        bank = fresh_bank
        given = await bank.give(100 * CREDIT)
        foreign = await bank.give(100 * CREDIT, team=bank.other)
        await self.move(bank, ledger.send_credits, foreign, 7, to_team_id=bank.team)
        used = await bank.hold(20)
        await bank.settle(used.id, 11, at=START)
        await bank.do(ledger.refund, hold_id=used.id, credits=2, reason="x", at=START, key="refund")
        late = await bank.hold(31)
        await bank.hold(5)
        await self.move(bank, ledger.return_credits, given, 13)
        await self.move(bank, ledger.send_credits, given, 17, to_team_id=bank.other)
        await bank.void(late.id, at=START + 10 * DAY)
        mine, theirs = await bank.assert_balanced()
        assert mine.allocation_id == given
        figures = {figure: getattr(mine, figure) for figure in FIGURES}
        assert figures == {
            "allocated": 100 * CREDIT,
            "received": 7,
            "captured": 9,
            "held": 5,
            "expired": 31,
            "returned": 13,
            "sent": 17,
            "remaining": 100 * CREDIT + 7 - 9 - 5 - 31 - 13 - 17,
        }
        assert mine.balances is True
        assert (theirs.received, theirs.sent, theirs.remaining) == (17, 7, 100 * CREDIT + 10)

    async def move(self, bank: Bank, operation: object, allocation: object, credits: int, **more: object) -> None:
        values = {
            "allocation_id": allocation,
            "credits": credits,
            "reason": "x",
            "at": START,
            "key": f"move {new_id()}",
        }
        await bank.do(operation, **values, **more)  # type: ignore[arg-type]

    async def test_an_allocation_without_a_transfer_balances(self, fresh_database: Database) -> None:
        async with fresh_database.read() as session:
            assert list(await figures_of_allocations(session)) == []
            assert await check_ledger(session) == LedgerCheck(0, 0, 0, 0)


class TestCheckLedger:
    async def test_counts_and_sums(self, fresh_bank: Bank) -> None:
        await fresh_bank.give(CREDIT)
        hold = await fresh_bank.hold(CREDIT)
        await fresh_bank.settle(hold.id, 1)
        async with fresh_bank.database.read() as session:
            check = await check_ledger(session)
        assert check == LedgerCheck(postings_sum=0, transfers=2, allocations=1, allocations_wrong=0)
        assert check.balances

    @pytest.mark.parametrize(
        "figures", ["allocated = allocated + 1", "held = held + 1", "captured = captured + 1, held = held - 1"]
    )
    async def test_sees_a_balance_that_was_forged(self, fresh_bank: Bank, server: EmbeddedServer, figures: str) -> None:
        """A superuser can switch the guards off; the finance view is computed from the transfers and finds it."""
        await fresh_bank.give(3 * CREDIT)
        await fresh_bank.hold(CREDIT)
        connection = await server.connect(OWNER_ROLE, fresh_bank.database.engine.url.database or "")
        try:
            await connection.execute("ALTER TABLE balances DISABLE TRIGGER balances_match_transfers")
            await connection.execute(f"UPDATE balances SET {figures}")
            await connection.execute("ALTER TABLE balances ENABLE TRIGGER balances_match_transfers")
        finally:
            await connection.close()
        async with fresh_bank.database.read() as session:
            check = await check_ledger(session)
            (found,) = await figures_of_allocations(session)
        assert check.allocations_wrong == 1
        assert not check.balances
        assert found.balances is False


class TestWalletTransfers:
    async def test_each_line_says_what_it_did_to_what_is_available(self, fresh_bank: Bank) -> None:
        bank = fresh_bank
        allocation = await bank.give(100)
        hold = await bank.hold(60)
        await bank.settle(hold.id, 25, at=START)
        await bank.do(ledger.refund, hold_id=hold.id, credits=5, reason="x", at=START, key="r")
        void = await bank.hold(10)
        await bank.void(void.id, at=START)
        await bank.do(
            ledger.send_credits,
            allocation_id=allocation,
            to_team_id=bank.other,
            credits=7,
            reason="x",
            at=START,
            key="s",
        )
        await bank.do(ledger.expire_allocations, at=START + 10 * DAY)
        async with bank.database.read() as session:
            rows = (await session.execute(wallet_transfers.select().order_by(text("occurred_at, id")))).all()
        lines = sorted(
            (row.kind, row.direction, row.credits, row.available_change) for row in rows if row.team_id == bank.team
        )
        assert lines == sorted(
            [
                ("ALLOCATION", "IN", 100, 100),
                ("HOLD", "OUT", 60, -60),
                ("CAPTURE", "OUT", 25, 35),
                ("REFUND", "IN", 5, 5),
                ("HOLD", "OUT", 10, -10),
                ("RELEASE", "IN", 10, 10),
                ("SEND", "OUT", 7, -7),
                ("EXPIRY", "OUT", 73, -73),
            ]
        )
        theirs = [(row.kind, row.direction, row.available_change) for row in rows if row.team_id == bank.other]
        assert theirs == [("SEND", "IN", 7), ("EXPIRY", "OUT", -7)]
        assert len({row.id for row in rows}) == len(rows)
        assert sum(row.available_change for row in rows) == 0
