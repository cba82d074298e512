"""`make bench-graphql`: interleaved rounds, medians, and what the issue wants of their ratios."""

import argparse
import asyncio
import os
import signal
import statistics
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.graphql import lasting
from benchmarks.graphql.answers import difference, without_cursors
from benchmarks.graphql.questions import DOCUMENTS, PAGE_SIZES, contract_document
from benchmarks.graphql.seeding import Seeded, seeded_server
from benchmarks.graphql.sides import CONNECTIONS, Side, opened_sides
from benchmarks.load import Loaded, drive
from benchmarks.processes import cpu_seconds
from benchmarks.report import Figure, at_least, plain, report

WANTED: dict[str, dict[int, float]] = {
    "limit": {1: 0.6, 20: 0.8, 50: 0.8, 100: 0.8, 1_000: 0.8},
    "postgraphile": {1: 0.6, 20: 1.1, 50: 1.5, 100: 1.6, 1_000: 2.5},
    "strawberry": {20: 12, 50: 12, 100: 12, 1_000: 12},
}


@dataclass(frozen=True)
class Round:
    """One side, one question, some seconds."""

    loaded: Loaded
    server_cpu_ms: float
    database_cpu_ms: float


class Bench:
    """The sides on one database, and how long each round lasts."""

    def __init__(self, seeded: Seeded, sides: dict[str, Side], *, seconds: float, rounds: int) -> None:
        assert seeded.server.pid is not None, "the database runs"
        self.sides = sides
        self._postgres = psutil.Process(seeded.server.pid)
        self._seconds = seconds
        self._rounds = rounds

    async def pages(self, size: int) -> list[Figure]:
        """A first page of that many models, five versions each."""
        await self._require_equal(size)
        bodies = {name: side.body(side.page, first=size) for name, side in self.sides.items()}
        rounds = await self._rounds_of(bodies)
        return _figures(f"page of {size}", rounds, {name: wanted.get(size) for name, wanted in WANTED.items()})

    async def document(self, name: str) -> list[Figure]:
        """A document of the contract, against the limit alone."""
        text, variables = contract_document(name), DOCUMENTS[name]
        sides = {each: self.sides[each] for each in ("ours", "limit")}
        answers = {each: await side.ask(text, **variables) for each, side in sides.items()}
        _require_same(answers, name)
        bodies = {each: side.body(text, **variables) for each, side in sides.items()}
        return _figures(name, await self._rounds_of(bodies), {"limit": WANTED["limit"][20]})

    async def _rounds_of(self, bodies: dict[str, bytes]) -> dict[str, list[Round]]:
        rounds: dict[str, list[Round]] = {name: [] for name in bodies}
        for name, body in bodies.items():  # a just-in-time compiler wants to see a question some thousand times
            await drive(name, self.sides[name].port, [body], self.sides[name].headers, seconds=self._seconds)
        for _ in range(self._rounds):
            for name, body in bodies.items():
                rounds[name].append(await self._round(self.sides[name], body))
        return rounds

    async def _round(self, side: Side, body: bytes) -> Round:
        await drive(side.name, side.port, [body], side.headers, seconds=0.3)
        began = cpu_seconds(side.process), cpu_seconds(self._postgres)
        loaded = await drive(side.name, side.port, [body], side.headers, seconds=self._seconds)
        server = cpu_seconds(side.process) - began[0]
        database = cpu_seconds(self._postgres) - began[1]
        return Round(loaded, 1000 * server / loaded.requests, 1000 * database / loaded.requests)

    async def _require_equal(self, size: int) -> None:
        """All sides give the same two pages; each cursor is its own side's, so the second page proves it."""
        answers: dict[str, Any] = {}
        for name, side in self.sides.items():
            first = await side.ask(side.page, first=size)
            cursor = first["models"]["pageInfo"]["endCursor"]
            second = await side.ask(side.page, first=size, after=cursor)
            answers[name] = [first, second]
        _require_same(answers, f"a page of {size}")


def _require_same(answers: dict[str, Any], what: str) -> None:
    """Nothing is timed that is not the same answer; cursors apart, which are each side's own."""
    plain = {name: without_cursors(answer) for name, answer in answers.items()}
    for name, answer in plain.items():
        assert answer == plain["ours"], f"{name} and ours differ at {what}: {difference(plain, name)}"


def _figures(what: str, rounds: dict[str, list[Round]], wanted: dict[str, float | None]) -> list[Figure]:
    medians = {name: _medians(found) for name, found in rounds.items()}
    ours = medians.pop("ours")
    figures = []
    for name, peers in medians.items():
        figures.append(
            at_least(f"{what}, requests/s, {name}", ours["requests/s"], peers["requests/s"], wanted.get(name))
        )
        figures.extend(
            plain(f"{what}, {value}, {name}", ours[value], peers[value]) for value in ours if value != "requests/s"
        )
    return figures


def _medians(rounds: list[Round]) -> dict[str, float]:
    return {
        "requests/s": statistics.median(each.loaded.rate for each in rounds),
        "p50 ms": statistics.median(each.loaded.p50_ms for each in rounds),
        "p99 ms": statistics.median(each.loaded.p99_ms for each in rounds),
        "bytes": statistics.median(each.loaded.bytes for each in rounds),
        "CPU ms a request, server": statistics.median(each.server_cpu_ms for each in rounds),
        "CPU ms a request, database": statistics.median(each.database_cpu_ms for each in rounds),
    }


async def main() -> None:
    """Seed, compare, report. Told to end, it ends all that it started."""
    task = asyncio.current_task()
    assert task is not None, "asyncio runs us as a task"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(PAGE_SIZES))
    parser.add_argument("--processes", type=int, choices=(1, 2, 4, 8), default=2, help="of each side (default: 2)")
    parser.add_argument("--grown", type=int, help="also a second organisation of so many models, such as 1000000")
    parser.add_argument("--long", action="store_true", help="also the memory after 100,000 requests")
    given = parser.parse_args()
    figures: list[Figure] = []
    notes = [
        f"{given.models:,} models; {given.rounds} rounds of {given.seconds} s",
        f"each side: {given.processes} processes, {CONNECTIONS} connections to the database in all",
        f"{os.cpu_count()} processors for the sides, the database and the load together",
    ]
    try:
        await measure(given, figures, notes)
    finally:  # what was measured in an hour is told, also where the last part of it was stopped
        report("graphql", figures, notes=notes)


async def measure(given: argparse.Namespace, figures: list[Figure], notes: list[str]) -> None:
    """Add each figure as soon as it is known."""
    async with seeded_server(given.models) as seeded, opened_sides(seeded, given.processes) as (sides, missing):
        notes += missing
        bench = Bench(seeded, sides, seconds=given.seconds, rounds=given.rounds)
        for size in given.sizes:
            figures += await bench.pages(size)
        for name in DOCUMENTS:
            figures += await bench.document(name)
        figures += await lasting.deep_pages(sides["ours"], seconds=given.seconds, rounds=given.rounds)
        figures += await lasting.new_documents(sides["ours"], given.seconds)
        if given.long:
            figures += await lasting.memory(sides["ours"])
    if given.grown is not None:
        figures += await lasting.growth(given.models, given.grown, seconds=given.seconds, rounds=given.rounds)


if __name__ == "__main__":
    asyncio.run(main())
