"""The report of an auditor, and what is recorded of its taking."""

import asyncio
import csv
import io
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import event as listening
from sqlalchemy import select

from guildhall.audit import reporting
from guildhall.audit.record import record
from guildhall.audit.reporting import Report, ReportFormat, begin_report, report_lines
from guildhall.audit.search import ACTS, PERMISSION
from guildhall.auth.actor import system_actor
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.clock import SimulatedClock, new_id
from guildhall.db import engine
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database, connect_database
from guildhall.graphql.ids import encode_id
from guildhall.organisation.tokens import issue_token
from guildhall.settings import Settings
from tests.conftest import AUDIT_KEY, MONDAY_MORNING
from tests.guildhall.audit.many_events import fill
from tests.people import make_user
from tests.streaming import served

READ = "registry:dataset:read"
WORKER = system_actor("worker")
WAIT_SECONDS = 120
NEVER_SECONDS = 3_600
THAT_WAIT = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def taken(database: Database) -> list[tuple[str, int | None]]:
    statement = select(ACTS.c.outcome, ACTS.c.rows).where(ACTS.c.action == PERMISSION)
    async with database.read() as session:
        return [(row.outcome, row.rows) for row in await session.execute(statement.order_by(ACTS.c.id.desc()))]


class TestReportRoute:
    async def test_both_forms_page_by_page(
        self, client: httpx.AsyncClient, database: Database, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reporting, "PAGE_ROWS", 2)
        dataset = new_id()
        async with database.transaction() as session:
            for hours in range(5):
                await record(
                    session, WORKER, action=READ, resources=[ResourceRef("Dataset", dataset)], new_id=new_id,
                    justification="=1+1", at=MONDAY_MORNING + timedelta(hours=hours), after={"n": hours},
                )  # fmt: skip
        headers = {"authorization": f"Bearer {tokens['otto']}"}
        asked = {"resource": encode_id("Dataset", dataset), "since": "2026-03-02T08:30:00Z"}
        answer = await client.get("/audit/report", params=asked | {"format": "csv"}, headers=headers)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["after"] for row in rows] == ['{"n": 4}', '{"n": 3}', '{"n": 2}', '{"n": 1}']
        assert {row["justification"] for row in rows} == {"'=1+1"}
        answer = await client.get(
            "/audit/report", params=asked | {"until": "2026-03-02T10:00", "actor": encode_id("User", WORKER.id)},
            headers=headers,
        )  # fmt: skip
        (line,) = answer.text.splitlines()
        assert (json.loads(line)["after"], json.loads(line)["justification"]) == ({"n": 1}, "=1+1")
        answer = await client.get("/audit/report", params={"question": "policy-changes"}, headers=headers)
        assert answer.status_code == 200
        assert [(outcome, rows) for outcome, rows in await taken(database)][1:] == [("COMPLETED", 1), ("COMPLETED", 4)]
        async with database.read() as session:
            statement = select(ACTS.c.after).where(ACTS.c.action == PERMISSION).order_by(ACTS.c.id)
            wanted = (await session.scalars(statement)).all()
        since, until = "2026-03-02T08:30:00+00:00", "2026-03-02T10:00:00+00:00"
        about = encode_id("Dataset", dataset)
        assert wanted == [
            {"format": "csv", "since": since, "until": None, "resource": about},
            {"format": "jsonl", "since": since, "until": until, "resource": about,
             "actor": encode_id("User", WORKER.id)},
            {"format": "jsonl", "since": None, "until": None, "question": "policy-changes"},
        ]  # fmt: skip

    async def test_months_that_it_lacks_are_named(
        self, client: httpx.AsyncClient, database: Database, server: EmbeddedServer, tokens: dict[str, str]
    ) -> None:
        headers = {"authorization": f"Bearer {tokens['otto']}"}
        assert "x-guildhall-archived-months" not in (await client.get("/audit/report", headers=headers)).headers
        connection = await server.connect(database=str(database.engine.url.database))
        for month in (1, 2, 3):
            begins, ends = datetime(2025, month, 1, tzinfo=UTC), datetime(2025, month + 1, 1, tzinfo=UTC)
            await connection.execute(
                "INSERT INTO audit_archives VALUES ($1, $2, $3, 1, 'x', $3, 'k', 'm')", f"2025-0{month}", begins, ends
            )
        await connection.close()
        asked = {"since": "2025-01-31T00:00:00Z", "until": "2025-03-01T00:00:00Z"}
        answer = await client.get("/audit/report", params=asked, headers=headers)
        assert answer.headers["x-guildhall-archived-months"] == "2025-01,2025-02"

    @pytest.mark.parametrize(
        ("who", "asked", "status", "code"),
        [
            (None, {}, 401, "UNAUTHENTICATED"),
            ("mia", {}, 403, "PERMISSION_REFUSED"),
            ("otto", {"format": "pdf"}, 400, "INVALID_REPORT"),
            ("otto", {"since": "soon"}, 400, "INVALID_REPORT"),
            ("otto", {"resource": "that"}, 400, "INVALID_REPORT"),
            ("otto", {"question": "why"}, 400, "INVALID_REPORT"),
            ("otto", {"colour": "red"}, 400, "INVALID_REPORT"),
        ],
    )
    async def test_refusals(
        self, client: httpx.AsyncClient, database: Database, tokens: dict[str, str], who: str | None,
        asked: dict[str, str], status: int, code: str,
    ) -> None:  # fmt: skip
        before = await taken(database)
        headers = {} if who is None else {"authorization": f"Bearer {tokens[who]}"}
        answer = await client.get("/audit/report", params=asked, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert await taken(database) == ([("REFUSED", None), *before] if who == "mia" else before)


async def become(wanted: object, look: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while await look() != wanted:
            await asyncio.sleep(0.05)


class TestReaderGone:
    @pytest.mark.parametrize("form", ReportFormat)
    async def test_its_statement_is_cancelled_and_the_record_says_that_the_reader_left(
        self, fresh_database: Database, server: EmbeddedServer, settings: Settings, clock: SimulatedClock,
        monkeypatch: pytest.MonkeyPatch, form: ReportFormat,
    ) -> None:  # fmt: skip
        """Nothing else could end the statement: it waits for a lock, and may wait for an hour."""
        monkeypatch.setattr(engine, "LOCK_WAIT_SECONDS_MAX", NEVER_SECONDS)
        patient = connect_database(fresh_database.url, statement_seconds=NEVER_SECONDS, audit_key=AUDIT_KEY)
        token = await auditor_token(patient)
        holder, watcher = [await server.connect(database=str(patient.engine.url.database)) for _ in range(2)]
        try:
            async with served(patient, settings, clock) as url:
                holding = holder.transaction()
                await holding.start()
                await holder.execute("LOCK TABLE audit_leaves IN ACCESS EXCLUSIVE MODE")
                headers = {"authorization": f"Bearer {token}"}
                async with httpx.AsyncClient(timeout=WAIT_SECONDS) as client:
                    asked = client.get(f"{url}/audit/report", params={"format": form}, headers=headers)
                    asking = asyncio.create_task(asked)
                    await become(1, lambda: watcher.fetchval(THAT_WAIT))
                    asking.cancel()
                    with suppress(asyncio.CancelledError):
                        await asking
                await become(0, lambda: watcher.fetchval(THAT_WAIT))
                await holding.rollback()
                await become([("ABORTED", 0)], lambda: taken(patient))
        finally:
            await holder.close()
            await watcher.close()
            await patient.close()


async def auditor_token(database: Database) -> str:
    async with database.transaction() as session:
        auditor = await make_user(session, "auditor", roles={"auditor": [None]})
        issued = await issue_token(
            session, WORKER, subject_kind=ActorKind.USER, subject_id=auditor, label="tests",
            expires_at=MONDAY_MORNING + timedelta(days=30), at=MONDAY_MORNING, new_id=new_id,
        )  # fmt: skip
    return issued.text


class TestReportLines:
    async def test_whoever_leaves_early_is_recorded_as_such(
        self, fresh_database: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reporting, "PAGE_ROWS", 1)
        report = Report(form=ReportFormat.JSON_LINES, since=None, until=None, clauses=[ACTS.c.action == READ])
        async with fresh_database.transaction() as session:
            for _ in range(3):
                await record(session, WORKER, action=READ, at=clock.now(), new_id=new_id)
        event = await begin_report(fresh_database, WORKER, report, at=clock.now(), new_id=new_id)
        lines = report_lines(fresh_database, WORKER, report, event, clock=clock, new_id=new_id)
        await anext(lines)
        await anext(lines)
        await lines.aclose()  # type: ignore[attr-defined]  # it is a generator
        assert await taken(fresh_database) == [("ABORTED", 1)]

    @pytest.mark.parametrize("form", ReportFormat)
    async def test_however_many_they_are_one_page_is_held(
        self, fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock, form: ReportFormat
    ) -> None:
        connection = await server.connect(database=str(fresh_database.engine.url.database))
        await fill(connection, months=[5], events_a_month=30_000)
        acts = await connection.fetchval("SELECT count(*) FROM audit_events WHERE concludes_id IS NULL")
        await connection.close()
        assert acts > 15_000
        fetched: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            if statement.startswith("SELECT"):
                fetched.append(statement)

        may, june = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
        report = Report(form=form, since=may, until=june, clauses=[])
        event = await begin_report(fresh_database, WORKER, report, at=clock.now(), new_id=new_id)
        listening.listen(fresh_database.engine.sync_engine, "before_cursor_execute", note)
        pieces: list[int] = []
        heads = 1 if form is ReportFormat.CSV else 0
        async for piece in report_lines(fresh_database, WORKER, report, event, clock=clock, new_id=new_id):
            pieces.append(piece.count(b"\n"))
            assert len(fetched) == len(pieces) - heads, "a page is fetched once the one before it has been taken"
            assert all(statement.rstrip().split("\n")[-1].strip().startswith("LIMIT") for statement in fetched)
        listening.remove(fresh_database.engine.sync_engine, "before_cursor_execute", note)
        assert max(pieces) == reporting.PAGE_ROWS
        assert sum(pieces) == acts + heads
        assert await taken(fresh_database) == [("COMPLETED", acts)]
