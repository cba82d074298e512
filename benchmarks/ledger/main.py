"""`make bench-ledger`: interleaved rounds of four sides, medians, and what the issue wants of their ratios."""

import argparse
import asyncio
import signal
import statistics
import sys
import time
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
STORM_OPERATIONS = 10_000

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
    many: dict[int, Found] = field(default_factory=dict)
    hot: dict[int, Found] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    async def run(self, clients: Sequence[int]) -> None:
        """Every number of clients, at many wallets and at one."""
        for count in clients:
            self.many[count] = await self._compared(self.bank.wallets, count)
            self._tell(f"many wallets, {count} clients", self.many[count])
            self.hot[count] = await self._compared(self.bank.wallets[:1], count)
            self._tell(f"one hot wallet, {count} clients", self.hot[count])

    def figures(self) -> list[Figure]:
        """Of what was compared until now."""
        figures: list[Figure] = []
        for kind in KINDS if self.many else ():
            rates = {name: _median(found, kind) for name, found in self.many[min(self.many)].items()}
            what = f"{kind}, {min(self.many)} client, calls/s"
            figures += [
                at_least(f"{what}, {name}", rates["ours"], rate, SINGLE_WANTED if name == "bare function" else None)
                for name, rate in rates.items()
                if name != "ours"
            ]
        for count in self.many:
            figures += _contended("many wallets", count, self.many[count])
            figures += _contended("one hot wallet", count, self.hot[count]) if count in self.hot else []
        if self.hot:
            at_once = HOT_CLIENTS if HOT_CLIENTS in self.hot else max(self.hot)
            what = f"hot wallet, {at_once} clients"
            ours, serial = (_rate(self.hot[at_once][name]) for name in ("ours", "SERIALIZABLE"))
            figures += [
                at_least(f"{what}, of uncontended", ours, _rate(self.many[at_once]["ours"]), HOT_WANTED),
                at_least(f"{what}, of SERIALIZABLE", ours, serial, HOT_WANTED_OF_SERIALIZABLE),
            ]
        return [
            *figures,
            _none(f"deadlocks and lock timeouts in {self.operations:,} operations", self.refused),
            _none("allocations with a lost update", self.lost),
            _none("rounds after which the identity did not hold", self.unbalanced),
        ]

    async def storm(self, least: int, clients: int) -> None:
        """Go on until so many operations were done, and look at the books in between."""
        wallets = self.bank.wallets[:STORM_WALLETS]
        while self.operations < least:
            most = min(least - self.operations, STORM_OPERATIONS)
            done = await storm(
                self.bank.ours, wallets, self.books, clients=clients, operations=most, seed=self.operations
            )
            await self._count(self.bank.ours, done)
            self._say(f"{self.operations:,} operations; {done.rate:,.0f}/s, {clients} clients, many holds a call")

    def _tell(self, what: str, found: Found) -> None:
        self._say(f"{what}: " + ", ".join(f"{name} {_rate(rounds):,.0f}/s" for name, rounds in found.items()))

    def _say(self, what: str) -> None:
        """For whoever waits: a table comes at the end alone."""
        print(f"{time.perf_counter() - self.began:4.0f} s  {what}", file=sys.stderr, flush=True)

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
        whole = await _until_told_to_stop(bench, given)
        retries = {side.name: side.retries for side in bank.peers if side.retries}
    commits = "do not wait" if given.volatile else "wait"
    notes = [
        f"{given.wallets} wallets; {given.rounds} rounds of {given.seconds} s; one process is all of the clients",
        f"commits {commits} for the disk",
        f"repeated after a serialisation failure: {retries or 'nothing'}",
        f"{time.perf_counter() - bench.began:,.0f} s in all" + ("" if whole else ", stopped before the end"),
    ]
    return report("ledger", bench.figures(), notes=notes, whole=whole)


async def _until_told_to_stop(bench: Bench, given: argparse.Namespace) -> bool:
    """Whether it came to the end: Ctrl-C and SIGTERM leave what was found until then."""
    running = asyncio.create_task(_everything(bench, given))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    try:
        await asyncio.wait([running])
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    if running.cancelled():
        return False
    running.result()
    return True


async def _everything(bench: Bench, given: argparse.Namespace) -> None:
    await bench.run(given.clients)
    await bench.storm(given.operations, max(given.clients))


if __name__ == "__main__":
    asyncio.run(main())
