"""`GET /audit/report?format=csv|jsonl`: acts as a stream, for auditors.

`since`, `until`, `resource`, `actor` and `question` narrow it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.response import Stream
from sqlalchemy import ColumnElement, select

from guildhall.audit import questions
from guildhall.audit.record import record_refusal
from guildhall.audit.reporting import Report, ReportFormat, begin_report, report_lines
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused
from guildhall.clock import IdSource
from guildhall.db.transaction import Database
from guildhall.errors import Forbidden, GuildhallError, Invalid, Unauthenticated, Unavailable
from guildhall.graphql.ids import split_id
from guildhall.http.failures import ErrorBody
from guildhall.http.identity import Identity

STATE_KEY = "audit_desk"
ARCHIVED = "x-guildhall-archived-months"
"""Names the months of the asked time that the report lacks, because they have left for archives."""
_MEDIA = {ReportFormat.CSV: "text/csv", ReportFormat.JSON_LINES: "application/x-ndjson"}
_QUESTIONS: dict[str, Callable[[], Sequence[ColumnElement[bool]]]] = {
    "reads-without-grant": questions.reads_without_grant,
    "policy-changes": questions.policy_changes,
}
_STATUS = {Unauthenticated: 401, Forbidden: 403, Invalid: 400, Unavailable: 503}


class InvalidReport(Invalid):
    """A parameter of a report that cannot be used."""

    code = "INVALID_REPORT"


@dataclass(frozen=True, kw_only=True)
class AuditDesk:
    """What the route needs of the process."""

    database: Database
    identity: Identity
    new_id: IdSource


@get("/audit/report", include_in_schema=False)
async def report_route(request: Request[Any, Any, Any], state: State) -> Response[Any]:
    """The acts that the caller may see; the taking is recorded before the first of them, and its end after the last."""
    desk = state[STATE_KEY]
    assert isinstance(desk, AuditDesk)
    try:
        actor = await desk.identity.actor(request.scope)
        report = _report(dict(request.query_params))
        event_id = await _begun(desk, actor, report)
    except GuildhallError as error:
        return _refused(error)
    clock = desk.identity.clock
    async with desk.database.read() as session:
        archived = await session.scalar(select(questions.archived_months(report.since, report.until)))
    lines = report_lines(desk.database, actor, report, event_id, clock=clock, new_id=desk.new_id)
    headers = {
        "cache-control": "no-store",
        "content-disposition": f'attachment; filename="audit.{report.form.value}"',
    }
    if archived:
        headers[ARCHIVED] = ",".join(archived)
    return Stream(lines, media_type=_MEDIA[report.form], headers=headers)


async def _begun(desk: AuditDesk, actor: Actor, report: Report) -> UUID:
    at = desk.identity.clock.now()
    try:
        return await begin_report(desk.database, actor, report, at=at, new_id=desk.new_id)
    except Refused as refusal:
        await record_refusal(desk.database, actor, refusal, at=at, new_id=desk.new_id)
        raise


def _report(given: dict[str, str]) -> Report:
    unknown = sorted(given.keys() - {"format", "since", "until", "resource", "actor", "question"})
    if unknown:
        raise InvalidReport(f"A report knows no {unknown[0][:80]!r}.", field=unknown[0][:80])
    if given.get("format", "jsonl") not in set(ReportFormat):
        raise InvalidReport("A report is csv or jsonl.", field="format")
    clauses: list[ColumnElement[bool]] = []
    since, until = _moment(given, "since"), _moment(given, "until")
    about = questions.acts_about(_ref(given, "resource")[1], since, until) if "resource" in given else None
    if about is not None:
        clauses += questions.data_reads(about)
    if "actor" in given:
        clauses += questions.acts_of(*_ref(given, "actor"))
    if "question" in given:
        if given["question"] not in _QUESTIONS:
            raise InvalidReport(f"A question is one of {', '.join(_QUESTIONS)}.", field="question")
        clauses += _QUESTIONS[given["question"]]()
    return Report(
        form=ReportFormat(given.get("format", "jsonl")),
        since=since,
        until=until,
        clauses=clauses,
        about=about,
        asked={name: value for name, value in given.items() if name in {"resource", "actor", "question"}},
    )


def _ref(given: dict[str, str], name: str) -> tuple[str, UUID]:
    found = split_id(given[name])
    if found is None:
        raise InvalidReport(f"{given[name][:80]!r} is no id.", field=name)
    return found


def _moment(given: dict[str, str], name: str) -> datetime | None:
    if name not in given:
        return None
    try:
        moment = datetime.fromisoformat(given[name])
    except ValueError:
        raise InvalidReport(f"{given[name][:80]!r} is no moment like 2026-03-02T08:00:00Z.", field=name) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _refused(error: GuildhallError) -> Response[ErrorBody]:
    status = next((_STATUS[family] for family in type(error).__mro__ if family in _STATUS), 400)
    return Response({"error": {"code": error.code, "message": error.message}}, status_code=status)


ROUTES = [report_route]
