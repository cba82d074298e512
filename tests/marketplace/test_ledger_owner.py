"""What the owner of the tables cannot do by a slip in a migration either."""

import asyncpg
import pytest

from guildhall.clock import new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from marketplace.tables import TREASURY_ID
from tests.marketplace.bank import CREDIT, DAY, START, Bank

OWNERS_RULE = r"a record|a balance|placed whole|a transfer reaches|not_negative"
LEDGER_TABLES = ("transfers", "balances", "accounts", "allocations", "holds", "hold_resolutions", "ledger_operations")


class TestTheOwner:
    """Migrations run as the owner; a slip of theirs is refused as well, at the latest at commit."""

    async def attempt(self, server: EmbeddedServer, bank: Bank, *statements: str) -> None:
        before = await bank.state()
        connection = await server.connect(OWNER_ROLE, bank.database.engine.url.database or "")

        async def run() -> None:
            async with connection.transaction():
                for statement in statements:
                    await connection.execute(statement)

        try:
            with pytest.raises(asyncpg.PostgresError, match=OWNERS_RULE):
                await run()
        finally:
            await connection.close()
        assert await bank.state() == before

    @pytest.mark.parametrize("table", LEDGER_TABLES)
    async def test_removes_nothing(self, server: EmbeddedServer, bank: Bank, table: str) -> None:
        await bank.hold_and_settle()
        await self.attempt(server, bank, f"DELETE FROM {table}")
        await self.attempt(server, bank, f"TRUNCATE {table} CASCADE")

    @pytest.mark.parametrize("table", [table for table in LEDGER_TABLES if table != "balances"])
    async def test_changes_no_record(self, server: EmbeddedServer, bank: Bank, table: str) -> None:
        column = {"ledger_operations": "key", "hold_resolutions": "hold_id"}.get(table, "id")
        await self.attempt(server, bank, f"UPDATE {table} SET {column} = {column}")

    @pytest.mark.parametrize(
        "change",
        [
            "allocated = allocated + 1",
            "allocated = allocated + 1, version = version + 1",
            "held = held + 1, version = version + 1",
            "allocated = allocated + 1, captured = captured + 1, version = version + 2",
            "version = version + 1",
            "version = version",
            "sent = -1, version = version + 1",
        ],
    )
    async def test_edits_no_balance_without_a_transfer(self, server: EmbeddedServer, bank: Bank, change: str) -> None:
        allocation = await bank.give(CREDIT)
        await self.attempt(server, bank, f"UPDATE balances SET {change} WHERE account_id = '{allocation}'")

    async def test_applies_no_transfer_twice(self, server: EmbeddedServer, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        insert = (
            "INSERT INTO transfers (id, occurred_at, kind, phase, from_account_id, to_account_id, credits, reason)"
            f" VALUES ('{new_id()}', '{START}', 'ALLOCATION', 'POSTED', '{TREASURY_ID}', '{allocation}', 1, 'x')"
        )
        again = f"UPDATE balances SET allocated = allocated + 1 WHERE account_id = '{allocation}'"
        await self.attempt(server, bank, insert, again)
        counted = (
            f"UPDATE balances SET allocated = allocated + 1, version = version + 1 WHERE account_id = '{allocation}'"
        )
        await self.attempt(server, bank, insert, counted)

    async def test_opens_no_balance_that_is_not_zero(self, server: EmbeddedServer, bank: Bank) -> None:
        allocation = new_id()
        await self.attempt(
            server,
            bank,
            f"INSERT INTO accounts VALUES ('{allocation}', 'ALLOCATION')",
            "INSERT INTO allocations (id, team_id, programme_id, valid_from, valid_to, reason, created_at)"
            f" VALUES ('{allocation}', '{bank.team}', '{bank.programme}', '{START}', '{START + DAY}', 'x', '{START}')",
            f"INSERT INTO balances VALUES ('{allocation}', 0, 1, 0, 0, 0, 0, 0, 0)",
        )

    async def test_keeps_no_transfer_from_its_balance(self, server: EmbeddedServer, bank: Bank) -> None:
        allocation = await bank.give(CREDIT)
        await self.attempt(
            server,
            bank,
            "ALTER TABLE transfers DISABLE TRIGGER transfers_apply",
            "INSERT INTO transfers (id, occurred_at, kind, phase, from_account_id, to_account_id, credits, reason)"
            f" VALUES ('{new_id()}', '{START}', 'ALLOCATION', 'POSTED', '{TREASURY_ID}', '{allocation}', 1, 'x')",
        )

    async def test_opens_no_account_of_another_kind(self, server: EmbeddedServer, bank: Bank) -> None:
        connection = await server.connect(OWNER_ROLE, bank.database.engine.url.database or "")
        try:
            for kind in ("TREASURY", "GIFT"):
                with pytest.raises(asyncpg.CheckViolationError):
                    await connection.execute(f"INSERT INTO accounts VALUES ('{new_id()}', '{kind}')")
        finally:
            await connection.close()
