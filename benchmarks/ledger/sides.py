"""Four ways to move the same credits; each operation is one transaction through the product's own `Database`.

So all of them pay alike for the session, the connection and the commit, and differ in what they say to PostgreSQL.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.clock import new_id
from guildhall.db.transaction import Database, DatabaseBusy
from marketplace import ledger
from marketplace.identity import check_ledger
from marketplace.ledger import HoldEnd

AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
UNTIL = AT + timedelta(days=1)
REVENUE = UUID("00000000-0000-7000-8000-000000000002")
RETRIES_MAX = 10_000


@dataclass(frozen=True)
class Wallet:
    """A team's one allocation."""

    team: UUID
    programme: UUID
    allocation: UUID


@dataclass(frozen=True)
class Held:
    """A hold that waits for its end."""

    wallet: Wallet
    hold: UUID
    pending: UUID
    credits: int


class Side(Protocol):
    """One of the four. A refusal is raised: nothing here is expected to be refused."""

    name: str
    schema: str
    database: Database
    retries: int

    async def hold(self, wallet: Wallet, credits: int) -> Held:
        """Reserve."""

    async def end(self, held: Held, captured: int) -> int:
        """Charge so much and release the rest; all of it for zero. Answers what was charged."""


class Ours:
    """The calls that the product makes: `place_hold`, `settle_holds` with one hold, `void_hold`."""

    name = "ours"
    schema = "public"
    retries = 0

    def __init__(self, database: Database) -> None:
        self.database = database

    async def hold(self, wallet: Wallet, credits: int) -> Held:
        """As when a quote is accepted."""
        hold_id = new_id()
        async with self.database.transaction() as session:
            await ledger.place_hold(
                session,
                hold_id=hold_id,
                team_id=wallet.team,
                programme_id=wallet.programme,
                credits=credits,
                job_id=None,
                at=AT,
                expires_at=UNTIL,
                key=f"hold {hold_id}",
            )
        return Held(wallet, hold_id, hold_id, credits)

    async def end(self, held: Held, captured: int) -> int:
        """As when a job has ended, or never began."""
        async with self.database.transaction() as session:
            if captured:
                end = HoldEnd(hold_id=held.hold, captured=captured, key=f"end {held.hold}", reason="Charged.")
                await ledger.settle_holds(session, [end], at=AT)
            else:
                await ledger.void_hold(session, hold_id=held.hold, at=AT, key=f"end {held.hold}")
        return captured

    async def end_together(self, ends: Sequence[tuple[Held, int]]) -> None:
        """As a worker does that finds many jobs ended."""
        settled = [
            HoldEnd(hold_id=held.hold, captured=captured or None, key=f"end {held.hold}", reason="Charged.")
            for held, captured in ends
        ]
        async with self.database.transaction() as session:
            await ledger.settle_holds(session, settled, at=AT)

    async def balances(self) -> bool:
        """The identity of every allocation, and the sum of all postings."""
        async with self.database.read() as session:
            return (await check_ledger(session)).balances


class Bare:
    """A function that writes the same rows and checks nothing."""

    name = "bare function"
    schema = "bare"
    retries = 0

    def __init__(self, database: Database) -> None:
        self.database = database

    async def hold(self, wallet: Wallet, credits: int) -> Held:
        """Four rows."""
        held = Held(wallet, new_id(), new_id(), credits)
        await self._call(
            "place_hold(:key, :hold, :transfer, :allocation, :team, :programme, :credits, :at, :until, :reason)",
            key=f"hold {held.hold}",
            hold=held.hold,
            transfer=held.pending,
            allocation=wallet.allocation,
            team=wallet.team,
            programme=wallet.programme,
            credits=credits,
            at=AT,
            until=UNTIL,
            reason="Held for a job.",
        )
        return held

    async def end(self, held: Held, captured: int) -> int:
        """Four rows."""
        await self._call(
            "resolve_hold(:key, :hold, :pending, :transfer, :allocation, :credits, :captured, :at, :reason)",
            key=f"end {held.hold}",
            hold=held.hold,
            pending=held.pending,
            transfer=new_id(),
            allocation=held.wallet.allocation,
            credits=held.credits,
            captured=captured,
            at=AT,
            reason="Charged.",
        )
        return captured

    async def _call(self, call: str, **values: object) -> None:
        async with self.database.transaction() as session:
            (await session.execute(text(f"SELECT {self.schema}.{call}"), values)).scalar_one()


class FourStatements:
    """A client that reads, decides and writes by itself: under a lock, or under SERIALIZABLE with repetition."""

    def __init__(self, name: str, schema: str, database: Database, *, serializable: bool) -> None:
        self.name = name
        self.schema = schema
        self.retries = 0
        self.database = database
        if serializable:
            self.database = Database(database.engine.execution_options(isolation_level="SERIALIZABLE"))
        self._lock = "" if serializable else "FOR NO KEY UPDATE"

    async def hold(self, wallet: Wallet, credits: int) -> Held:
        """Look, hold, transfer, balance."""
        held = Held(wallet, new_id(), new_id(), credits)
        await self._repeat(self._hold, held, 0)
        return held

    async def end(self, held: Held, captured: int) -> int:
        """Look, transfer, resolution, balance."""
        await self._repeat(self._end, held, captured)
        return captured

    async def _repeat(self, statements: Any, held: Held, captured: int) -> None:
        for _ in range(RETRIES_MAX):
            try:
                async with self.database.transaction() as session:
                    await statements(session, held, captured)
            except DatabaseBusy:
                self.retries += 1
            else:
                return
        raise AssertionError(f"{self.name}: no success in {RETRIES_MAX} tries")

    async def _hold(self, session: AsyncSession, held: Held, _captured: int) -> None:
        found = await self._balance(session, held)
        assert found.remaining >= held.credits, "the wallets are deep"
        await self._write(
            session,
            "INSERT INTO {schema}.holds (id, team_id, programme_id, credits, placed_at, expires_at)"
            " VALUES (:hold, :team, :programme, :credits, :at, :until)",
            hold=held.hold,
            team=held.wallet.team,
            programme=held.wallet.programme,
            credits=held.credits,
            at=AT,
            until=UNTIL,
        )
        await self._transfer(session, held, ("HOLD", "PENDING", held.credits), held.pending, None, found.version)
        await self._update(session, held, found, held=held.credits, captured=0)

    async def _end(self, session: AsyncSession, held: Held, captured: int) -> None:
        found = await self._balance(session, held)
        move = ("CAPTURE", "POSTED", captured) if captured else ("RELEASE", "VOIDED", held.credits)
        await self._transfer(session, held, move, new_id(), held.pending, found.version)
        await self._write(
            session,
            "INSERT INTO {schema}.hold_resolutions (hold_id, phase, captured, released, expired, reason, resolved_at)"
            " VALUES (:hold, :phase, :captured, :released, 0, :reason, :at)",
            hold=held.hold,
            phase=move[1],
            captured=captured,
            released=held.credits - captured,
            reason="Charged.",
            at=AT,
        )
        await self._update(session, held, found, held=-held.credits, captured=captured)

    async def _balance(self, session: AsyncSession, held: Held) -> Any:
        statement = f"SELECT version, held, captured, remaining FROM {self.schema}.balances WHERE account_id = :id"  # noqa: S608 -- one of our two words
        return (await session.execute(text(f"{statement} {self._lock}"), {"id": held.wallet.allocation})).one()

    async def _transfer(
        self,
        session: AsyncSession,
        held: Held,
        move: tuple[str, str, int],
        transfer: UUID,
        pending: UUID | None,
        version: int,
    ) -> None:
        await self._write(
            session,
            "INSERT INTO {schema}.transfers (id, occurred_at, kind, phase, from_account_id, to_account_id, credits,"
            " pending_id, pending_credits, hold_id, reason, from_version) VALUES (:id, :at, :kind, :phase, :source,"
            " :target, :credits, :pending, :pending_credits, :hold, :reason, :version)",
            id=transfer,
            at=AT,
            kind=move[0],
            phase=move[1],
            source=held.wallet.allocation,
            target=REVENUE,
            credits=move[2],
            pending=pending,
            pending_credits=None if pending is None else held.credits,
            hold=held.hold,
            reason="Charged.",
            version=version + 1,
        )

    async def _update(self, session: AsyncSession, of: Held, found: Any, *, held: int, captured: int) -> None:
        """Absolute figures, as a client writes them that has decided on what it read."""
        await self._write(
            session,
            "UPDATE {schema}.balances SET version = :version, held = :held, captured = :captured"
            " WHERE account_id = :id",
            version=found.version + 1,
            held=found.held + held,
            captured=found.captured + captured,
            id=of.wallet.allocation,
        )

    async def _write(self, session: AsyncSession, statement: str, **values: object) -> None:
        await session.execute(text(statement.format(schema=self.schema)), values)
