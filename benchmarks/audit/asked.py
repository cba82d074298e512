"""`python -m benchmarks.audit.asked`: a page of each of the auditor's questions, of many events and of a tenth of them.

A page shall cost the same whatever the record has grown to, so that what it costs of a tenth stands beside it: counted
in the pages of the database that it looks at, which no other work on the machine changes.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.audit.asking import WHOLE, Asked, Asking, asking, connections
from benchmarks.audit.seeding import seed
from benchmarks.report import Figure, at_most, plain, report
from guildhall.db.embedded import DATABASE, SUPERUSER, EmbeddedServer
from guildhall.db.migrating import load_tables, migrate
from guildhall.db.transaction import connect_database

TIMES = 9
LIMIT_MILLISECONDS = 50.0
FLAT = 1.5
"""Of a page that looks at as much as it did of a tenth: a level more of some indexes."""
PAGES_AT_LEAST = 400
"""What a page of twenty acts may look at however few events there are, beside which growth counts."""


async def asked(folder: Path, events: int) -> list[Figure]:
    """Each question's slowest page, and the most that one looked at, in two databases of their own."""
    _, lesser = await _costs(folder / "tenth", events // 10)
    written, costs = await _costs(folder / "whole", events)
    figures = [plain("events that were asked", written)]
    for name, pages in costs.items():
        slowest = max(page.milliseconds for page in pages)
        most, before = (max(page.buffers for page in each) for each in (pages, lesser[name]))
        figures.append(at_most(f"{name}, ms (limit)", slowest, LIMIT_MILLISECONDS, 1.0))
        if name in WHOLE:
            figures.append(plain(f"{name}, database pages, of a tenth", most, before))
        else:
            figures.append(at_most(f"{name}, database pages, of a tenth", most, max(before, PAGES_AT_LEAST), FLAT))
    return figures


async def _costs(folder: Path, events: int) -> tuple[int, Mapping[str, Sequence[Asked]]]:
    async with EmbeddedServer(folder, durable=False) as server:
        await migrate(server.owner_url)
        owner = await server.connect(SUPERUSER, DATABASE)
        written = await seed(owner, events)
        database = connect_database(server.service_url)
        try:
            async with asking(database, owner) as ask:
                return written, await _pages(ask)
        finally:
            await database.close()
            await owner.close()


async def _pages(ask: Asking) -> dict[str, list[Asked]]:
    found = {
        question.name: [await ask.page(question, dated=dated, behind=behind, times=TIMES) for dated, behind in ways]
        for question, ways in connections()
    }
    for name, (document, variables) in WHOLE.items():
        found[name] = [await ask.ask(document, variables, times=TIMES)]
    return found


async def main(arguments: Sequence[str] | None = None) -> bool:
    """Filled, asked and reported; whether every page stays within the limit and as small as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    given = parser.parse_args(arguments)
    load_tables()
    with tempfile.TemporaryDirectory(prefix="guildhall-bench-asked-") as name:
        figures = await asked(Path(name), given.events)
    return report("audit-asked", figures, notes=[f"medians of {TIMES} pages, the slowest of each question"])


if __name__ == "__main__":
    asyncio.run(main())
