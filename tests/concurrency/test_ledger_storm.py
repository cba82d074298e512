"""Many clients at one hot wallet: nothing is lost, nothing is found, nobody deadlocks."""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from guildhall.clock import new_id
from guildhall.db.transaction import Database
from marketplace import ledger
from marketplace.ledger import Hold
from marketplace.ledger_refusals import InsufficientCredits
from marketplace.views import FIGURES
from tests.marketplace.bank import CREDIT, DAY, START, Bank

CLIENTS = 16


@dataclass
class Books:
    """What the clients did, kept beside the database and without it; one process, so no lock is needed."""

    allocations: list[UUID]
    figures: dict[UUID, dict[str, int]] = field(default_factory=dict)
    operations: int = 0
    refused: int = 0

    def add(self, allocation_id: UUID, **changes: int) -> None:
        account = self.figures.setdefault(allocation_id, dict.fromkeys(FIGURES, 0))
        for figure, change in changes.items():
            account[figure] += change


@dataclass
class Client:
    """One client: places holds and resolves them again, in an order of its own."""

    bank: Bank
    books: Books
    chance: random.Random
    held: list[Hold] = field(default_factory=list)

    async def run(self, operations: int) -> None:
        for _ in range(operations):
            await self.step()
            self.books.operations += 1
        while self.held:
            await self.resolve(self.held.pop())

    async def step(self) -> None:
        move = self.chance.random()
        if self.held and move < 0.45:
            await self.resolve(self.held.pop(self.chance.randrange(len(self.held))))
        elif move < 0.9:
            await self.place()
        else:
            await self.give_back()

    async def place(self) -> None:
        try:
            hold = await self.bank.hold(self.chance.randint(1, 30 * CREDIT))
        except InsufficientCredits:
            self.books.refused += 1
            return
        self.held.append(hold)
        for part in hold.parts:
            self.books.add(part.allocation_id, held=part.credits, remaining=-part.credits)

    async def resolve(self, hold: Hold) -> None:
        if self.chance.random() < 0.3:
            await self.bank.void(hold.id, at=START)
            captured = 0
        else:
            captured = self.chance.randint(0, hold.credits)
            await self.bank.settle(hold.id, captured, at=START)
        refunded = captured and self.chance.random() < 0.2
        left = captured
        for part in hold.parts:
            taken = min(left, part.credits)
            left -= taken
            self.books.add(part.allocation_id, held=-part.credits, captured=taken, remaining=part.credits - taken)
        if refunded:
            paid_last = [
                part for part in hold.parts if captured > sum(p.credits for p in hold.parts[: hold.parts.index(part)])
            ][-1]
            await self.bank.do(
                ledger.refund, hold_id=hold.id, credits=1, reason="storm", at=START, key=f"refund {hold.id}"
            )
            self.books.add(paid_last.allocation_id, captured=-1, remaining=1)

    async def give_back(self) -> None:
        source = self.chance.choice(self.books.allocations)
        amount = self.chance.randint(1, CREDIT)
        values: dict[str, Any] = {
            "allocation_id": source,
            "credits": amount,
            "reason": "storm",
            "at": START,
            "key": f"move {new_id()}",
        }
        try:
            if self.chance.random() < 0.5:
                await self.bank.do(ledger.return_credits, **values)
                self.books.add(source, returned=amount, remaining=-amount)
            else:
                target = await self.bank.do(ledger.send_credits, to_team_id=self.bank.other, **values)
                self.books.add(source, sent=amount, remaining=-amount)
                self.books.add(target, received=amount, remaining=amount)
        except InsufficientCredits:
            self.books.refused += 1


async def storm(database: Database, operations: int) -> Books:
    """Clients share one wallet of three allocations that runs dry now and then; afterwards the books must agree."""
    bank = await Bank(database).open()
    books = Books([await bank.give(500 * CREDIT, days=days) for days in (5, 10, 20)])
    for allocation in books.allocations:
        books.add(allocation, allocated=500 * CREDIT, remaining=500 * CREDIT)
    clients = [Client(bank, books, random.Random(seed)) for seed in range(CLIENTS)]
    await asyncio.gather(*(client.run(operations // CLIENTS) for client in clients))
    figures = {each.allocation_id: each for each in await bank.assert_balanced()}
    assert {key: {name: getattr(figures[key], name) for name in FIGURES} for key in books.figures} == books.figures
    assert all(account["held"] == 0 for account in books.figures.values())
    expired = await bank.do(ledger.expire_allocations, at=START + 30 * DAY)
    assert {each.allocation_id: each.credits for each in expired} == {
        key: account["remaining"] for key, account in books.figures.items() if account["remaining"]
    }
    await bank.assert_balanced()
    return books


class TestHotWallet:
    async def test_two_thousand_operations(self, fresh_database: Database) -> None:
        books = await storm(fresh_database, 2_000)
        assert books.operations == 2_000
        assert books.refused, "the wallet never ran dry: the storm shows less than it should"

    @pytest.mark.long
    async def test_a_hundred_thousand_operations(self, fresh_database: Database) -> None:
        books = await storm(fresh_database, 100_000)
        assert books.operations == 100_000
