"""`make bench-graphql`: interleaved rounds, medians, and what the issue wants of their ratios."""

import argparse
import asyncio
import statistics
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.graphql.questions import PAGE_SIZES
from benchmarks.graphql.seeding import Seeded, seeded_server
from benchmarks.graphql.sides import Side, opened_sides
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
        rounds: dict[str, list[Round]] = {name: [] for name in bodies}
        for name, body in bodies.items():  # a just-in-time compiler wants to see a question some thousand times
            await drive(self.sides[name].port, [body], self.sides[name].headers, seconds=self._seconds)
        for _ in range(self._rounds):
            for name, body in bodies.items():
                rounds[name].append(await self._round(self.sides[name], body))
        return _figures(f"page of {size}", rounds, {name: wanted.get(size) for name, wanted in WANTED.items()})

    async def _round(self, side: Side, body: bytes) -> Round:
        await drive(side.port, [body], side.headers, seconds=0.3)
        began = cpu_seconds(side.process), cpu_seconds(self._postgres)
        loaded = await drive(side.port, [body], side.headers, seconds=self._seconds)
        server = cpu_seconds(side.process) - began[0]
        database = cpu_seconds(self._postgres) - began[1]
        return Round(loaded, 1000 * server / loaded.requests, 1000 * database / loaded.requests)

    async def _require_equal(self, size: int) -> None:
        """All sides give the same two pages; each cursor is its own side's, so the second page proves it."""
        answers: dict[str, Any] = {}
        for name, side in self.sides.items():
            first = await side.ask(side.page, first=size)
            cursor = first["models"]["pageInfo"].pop("endCursor")
            second = await side.ask(side.page, first=size, after=cursor)
            second["models"]["pageInfo"].pop("endCursor")
            answers[name] = [first, second]
        for name, answer in answers.items():
            assert answer == answers["ours"], (
                f"{name} and ours differ at a page of {size}: {_difference(answers, name)}"
            )


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


def _difference(answers: dict[str, Any], name: str) -> str:
    def walk(path: str, left: Any, right: Any) -> str:
        if isinstance(left, dict) and isinstance(right, dict) and list(left) == list(right):
            return next((found for key in left if (found := walk(f"{path}.{key}", left[key], right[key]))), "")
        if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
            return next(
                (found for place in range(len(left)) if (found := walk(f"{path}[{place}]", left[place], right[place]))),
                "",
            )
        return "" if left == right else f"{path}: ours {str(left)[:200]}, {name} {str(right)[:200]}"

    return walk("", answers["ours"], answers[name])


async def main() -> None:
    """Seed, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(PAGE_SIZES))
    given = parser.parse_args()
    figures: list[Figure] = []
    async with seeded_server(given.models) as seeded, opened_sides(seeded) as (sides, missing):
        bench = Bench(seeded, sides, seconds=given.seconds, rounds=given.rounds)
        for size in given.sizes:
            figures += await bench.pages(size)
    report("graphql", figures, notes=[f"{given.models:,} models; {given.rounds} rounds of {given.seconds} s", *missing])


if __name__ == "__main__":
    asyncio.run(main())
