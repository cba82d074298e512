"""`make bench-ledger`: interleaved rounds of four sides, medians, and what the issue wants of their ratios."""

import argparse
import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.ledger.bank import Bank, opened_bank
from benchmarks.ledger.rounds import KINDS, Books, Round, run_round, storm
from benchmarks.ledger.sides import Side, Wallet
from benchmarks.report import Figure, at_least, plain, report

SINGLE_WANTED = 0.6
HOT_CLIENTS = 16
HOT_WANTED = 0.2
HOT_WANTED_OF_SERIALIZABLE = 2.0
STORM_WALLETS = 4

Found = dict[str, list[Round]]


@dataclass
class Bench:
    """One bank, and what went wrong at it: nothing may."""

    bank: Bank
    seconds: float
    rounds: int
    postgres: int
    books: Books = field(default_factory=Books)
    operations: int = 0
    refused: int = 0
    unbalanced: int = 0
    lost: int = 0

    async def run(self, clients: Sequence[int]) -> list[Figure]:
        """Every number of clients, at many wallets and at one; then a storm that makes the operations up to `least`."""
        figures: list[Figure] = []
        hot: dict[int, Found] = {}
        many: dict[int, Found] = {}
        for count in clients:
            many[count] = await self._compared(self.bank.wallets, count)
            hot[count] = await self._compared(self.bank.wallets[:1], count)
        for kind in KINDS:
            rates = {name: _median(found, kind) for name, found in many[min(clients)].items()}
            what = f"{kind}, {min(clients)} client, calls/s"
            figures += [
                at_least(f"{what}, {name}", rates["ours"], rate, SINGLE_WANTED if name == "bare function" else None)
                for name, rate in rates.items()
                if name != "ours"
            ]
        for count in clients:
            figures += _contended("many wallets", count, many[count])
            figures += _contended("one hot wallet", count, hot[count])
        at_once = HOT_CLIENTS if HOT_CLIENTS in hot else max(clients)
        ours = _rate(hot[at_once]["ours"])
        figures += [
            at_least(f"hot wallet, {at_once} clients, of uncontended", ours, _rate(many[at_once]["ours"]), HOT_WANTED),
            at_least(
                f"hot wallet, {at_once} clients, of SERIALIZABLE",
                ours,
                _rate(hot[at_once]["SERIALIZABLE"]),
                HOT_WANTED_OF_SERIALIZABLE,
            ),
        ]
        return figures

    async def storm(self, least: int, clients: int) -> list[Figure]:
        """Go on until so many operations were done, then say what was lost on the way."""
        if self.operations < least:
            wallets = self.bank.wallets[:STORM_WALLETS]
            done = await storm(self.bank.ours, wallets, self.books, clients=clients, operations=least - self.operations)
            await self._count(self.bank.ours, done)
        return [
            _none(f"deadlocks and lock timeouts in {self.operations:,} operations", self.refused),
            _none("allocations with a lost update", self.lost),
            _none("rounds after which the identity did not hold", self.unbalanced),
        ]

    async def _compared(self, wallets: Sequence[Wallet], clients: int) -> Found:
        sides: list[Side] = [self.bank.ours, *self.bank.peers]
        found: Found = {side.name: [] for side in sides}
        for number in range(-1, self.rounds):  # the first is not measured: each connection plans its statements once
            if number == 0:
                await self.bank.analyze()
            for side in sides:
                done = await run_round(
                    side,
                    wallets,
                    self.books,
                    clients=clients,
                    seconds=self.seconds,
                    seed=number,
                    postgres=self.postgres,
                )
                if number >= 0:
                    found[side.name].append(done)
                await self._count(side, done)
        return found

    async def _count(self, side: Side, done: Round) -> None:
        """After each round: every balance is what the clients were told, and ours obeys its identity."""
        lost = await self.books.differences(side)
        if side is not self.bank.ours:
            assert not lost, f"{side.name} lost updates: it is no peer"
            return
        self.operations += done.operations
        self.refused += done.refused
        self.lost = max(self.lost, lost)
        self.unbalanced += not await self.bank.ours.balances()


def _contended(where: str, clients: int, found: Found) -> list[Figure]:
    ours = found.pop("ours")
    figures = [
        at_least(f"{where}, {clients} clients, operations/s, {name}", _rate(ours), _rate(rounds))
        for name, rounds in found.items()
    ]
    cpu = statistics.median(each.cpu_ms for each in ours)
    bare = statistics.median(each.cpu_ms for each in found["bare function"])
    found["ours"] = ours
    return [*figures, plain(f"{where}, {clients} clients, database CPU ms, bare function", cpu, bare)]


def _none(figure: str, count: int) -> Figure:
    """Something of which there may be none."""
    return Figure(figure, count, 0, None, 0, count == 0)


def _rate(rounds: Sequence[Round]) -> float:
    return statistics.median(each.rate for each in rounds)


def _median(rounds: Sequence[Round], kind: str) -> float:
    return statistics.median(each.rate_of(kind) for each in rounds)


async def main(arguments: Sequence[str] | None = None) -> bool:
    """Open a bank, compare, report; whether all that is wanted holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 16, 64])
    parser.add_argument("--wallets", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--operations", type=int, default=100_000, help="ours in all, the storm at the end included")
    parser.add_argument("--volatile", action="store_true", help="commits do not wait for the disk")
    given = parser.parse_args(arguments)
    async with opened_bank(given.wallets, max(given.clients), durable=not given.volatile) as bank:
        assert bank.server.pid is not None, "the database runs"
        bench = Bench(bank, given.seconds, given.rounds, bank.server.pid)
        figures = await bench.run(given.clients)
        figures += await bench.storm(given.operations, max(given.clients))
        retries = {side.name: side.retries for side in bank.peers if side.retries}
    commits = "do not wait" if given.volatile else "wait"
    notes = [
        f"{given.wallets} wallets; {given.rounds} rounds of {given.seconds} s; one process is all of the clients",
        f"commits {commits} for the disk",
        f"repeated after a serialisation failure: {retries or 'nothing'}",
    ]
    return report("ledger", figures, notes=notes)


if __name__ == "__main__":
    asyncio.run(main())
