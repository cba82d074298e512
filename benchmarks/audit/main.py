"""`make bench-audit`: what the record costs, with the seal at work, beside the same server that records nothing."""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.audit.asked import asked
from benchmarks.audit.sealed import caught_up, sealed_after
from benchmarks.audit.verifier import verified_rate, write_export
from benchmarks.audit.writes import CHAIN, Connection, Sides, rate
from benchmarks.installation import installed
from benchmarks.load import drive
from benchmarks.processes import free_port
from benchmarks.report import Figure, at_least, at_most, plain, report
from guildhall.db.embedded import DATABASE, SUPERUSER, EmbeddedServer
from tests.e2e.faults.house import House
from tests.e2e.faults.processes import Site, end, running, start, wait_until_ready
from tests.e2e.faults.treasures import dataset

READERS = 8
CLIENTS = 16
PAGE_WANTED, DOWNLOAD_WANTED, RECORD_WANTED, CHAIN_WANTED, VERIFIER_WANTED = 0.9, 0.9, 0.3, 4.0, 300_000
SEAL_SECONDS_MAX = 1.0
MIB = 1 << 20
WARMING_SECONDS = 2.0
SYNCS = 200
PAGE = "page of an open model, requests/s, no record"
DOWNLOAD = "1 MiB of closed data, downloads/s, no record"
CLOSED = "a CONFIDENTIAL record, requests/s, no record"
MODEL_PAGE = "query Page($id: ID!) { node(id: $id) { ... on Model { name description team { name } versions(first: 5)\
 { nodes { number status } } } } }"
DATASET_RECORD = "query Record($id: ID!) { node(id: $id) { ... on Dataset { name description classification } } }"
FILES = "query Files($id: ID!) { node(id: $id) { ... on DatasetVersion { files(first: 1) { nodes { url } } } } }"
BUDGET = "mutation Budget($input: SetReadBudgetInput!) { setReadBudget(input: $input) { errors { code message } } }"
Measure = Callable[[Site], Awaitable[float]]


@contextmanager
def unrecorded(site: Site) -> Iterator[Site]:
    """The same installation without the record, at another address."""
    bind = f"127.0.0.1:{free_port()}"
    other = replace(site, url=f"http://{bind}", environment={**site.environment, "GUILDHALL_BIND": bind})
    process = start(other, "-m", "benchmarks.audit.unrecorded", "api")
    try:
        wait_until_ready(other, process)
        yield other
    finally:
        end(process)


def _posting(document: str, key: str, token: str, seconds: float) -> Measure:
    """Requests a second at eight connections."""
    body = json.dumps({"query": document, "variables": {"id": key}}).encode()

    async def measure(site: Site) -> float:
        port = urlsplit(site.url).port
        assert port is not None
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return (await drive("audit", port, [body], headers, seconds=seconds)).rate

    return measure


def _downloading(path: str, token: str, seconds: float) -> Measure:
    """Whole files a second at eight connections."""

    async def measure(site: Site) -> float:
        parts = urlsplit(site.url)
        asked = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        ends, done = time.perf_counter() + seconds, 0

        async def reader() -> None:
            nonlocal done
            reading, writing = await asyncio.open_connection(parts.hostname, parts.port, limit=4 * MIB)
            while time.perf_counter() < ends:
                writing.write(asked)
                head = await reading.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200"), head
                await reading.readexactly(MIB)
                done += 1
            writing.close()

        began = time.perf_counter()
        await asyncio.gather(*(reader() for _ in range(READERS)))
        return done / (time.perf_counter() - began)

    return measure


@dataclass(frozen=True)
class Comparison:
    """One thing to be done at both servers."""

    figure: str
    measure: Callable[[float], Measure]
    wanted: float


async def _compared(
    comparisons: Sequence[Comparison], sides: Sequence[Site], given: argparse.Namespace
) -> dict[str, Figure]:
    """Both servers take turns in everything, after each has done it for a while; the median of the rounds' ratios.

    Who begins changes with each round, so that neither a slow minute of the machine nor what the other has just left
    behind (events to be sealed, dirty pages) falls on one side alone.
    """
    rates: dict[str, list[tuple[float, float]]] = {each.figure: [] for each in comparisons}
    for each, site in product(comparisons, sides):
        await each.measure(min(given.seconds, WARMING_SECONDS))(site)
    for number in range(given.rounds):
        for each in comparisons:
            measure, found = each.measure(given.seconds), [0.0, 0.0]
            for side in (0, 1) if number % 2 == 0 else (1, 0):
                found[side] = await measure(sides[side])
            rates[each.figure].append((found[0], found[1]))
    return {each.figure: _figure(each, rates[each.figure]) for each in comparisons}


def _figure(compared: Comparison, rates: Sequence[tuple[float, float]]) -> Figure:
    ours, peer = (statistics.median(pair[side] for pair in rates) for side in (0, 1))
    ratio = statistics.median(with_record / without for with_record, without in rates)
    return Figure(compared.figure, ours, peer, ratio, compared.wanted, ratio >= compared.wanted)


async def _served(house: House, folder: Path, given: argparse.Namespace) -> list[Figure]:
    """Reads of one installation by two servers, with and without the record; the sealer is at work throughout."""
    (folder / "file").mkdir()
    (folder / "file" / "data.bin").write_bytes(os.urandom(MIB))
    made = await asyncio.to_thread(house.change, "ada", "RegisterDataset", **dataset("scans"))
    key = made["dataset"]["id"]
    ada = house.people["ada"]
    version = (await asyncio.to_thread(ada.upload_dataset_version, key, folder / "file", {}))["id"]
    url = ada.execute(FILES, {"id": version})["node"]["files"]["nodes"][0]["url"]
    token = house.tokens["ada"]
    limit = {"datasetId": key, "scope": "PERSON", "windowSeconds": 86_400, "action": "WARN", "bytesMax": str(1 << 60)}
    house.people["stella"].mutate(BUDGET, limit)  # or it would be alerts that are measured, after a thousand downloads
    comparisons = [
        Comparison(PAGE, partial(_posting, MODEL_PAGE, house.ids["model"], token), PAGE_WANTED),
        Comparison(DOWNLOAD, partial(_downloading, urlsplit(url).path, token), DOWNLOAD_WANTED),
        Comparison(CLOSED, partial(_posting, DATASET_RECORD, key, token), RECORD_WANTED),
    ]
    with unrecorded(house.site) as other, running(house.site, "sealer"):
        return [*(await _compared(comparisons, (house.site, other), given)).values()]


@asynccontextmanager
async def _connected(server: EmbeddedServer, number: int) -> AsyncIterator[list[Connection]]:
    connections = [await server.connect(SUPERUSER, DATABASE) for _ in range(number)]
    try:
        yield connections
    finally:
        for connection in connections:
            await connection.close()


async def _written(server: EmbeddedServer, given: argparse.Namespace) -> list[Figure]:
    rates: dict[str, list[float]] = {"ours": [], "chain": [], "at once": []}
    async with _connected(server, CLIENTS) as connections:
        await connections[0].execute(CHAIN)
        sides = Sides(connections)
        for _ in range(given.rounds):
            rates["ours"].append(await rate(sides.ours, clients=CLIENTS, seconds=given.seconds))
            rates["chain"].append(await rate(sides.chain, clients=CLIENTS, seconds=given.seconds))
            rates["at once"].append(await rate(sides.chain_at_once, clients=CLIENTS, seconds=given.seconds))
    ours, chain, at_once = (statistics.median(each) for each in rates.values())
    return [
        at_least(f"audited writes at {CLIENTS} clients, acts/s, hash chain in the row", ours, chain, CHAIN_WANTED),
        plain("the same, hash chain by one statement in the database", ours, at_once),
    ]


async def _sealed(server: EmbeddedServer, site: Site, given: argparse.Namespace) -> list[Figure]:
    """How long an event waits for the seal, while as many clients as above write as fast as they can."""
    async with _connected(server, CLIENTS + 1) as (looking_by, *connections):
        with running(site, "sealer"):
            await caught_up(looking_by)
            waits = await sealed_after(looking_by, connections, seconds=given.seconds * given.rounds)
    p99 = waits[int(len(waits) * 0.99)]
    return [
        at_most(f"commit to seal at {CLIENTS} clients, p99 in s (limit)", p99, SEAL_SECONDS_MAX, 1.0),
        plain("commit to seal, median in s", statistics.median(waits)),
        plain("events a second meanwhile", len(waits) / (given.seconds * given.rounds)),
    ]


async def _floor(
    server: EmbeddedServer, folder: Path, figures: Sequence[Figure], given: argparse.Namespace
) -> list[Figure]:
    """What no record can go below on this machine: the disk, and the commit of one row of nothing else."""
    async with _connected(server, READERS) as connections:
        await connections[0].execute("CREATE TABLE nothing_else (value bigint)")
        free = [*connections]

        async def commit() -> None:
            connection = free.pop()
            await connection.execute("INSERT INTO nothing_else VALUES ($1)", 1)
            free.append(connection)

        commits = await rate(commit, clients=READERS, seconds=given.seconds)
    (closed,) = (each.ours for each in figures if each.figure == CLOSED)
    synced = await asyncio.to_thread(_sync_milliseconds, folder)
    return [
        plain(f"closed reads/s, beside commits/s of one bare row at {READERS} clients", closed, commits),
        plain("fdatasync of 8 KiB on this disk, ms", synced),
    ]


def _sync_milliseconds(folder: Path) -> float:
    times = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(8192))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


async def main(arguments: Sequence[str] | None = None) -> bool:
    """An installation of its own in a temporary folder, compared and reported; whether all that is wanted holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3, help="each measurement")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--events", type=int, default=1_000_000, help="what the independent verifier checks")
    parser.add_argument("--asked", type=int, default=500_000, help="of how many events the auditor's questions are")
    given = parser.parse_args(arguments)
    async with installed("audit") as made:
        server, folder = made.server, made.folder
        figures = await _served(made.house, folder, given)
        figures += [*await _written(server, given), *await _floor(server, folder, figures, given)]
        figures += await _sealed(server, made.house.site, given)
    with tempfile.TemporaryDirectory(prefix="guildhall-bench-audit-") as name:
        await asyncio.to_thread(write_export, Path(name) / "record", given.events)
        speed = await verified_rate(Path(name) / "record")
        figures += await asked(Path(name), given.asked)
    figures += [
        at_least(f"independent verifier, events/s of {given.events:,}", speed, VERIFIER_WANTED, 1.0),
        plain("processors", os.cpu_count() or 1),
    ]
    return report(
        "audit",
        figures,
        notes=[
            f"{given.rounds} rounds of {given.seconds:g} s, taking turns; the ratio is the median of the rounds' own"
        ],
    )


if __name__ == "__main__":
    asyncio.run(main())
