"""What a short round does not show: deep pages, ten times the data, documents never seen, memory in the end."""

import statistics
from contextlib import AsyncExitStack

import psutil

from benchmarks.graphql.questions import DOCUMENTS, PAGE, contract_document
from benchmarks.graphql.seeding import seeded_server
from benchmarks.graphql.sides import Side, our_side
from benchmarks.load import Loaded, drive
from benchmarks.processes import cpu_seconds, memory_mib
from benchmarks.report import Figure, at_most, plain

DEEP_PAGES, DEEP_PAGE = 40, 1_000
"""So many pages of that size are walked through to be deep."""
GROWTH_MAX = 1.3
NEW_DOCUMENTS = 1_000
REQUESTS_LONG = 100_000
REQUESTS_BEFORE = 2_000
MEMORY_GROWTH_MAX = 1.2


async def deep_pages(side: Side, *, seconds: float, rounds: int) -> list[Figure]:
    """A page of 50 tens of thousands of rows into the list, against the first."""
    cursor = None
    for _ in range(DEEP_PAGES):
        answer = await side.ask(PAGE, first=DEEP_PAGE, after=cursor)
        cursor = answer["models"]["pageInfo"]["endCursor"]
    bodies = [side.body(PAGE, first=50), side.body(PAGE, first=50, after=cursor)]
    first, deep = await _medians([(side, body) for body in bodies], seconds=seconds, rounds=rounds)
    return [at_most(f"page of 50, p50 ms, {DEEP_PAGES * DEEP_PAGE:,} rows deep, the first", deep, first, GROWTH_MAX)]


async def growth(models: int, grown: int, *, seconds: float, rounds: int) -> list[Figure]:
    """The same pages on two organisations that differ in size alone, both served at once."""
    figures = []
    async with AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(our_side(await stack.enter_async_context(seeded_server(count))))
            for count in (models, grown)
        ]
        for size in (1, 50):
            asked = [(side, side.body(PAGE, first=size)) for side in sides]
            small, large = await _medians(asked, seconds=seconds, rounds=rounds)
            figures.append(at_most(f"page of {size}, p50 ms, {grown:,} models, {models:,}", large, small, GROWTH_MAX))
    return figures


async def new_documents(side: Side, seconds: float) -> list[Figure]:
    """Documents that nobody sent before, one after the other: what an attacker can cost, against a known one."""
    figures = []
    page_model = contract_document("ModelPage")
    for name, text, variables in (("page of 1", PAGE, {"first": 1}), ("ModelPage", page_model, DOCUMENTS["ModelPage"])):
        fresh = [
            side.body(text.replace(" task", f" x{number}: task", 1), **variables) for number in range(NEW_DOCUMENTS)
        ]
        known, known_cpu = await _weighed(side, [side.body(text, **variables)], seconds=seconds)
        new, new_cpu = await _weighed(side, fresh, requests=NEW_DOCUMENTS)
        figures += [
            plain(f"{name}, p50 ms, never seen, known", new.p50_ms, known.p50_ms),
            plain(f"{name}, p99 ms, never seen, known", new.p99_ms, known.p99_ms),
            plain(f"{name}, CPU ms a request, never seen, known", new_cpu, known_cpu),
        ]
    return figures


async def memory(side: Side) -> list[Figure]:
    """What the server holds after many requests of several kinds, against what it held when it was warm."""
    text = contract_document("ModelPage")
    bodies = [side.body(PAGE, first=20), side.body(text, **DOCUMENTS["ModelPage"]), side.body(PAGE, first=1)]
    await drive(side.name, side.port, bodies, side.headers, requests=REQUESTS_BEFORE)
    before = memory_mib(side.process)
    await drive(side.name, side.port, bodies, side.headers, requests=REQUESTS_LONG)
    after = memory_mib(side.process)
    what = f"memory MiB, after {REQUESTS_LONG:,} requests, after {REQUESTS_BEFORE:,}"
    return [at_most(what, after, before, MEMORY_GROWTH_MAX)]


async def _medians(asked: list[tuple[Side, bytes]], *, seconds: float, rounds: int) -> list[float]:
    found: list[list[float]] = [[] for _ in asked]
    for number in range(rounds + 1):
        for (side, body), durations in zip(asked, found, strict=True):
            loaded = await drive(side.name, side.port, [body], side.headers, seconds=seconds)
            if number:  # the first round warms up
                durations.append(loaded.p50_ms)
    return [statistics.median(durations) for durations in found]


async def _weighed(side: Side, bodies: list[bytes], *, seconds: float = 0, requests: int = 0) -> tuple[Loaded, float]:
    process: psutil.Process = side.process
    began = cpu_seconds(process)
    loaded = await drive(side.name, side.port, bodies, side.headers, seconds=seconds, requests=requests)
    return loaded, 1000 * (cpu_seconds(process) - began) / loaded.requests
