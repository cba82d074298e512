"""A bank for the ledger's tests: teams and a programme in a real database, and short ways to move credits.

Every call is a transaction of its own that truly commits, so deferred constraints are checked each time.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import DBAPIError

from guildhall.auth.tables import Team
from guildhall.clock import new_id
from guildhall.db.transaction import Database, WriteSession
from marketplace import ledger
from marketplace.identity import AllocationFigures, check_ledger, figures_of_allocations
from marketplace.ledger import Hold, HoldEnd, Settlement
from marketplace.tables import Balance, Programme, Transfer
from marketplace.views import FIGURES

Answer = TypeVar("Answer")

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)
CREDIT = 1_000_000
RULE_BROKEN = (
    r"violates (check|not-null|unique|foreign key)|a hold|a refund|only a pending|credits (keep|expire)|a transfer"
    r"|phase, sides"
)
"""A rule of the ledger spoke, and not a mistake in the statement."""


async def settle_hold(session: WriteSession, *, hold_id: UUID, captured: int, at: datetime, key: str) -> Settlement:
    """One hold, charged by the call that settles many."""
    end = HoldEnd(hold_id=hold_id, captured=captured, key=key, reason="Charged for what was used.")
    (settled,) = await ledger.settle_holds(session, [end], at=at)
    return settled


class Bank:
    """The ledger of one test; `team` and `other` are teams, `programme` is what credits are for."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.team = new_id()
        self.other = new_id()
        self.programme = new_id()

    async def open(self) -> "Bank":
        self.team = await self.new_team()
        self.other = await self.new_team()
        await self.new_programme(self.programme)
        return self

    async def new_team(self) -> UUID:
        team_id = new_id()
        values = {"name": f"team-{team_id.hex[-12:]}", "title": "A team", "created_at": START}
        async with self.database.transaction() as session:
            await session.execute(insert(Team).values(id=team_id, **values))
        return team_id

    async def new_programme(self, programme_id: UUID) -> UUID:
        values = {
            "name": f"p-{programme_id.hex[-12:]}",
            "title": "A programme",
            "strategic_class": "A",
            "created_at": START,
        }
        async with self.database.transaction() as session:
            await session.execute(insert(Programme).values(id=programme_id, **values))
        return programme_id

    async def do(self, operation: Callable[..., Awaitable[Answer]], **values: Any) -> Answer:
        async with self.database.transaction() as session:
            return await operation(session, **values)

    async def give(
        self,
        credits: int,
        *,
        days: int = 10,
        team: UUID | None = None,
        programme: UUID | None = None,
        since: datetime = START,
        allocation_id: UUID | None = None,
        key: str | None = None,
        reason: str = "a test",
    ) -> UUID:
        allocation_id = allocation_id or new_id()
        return await self.do(
            ledger.allocate,
            allocation_id=allocation_id,
            team_id=team or self.team,
            programme_id=programme or self.programme,
            credits=credits,
            valid_from=since,
            valid_to=since + days * DAY,
            reason=reason,
            at=START,
            key=key or f"give {allocation_id}",
        )

    async def hold(
        self,
        credits: int,
        *,
        at: datetime = START,
        key: str | None = None,
        job: UUID | None = None,
        team: UUID | None = None,
        hold_id: UUID | None = None,
        expires_at: datetime = START + DAY,
    ) -> Hold:
        hold_id = hold_id or new_id()
        return await self.do(
            ledger.place_hold,
            hold_id=hold_id,
            team_id=team or self.team,
            programme_id=self.programme,
            credits=credits,
            job_id=job,
            at=at,
            expires_at=expires_at,
            key=key or f"hold {hold_id}",
        )

    async def settle(
        self, hold_id: UUID, captured: int, *, at: datetime = START + DAY, key: str | None = None
    ) -> Settlement:
        return await self.do(settle_hold, hold_id=hold_id, captured=captured, at=at, key=key or f"settle {new_id()}")

    async def void(self, hold_id: UUID, *, at: datetime = START + DAY, key: str | None = None) -> Settlement:
        return await self.do(ledger.void_hold, hold_id=hold_id, at=at, key=key or f"void {new_id()}")

    async def figures(self, allocation_id: UUID) -> dict[str, int]:
        """The balance row's figures that are not zero."""
        async with self.database.read() as session:
            row = (await session.scalars(select(Balance).where(Balance.account_id == allocation_id))).one()
        return {figure: getattr(row, figure) for figure in FIGURES if getattr(row, figure)}

    async def transfers(self, hold_id: UUID) -> list[tuple[str, str, int]]:
        """Kind, phase and credits of a hold's transfers, in the order of their versions."""
        async with self.database.read() as session:
            rows = await session.execute(
                select(Transfer.kind, Transfer.phase, Transfer.credits)
                .where(Transfer.hold_id == hold_id)
                .order_by(Transfer.from_account_id, Transfer.from_version, Transfer.to_version)
            )
        return [(row.kind, row.phase, row.credits) for row in rows]

    async def state(self) -> list[tuple[Any, ...]]:
        """All that the ledger holds, to prove that nothing changed."""
        tables = ("transfers", "balances", "holds", "hold_resolutions", "ledger_operations", "allocations", "accounts")
        async with self.database.read() as session:
            return [
                tuple((await session.execute(text(f"SELECT {table}::text FROM {table} ORDER BY 1"))).scalars())
                for table in tables
            ]

    async def assert_balanced(self) -> list[AllocationFigures]:
        """Zero sum, and every allocation's identity, recomputed from the transfers."""
        async with self.database.read() as session:
            check = await check_ledger(session)
            figures = list(await figures_of_allocations(session))
        assert check.balances, check
        assert check.postings_sum == 0
        for each in figures:
            used = each.captured + each.held + each.expired + each.returned + each.sent + each.remaining
            assert each.allocated + each.received == used
            assert min(getattr(each, figure) for figure in FIGURES) >= 0
        return figures

    async def pending(self, hold_id: UUID, *, kind: str = "HOLD") -> UUID:
        """The one transfer of that kind that a hold has."""
        async with self.database.read() as session:
            return (
                await session.scalars(select(Transfer.id).where(Transfer.hold_id == hold_id, Transfer.kind == kind))
            ).one()

    async def hold_and_settle(self) -> Hold:
        """At least one row in each table."""
        await self.give(CREDIT)
        hold = await self.hold(CREDIT)
        await self.settle(hold.id, CREDIT // 2)
        return hold

    async def refuses(self, statement: str, values: dict[str, Any], *, match: str = RULE_BROKEN) -> None:
        """The statement is refused by the database, and nothing has changed."""
        before = await self.state()
        with pytest.raises(DBAPIError, match=match):
            await self.raw(statement, **values)
        assert await self.state() == before

    async def raw(self, *statements: str, **values: Any) -> None:
        """SQL as the service's role could send it, in one transaction that commits."""
        async with self.database.transaction() as session:
            for statement in statements:
                await session.execute(text(statement), values)
