"""What is new of a job after some point: its log lines and metrics, report by report, and its state at the end.

The reports of one attempt are kept one after the other (its row is locked meanwhile), so that what was read up to one
of them is whole. The platform's own lines have number 0 and come after all others, when the attempt is over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, bindparam, exists, select, text

from guildhall.db.transaction import ReadSession
from scheduler.jobs.states import ENDED_STATES
from scheduler.jobs.tables import Attempt, Job

PLATFORM_SECONDS_MAX = 10
"""How long after its end a job is followed for the lines that the platform kept, which come when it is removed."""

LAST_REPORT = 2**31
"""The place of the platform's lines among the reports, whose numbers are below."""


class LogPlace(NamedTuple):
    """A place in what was reported: the attempt's number, the report's, and the place in it, lines before metrics."""

    attempt: int = 0
    report: int = 0
    place: int = 0


@dataclass(frozen=True)
class Reported:
    """One log line, as `{at, stream, text}`, or one metric, by its id."""

    place: LogPlace
    line: Mapping[str, Any] | None
    metric_id: UUID | None


@dataclass(frozen=True, kw_only=True)
class StateNow:
    """The state of a job and why; `complete` once nothing more can come."""

    state: str
    code: str
    message: str
    waiting_until: datetime | None
    ended: bool
    complete: bool


_PLACE = (bindparam("report", type_=BigInteger), bindparam("last", type_=BigInteger))

# Attempts that are passed already have nothing more, except that their platform lines may come late.
_REPORTS = """
    FROM attempts
    CROSS JOIN LATERAL (
        SELECT attempt_reports.sequence::bigint AS number, attempt_reports.sequence, attempt_reports.lines
        FROM attempt_reports
        WHERE attempt_reports.attempt_id = attempts.id AND attempt_reports.sequence > 0
            AND attempt_reports.sequence >= CASE WHEN attempts.number = :attempt THEN :report ELSE 0 END
        UNION ALL
        SELECT :last, 0, attempt_reports.lines
        FROM attempt_reports
        WHERE attempt_reports.attempt_id = attempts.id AND attempt_reports.sequence = 0
    ) AS report
"""

_LINES = text(f"""
    SELECT attempts.number, report.number, entry.place, entry.line, NULL::uuid
    {_REPORTS}
    CROSS JOIN LATERAL jsonb_array_elements(report.lines) WITH ORDINALITY AS entry (line, place)
    WHERE attempts.job_id = :job AND attempts.number >= :attempt
        AND (attempts.number, report.number, entry.place) > (:attempt, :report, :place)
    ORDER BY attempts.number, report.number, entry.place
    LIMIT :changes
""").bindparams(*_PLACE)

_METRICS = text(f"""
    SELECT attempts.number, report.number, entry.place, NULL::jsonb, entry.id
    {_REPORTS}
    CROSS JOIN LATERAL (
        SELECT job_metrics.id,
            jsonb_array_length(report.lines) + row_number() OVER (ORDER BY job_metrics.id) AS place
        FROM job_metrics
        WHERE job_metrics.attempt_id = attempts.id AND job_metrics.sequence = report.sequence
    ) AS entry
    WHERE attempts.job_id = :job AND attempts.number >= :attempt
        AND (attempts.number, report.number, entry.place) > (:attempt, :report, :place)
    ORDER BY attempts.number, report.number, entry.place
    LIMIT :changes
""").bindparams(*_PLACE)  # noqa: S608 -- constant text


async def read_state(session: ReadSession, job_id: UUID, *, at: datetime) -> StateNow:
    """Where the job is now. Read before what was reported: of a job that has ended nothing more is taken."""
    unremoved = exists().where(Attempt.job_id == Job.id, Attempt.removed_at.is_(None))
    statement = select(Job, unremoved.label("unremoved")).where(Job.id == job_id)
    job, waits = (await session.execute(statement)).one()
    ended = job.state in ENDED_STATES
    late = job.settled_at is not None and at >= job.settled_at + timedelta(seconds=PLATFORM_SECONDS_MAX)
    return StateNow(
        state=job.state,
        code=job.state_code,
        message=job.state_message,
        waiting_until=job.waiting_until,
        ended=ended,
        complete=ended and (late or not waits),
    )


async def read_reported(
    session: ReadSession, job_id: UUID, *, after: LogPlace, lines: bool, metrics: bool, maximum: int
) -> Sequence[Reported]:
    """At most `maximum` log lines and metrics after the place, in order."""
    given = {"job": job_id, **after._asdict(), "last": LAST_REPORT, "changes": maximum}
    found: list[Reported] = []
    for statement, wanted in ((_LINES, lines), (_METRICS, metrics)):
        if wanted:
            for attempt, report, place, line, metric_id in await session.execute(statement, given):
                found.append(Reported(LogPlace(attempt, report, place), line, metric_id))
    return sorted(found, key=lambda each: each.place)[:maximum]
