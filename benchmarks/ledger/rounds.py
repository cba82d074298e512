"""Clients that hold and end holds as fast as they are answered, and books of what they were told was done."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

import psutil
from sqlalchemy import text

from benchmarks.ledger.sides import Ours, Side, Wallet
from benchmarks.processes import cpu_seconds
from guildhall.db.transaction import DatabaseBusy

CREDITS_MAX = 50_000_000
TOGETHER_MAX = 8
KINDS = ("hold", "capture", "release")

Answer = TypeVar("Answer")


@dataclass
class Round:
    """What one side did in one round: calls by kind, the time that each kind took, and what the database spent."""

    seconds: float = 0.0
    database_cpu_seconds: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)
    took: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    refused: int = 0

    @property
    def operations(self) -> int:
        """All calls that were done."""
        return sum(self.calls.values())

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.operations / self.seconds

    def rate_of(self, kind: str) -> float:
        """Calls of one kind a second of their own time: what one client gets."""
        return self.calls[kind] / self.took[kind]

    @property
    def cpu_ms(self) -> float:
        """What PostgreSQL spent on one, in milliseconds of CPU."""
        return 1000 * self.database_cpu_seconds / self.operations


class Books:
    """What each allocation was charged, kept beside the database and without it, for each side."""

    def __init__(self) -> None:
        self.captured: dict[str, Counter[UUID]] = {}

    def charge(self, side: Side, wallet: Wallet, credits: int) -> None:
        """The side has said that this was charged."""
        self.captured.setdefault(side.schema, Counter())[wallet.allocation] += credits

    async def differences(self, side: Side) -> int:
        """Allocations whose balance row says otherwise, or still has something held: lost updates."""
        statement = f"SELECT account_id, captured, held FROM {side.schema}.balances"  # noqa: S608 -- our own words
        async with side.database.read() as session:
            rows = (await session.execute(text(statement))).all()
        expected = self.captured.get(side.schema, Counter())
        return sum(1 for row in rows if row.captured != expected[row.account_id] or row.held != 0)


async def run_round(
    side: Side, wallets: Sequence[Wallet], books: Books, *, clients: int, seconds: float, seed: int, postgres: int
) -> Round:
    """So many clients at the wallets for so long; each ends every hold that it placed."""
    done = Round()
    process = psutil.Process(postgres)
    spent = cpu_seconds(process)
    began = time.perf_counter()
    await asyncio.gather(
        *(
            _Client(side, wallets, books, done, _chance(seed * 1_000 + number)).run(began + seconds)
            for number in range(clients)
        )
    )
    done.seconds = time.perf_counter() - began
    done.database_cpu_seconds = cpu_seconds(process) - spent
    return done


@dataclass
class _Client:
    side: Side
    wallets: Sequence[Wallet]
    books: Books
    done: Round
    chance: random.Random

    async def run(self, ends_at: float) -> None:
        captures = True
        while True:
            await self._cycle(captures=captures)
            captures = not captures
            if time.perf_counter() >= ends_at:
                return

    async def _cycle(self, *, captures: bool) -> None:
        """One hold and its end, in turns charged in part and released."""
        wallet = self.chance.choice(self.wallets)
        credits = self.chance.randint(2, CREDITS_MAX)
        captured = self.chance.randint(1, credits) if captures else 0
        held = await self._timed("hold", self.side.hold(wallet, credits))
        if held is None:
            return
        charged = await self._timed("capture" if captured else "release", self.side.end(held, captured))
        self.books.charge(self.side, wallet, charged or 0)

    async def _timed(self, kind: str, call: Awaitable[Answer]) -> Answer | None:
        began = time.perf_counter()
        try:
            answer = await call
        except DatabaseBusy:
            self.done.refused += 1  # a deadlock, or a lock that was waited for too long: neither may be
            return None
        self.done.took[kind] += time.perf_counter() - began
        self.done.calls[kind] += 1
        return answer


async def storm(
    ours: Ours, wallets: Sequence[Wallet], books: Books, *, clients: int, operations: int, seed: int
) -> Round:
    """Clients that hold at a few wallets and end up to eight holds in one call, in any order, as workers do."""
    done = Round()
    began = time.perf_counter()

    async def one(chance: random.Random) -> None:
        while done.operations < operations:
            held = []
            for _ in range(chance.randint(1, TOGETHER_MAX)):
                try:
                    held.append(await ours.hold(chance.choice(wallets), chance.randint(2, CREDITS_MAX)))
                except DatabaseBusy:
                    done.refused += 1
            if not held:
                continue
            ends = [(each, chance.choice((0, chance.randint(1, each.credits)))) for each in held]
            chance.shuffle(ends)
            try:
                await ours.end_together(ends)
            except DatabaseBusy:
                done.refused += 1
                continue
            done.calls["storm"] += 2 * len(ends)
            for each, captured in ends:
                books.charge(ours, each.wallet, captured)

    await asyncio.gather(*(one(_chance(seed + number)) for number in range(clients)))
    done.seconds = time.perf_counter() - began
    return done


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 -- amounts and wallets, the same in each run
