"""`python -m benchmarks.audit.asked`: a page of each of the auditor's questions over many events, beside a limit."""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import ColumnElement, select, text, tuple_

from benchmarks.report import Figure, at_most, plain, report
from guildhall.audit import questions
from guildhall.audit.search import ACTS
from guildhall.db.embedded import DATABASE, SUPERUSER, EmbeddedServer
from guildhall.db.migrating import load_tables, migrate
from guildhall.db.transaction import Database, connect_database
from tests.guildhall.audit.many_events import DATASETS, PEOPLE, fill

PAGE = 21
MONTHS = (1, 2, 3, 4)
TIMES = 15
LIMIT_MILLISECONDS = 100.0
SINCE, UNTIL = datetime(2026, 2, 3, tzinfo=UTC), datetime(2026, 4, 20, tzinfo=UTC)
ORDER = (ACTS.c.occurred_at, ACTS.c.id)
QUESTIONS: dict[str, Callable[[], Sequence[ColumnElement[bool]]]] = {
    "a data set that many read": lambda: questions.data_reads([DATASETS[0]]),
    "a data set that few read": lambda: questions.data_reads([DATASETS[-1]]),
    "a data set that nobody read": lambda: questions.data_reads([UUID(int=1)]),
    "somebody who does much": lambda: questions.acts_of(PEOPLE[0]),
    "somebody who does little": lambda: questions.acts_of(PEOPLE[-1]),
    "reads without a grant": questions.reads_without_grant,
    "changes of the policy": questions.policy_changes,
}


async def asked(folder: Path, events: int) -> list[Figure]:
    """The median time of a first page and of one far behind, of each question, in a database of its own."""
    figures = []
    async with EmbeddedServer(folder, durable=False) as server:
        await migrate(server.owner_url)
        connection = await server.connect(SUPERUSER, DATABASE)
        written = await fill(connection, months=MONTHS, events_a_month=events // len(MONTHS))
        await connection.execute("VACUUM audit_events, audit_leaves")  # as it is some hours after it was written
        await connection.close()
        database = connect_database(server.service_url)
        for name, clauses in QUESTIONS.items():
            within = [*clauses(), *questions.between(SINCE, UNTIL)]
            behind = tuple_(*ORDER) < tuple_(SINCE + timedelta(days=30), UUID(int=0))
            pages = {"first page": within, "page far behind": [*within, behind]}
            for place, conditions in pages.items():
                took = await _median_milliseconds(database, conditions, "force_custom_plan")
                figures.append(at_most(f"{name}, {place}, ms (limit)", took, LIMIT_MILLISECONDS, 1.0))
                took = await _median_milliseconds(database, conditions, "force_generic_plan")
                figures.append(plain(f"{name}, {place}, by a plan for any value, ms", took))
        await database.close()
    return [plain("events that were asked", written), *figures]


async def _median_milliseconds(database: Database, conditions: Sequence[ColumnElement[bool]], mode: str) -> float:
    statement = select(ACTS).where(*conditions).order_by(*(column.desc() for column in ORDER)).limit(PAGE)
    times = []
    for _ in range(TIMES):
        async with database.read() as session:
            await session.execute(text(f"SET LOCAL plan_cache_mode = {mode}"))
            began = time.perf_counter()
            await session.execute(statement)
            times.append((time.perf_counter() - began) * 1_000)
    return statistics.median(times)


async def main(arguments: Sequence[str] | None = None) -> bool:
    """Filled, asked and reported; whether every page stays within the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    given = parser.parse_args(arguments)
    load_tables()
    with tempfile.TemporaryDirectory(prefix="guildhall-bench-asked-") as name:
        figures = await asked(Path(name) / "postgres", given.events)
    return report("audit-asked", figures, notes=[f"medians of {TIMES} pages of {PAGE - 1}"])


if __name__ == "__main__":
    asyncio.run(main())
