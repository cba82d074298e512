"""Acts as a report, CSV or JSON lines, as long as they are; who takes one is recorded before the first line leaves."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Subquery, select, text, tuple_

from guildhall.audit.outcomes import conclude
from guildhall.audit.questions import between
from guildhall.audit.record import record
from guildhall.audit.search import ACTS, PERMISSION, visible_acts
from guildhall.audit.tables import Outcome
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError

PAGE_ROWS = 1_000
COLUMNS = [column.name for column in ACTS.c]
PLANNED_ANEW = text("SET LOCAL plan_cache_mode = force_custom_plan")
"""Who did half of all is found another way than who did little: a plan for anybody sorts a month for the former."""
Value = TypeVar("Value")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class ReportFormat(StrEnum):
    """How the lines are written."""

    CSV = "csv"
    JSON_LINES = "jsonl"


class ReaderLeft(GuildhallError):
    """The report was not taken to its end."""

    code = "READER_LEFT"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What somebody wants to take along: which acts, of which time, in which form."""

    form: ReportFormat
    since: datetime | None
    until: datetime | None
    clauses: Sequence[ColumnElement[bool]]
    about: Subquery | None = None
    """`acts_about` something, where it is about that."""
    asked: Mapping[str, str] = field(default_factory=dict)
    """What else it was narrowed by, as it was asked for; the record says so."""


async def begin_report(database: Database, actor: Actor, report: Report, *, at: datetime, new_id: IdSource) -> UUID:
    """Record the intent and return its id. Raises PermissionRefused for who audits nothing."""
    if not actor.may_somewhere(PERMISSION):
        require(actor, PERMISSION, team_id=None)
    async with database.transaction() as session:
        wanted = {"format": report.form, "since": report.since, "until": report.until, **report.asked}
        return await record(
            session, actor, action=PERMISSION, outcome=Outcome.STARTED, after=wanted, at=at, new_id=new_id
        )


async def report_lines(
    database: Database, actor: Actor, report: Report, event_id: UUID, *, clock: Clock, new_id: IdSource
) -> AsyncIterator[bytes]:
    """The report in pieces, newest act first; at its end, or where the reader leaves, what left is recorded."""
    rows = size = 0
    complete = False
    try:
        if report.form is ReportFormat.CSV:
            yield _csv([COLUMNS])
        async for page in _pages(database, actor, report):
            piece = _written(report.form, page)
            yield piece
            rows, size = rows + len(page), size + len(piece)
        complete = True
    finally:
        # Shielded: where the reader leaves while a page is looked for, the server cancels just this.
        reason = None if complete else ReaderLeft("The reader left before the end.")
        await asyncio.shield(
            _concluded(database, event_id, reason, rows=rows, size=size, at=clock.now(), new_id=new_id)
        )


async def _concluded(
    database: Database, event_id: UUID, reason: ReaderLeft | None, *, rows: int, size: int, at: datetime,
    new_id: IdSource,
) -> None:  # fmt: skip
    outcome = Outcome.COMPLETED if reason is None else Outcome.ABORTED
    async with database.transaction() as session:
        await conclude(session, event_id, outcome=outcome, rows=rows, bytes=size, reason=reason, at=at, new_id=new_id)


async def _pages(database: Database, actor: Actor, report: Report) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
    about = report.about
    order = (ACTS.c.occurred_at if about is None else about.c.act_at, ACTS.c.id)
    statement = (
        select(ACTS)
        .select_from(ACTS if about is None else ACTS.join(about, about.c.id == ACTS.c.id))
        .where(visible_acts(actor), *report.clauses, *between(report.since, report.until))
        .order_by(*(column.desc() for column in order))
        .limit(PAGE_ROWS)
    )
    last: tuple[datetime, UUID] | None = None
    while True:  # ends at the first page that is not full
        # The moment alone says less than both, but leaves out the partitions after it.
        page = statement if last is None else statement.where(order[0] <= last[0], tuple_(*order) < tuple_(*last))
        rows = await _cancelled_once(_fetched(database, page))
        if rows:
            yield rows
        if len(rows) < PAGE_ROWS:
            return
        last = rows[-1]["occurred_at"], rows[-1]["id"]


async def _fetched(database: Database, page: Select[Any]) -> list[dict[str, Any]]:
    async with database.read() as session:
        await session.execute(PLANNED_ANEW)
        return [dict(row) for row in (await session.execute(page)).mappings()]


async def _cancelled_once(work: Coroutine[Any, Any, Value]) -> Value:
    """Where the reader leaves, the server cancels us again at each wait, as often as it takes to end us.

    The driver could not ask the database to stop the statement then, which would go on for nobody.
    """
    working = asyncio.create_task(work)
    try:
        return await asyncio.shield(working)
    finally:
        working.cancel()


def _written(form: ReportFormat, rows: Sequence[Mapping[str, Any]]) -> bytes:
    plain = [{name: _plain(value) for name, value in row.items()} for row in rows]
    if form is ReportFormat.JSON_LINES:
        return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in plain).encode()
    return _csv([[_cell(row[name]) for name in COLUMNS] for row in plain])


def _csv(lines: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().encode()


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula is told by an apostrophe that it is none."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _plain(value: Any) -> Any:  # noqa: ANN401 -- any column
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value
