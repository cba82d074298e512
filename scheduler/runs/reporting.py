"""What a runner reports while it works: logs, metrics, parameters, progress. All of it is "reported", none is proof."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.dialects.postgresql import insert as insert_or_skip

from guildhall.auth.actor import Actor
from guildhall.clock import MOMENT_MAX, MOMENT_MIN, IdSource
from guildhall.db.transaction import WriteSession
from guildhall.errors import Invalid
from registry.lineage.environments import normalised_environment
from registry.models.reported import require_parameters
from scheduler.clusters.executor import Reason
from scheduler.jobs.following import job_changed
from scheduler.jobs.moving import tell
from scheduler.jobs.states import JobState
from scheduler.jobs.tables import Attempt, AttemptReport, Job, JobMetric
from scheduler.runs.live import AttemptEnded, lock_live
from scheduler.runs.logs import mask_tokens
from scheduler.waking import wake_workers

LINES_MAX = 1_000
LINE_CHARACTERS_MAX = 8_000
LOG_BYTES_MAX = 64 * 1024 * 1024
"""What is kept of one attempt's log; a script that writes more is told so once, in its log."""
METRICS_MAX = 1_000
NAME_CHARACTERS_MAX = 200
MESSAGE_CHARACTERS_MAX = 500
SEQUENCE_MAX = 2**31 - 1
OUTCOMES = frozenset({"SUCCEEDED", "FAILED"})
CODE_CHARACTERS_MAX = 100


class InvalidReport(Invalid):
    """A report of the wrong shape; a runner of ours never sends one."""

    code = "INVALID_REPORT"


@dataclass(frozen=True, kw_only=True)
class Report:
    """One numbered batch. `lines` are {at, stream, text}, `metrics` {name, value, split, step, at}."""

    sequence: int
    lines: Sequence[Mapping[str, Any]]
    metrics: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any]
    progress: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What the runner is to do: go on, or stop and why."""

    stop: bool
    reason: str | None = None


async def take_report(session: WriteSession, actor: Actor, report: Report, *, at: datetime, new_id: IdSource) -> Orders:
    """Keep the batch, once for each number, and say whether to stop. Raises InvalidReport."""
    if not 1 <= report.sequence <= SEQUENCE_MAX:
        raise InvalidReport("A report's number counts from 1.", field="sequence")
    try:
        live = await lock_live(session, actor)
    except AttemptEnded as ended:
        return Orders(stop=True, reason=ended.message)
    lines = _bounded(live.attempt, [_line(line, at) for line in _some(report.lines, LINES_MAX, "logs")])
    row = {"attempt_id": live.attempt.id, "sequence": report.sequence, "received_at": at, "lines": lines}
    fresh = await session.scalar(
        insert_or_skip(AttemptReport)
        .values(row)
        .on_conflict_do_nothing(index_elements=["attempt_id", "sequence"])
        .returning(AttemptReport.sequence)
    )
    if fresh is not None:
        live.attempt.log_bytes += sum(len(line["text"]) for line in lines)
        await _keep(session, live.attempt, report, at=at, new_id=new_id)
        job_changed(session, live.job.id)
    return _orders(live.job)


async def take_started(
    session: WriteSession, actor: Actor, environment: Mapping[str, Any], *, at: datetime, new_id: IdSource
) -> None:
    """The inputs are staged and the command starts; what it runs in is kept. Told twice, it is kept once."""
    live = await lock_live(session, actor)
    if live.attempt.environment is not None:
        return
    live.attempt.environment = normalised_environment(environment)
    reason = Reason("COMMAND_STARTED", "its inputs are staged and its command starts")
    await tell(session, live.job, reason, attempt_id=live.attempt.id, at=at, new_id=new_id)


async def take_result(session: WriteSession, actor: Actor, result: Mapping[str, Any]) -> None:
    """How the command ended, as the runner says; the first word counts. The platform's word comes with its exit."""
    live = await lock_live(session, actor)
    if live.attempt.result is not None:
        return
    if result.get("outcome") not in OUTCOMES:
        raise InvalidReport(f"A result's outcome is one of {', '.join(sorted(OUTCOMES))}.", field="outcome")
    live.attempt.result = {
        "outcome": result["outcome"],
        "exitCode": _whole_or_none(result.get("exitCode"), "exitCode"),
        "signal": _whole_or_none(result.get("signal"), "signal"),
        "code": _text(result.get("code") or "", CODE_CHARACTERS_MAX),
        "message": _text(result.get("message") or "", MESSAGE_CHARACTERS_MAX),
    }
    await session.flush()
    wake_workers(session)


async def _keep(session: WriteSession, attempt: Attempt, report: Report, *, at: datetime, new_id: IdSource) -> None:
    rows = [
        {"id": new_id(), "attempt_id": attempt.id, "sequence": report.sequence, **_metric(metric, at)}
        for metric in _some(report.metrics, METRICS_MAX, "metrics")
        if not _runaway(metric.get("value"))
    ]
    if rows:
        await session.execute(insert(JobMetric), rows)
    if report.parameters:
        attempt.parameters = require_parameters({**(attempt.parameters or {}), **report.parameters})
    if report.progress is not None:
        fraction = report.progress.get("fraction")
        attempt.progress = {
            "fraction": min(max(_number(fraction, "progress.fraction"), 0.0), 1.0),
            "message": _text(report.progress.get("message") or "", MESSAGE_CHARACTERS_MAX),
        }
    await session.flush()


def _runaway(value: object) -> bool:
    """A loss that went to infinity is passed over: it is no number, and no reason to end the job."""
    return isinstance(value, float) and not math.isfinite(value)


def _orders(job: Job) -> Orders:
    if job.state == JobState.STOPPING:
        return Orders(stop=True, reason=job.stop_message or "the job was told to stop")
    return Orders(stop=False)


def _bounded(attempt: Attempt, lines: list[dict[str, str]]) -> list[dict[str, str]]:
    """What still fits into the attempt's log, and one line that says so where something does not."""
    room = LOG_BYTES_MAX - attempt.log_bytes
    kept = []
    for line in lines:
        if room <= 0:
            break
        room -= len(line["text"])
        kept.append(line)
        if room <= 0:
            told = f"[the log is full: of one attempt {LOG_BYTES_MAX} characters are kept]"
            kept.append({**line, "stream": "platform", "text": told})
    return kept


def _line(line: Mapping[str, Any], at: datetime) -> dict[str, str]:
    return {
        "at": _moment(line.get("at"), at).isoformat(),
        "stream": _text(line.get("stream") or "stdout", 20),
        "text": _text(line.get("text") or "", LINE_CHARACTERS_MAX),
    }


def _metric(metric: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    name = _text(metric.get("name") or "", NAME_CHARACTERS_MAX).strip()
    if not name:
        raise InvalidReport("A metric has a name.", field="metrics")
    split = metric.get("split")
    return {
        "name": name,
        "value": _number(metric.get("value"), "metrics.value"),
        "split": None if split is None else _text(split, NAME_CHARACTERS_MAX),
        "step": _whole_or_none(metric.get("step"), "metrics.step"),
        "reported_at": _moment(metric.get("at"), at),
    }


def _some(values: Sequence[Mapping[str, Any]], maximum: int, field: str) -> Sequence[Mapping[str, Any]]:
    if len(values) > maximum:
        raise InvalidReport(f"A report holds at most {maximum} of them.", field=field)
    if not all(isinstance(value, Mapping) for value in values):
        raise InvalidReport("A list of objects is wanted.", field=field)
    return values


def _moment(value: object, at: datetime) -> datetime:
    """The moment that the runner states, where it is one; clocks of jobs are not trusted with more than a log line."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return at
    return moment if moment.tzinfo is not None and MOMENT_MIN <= moment <= MOMENT_MAX else at


def _text(value: object, characters_max: int) -> str:
    return mask_tokens(str(value)).replace("\0", "�").encode("utf-8", "replace").decode()[:characters_max]


def _number(value: object, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidReport("A finite number is wanted.", field=field)
    return float(value)


def _whole_or_none(value: object, field: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise InvalidReport("A whole number of 32 bits is wanted.", field=field)
    return value
