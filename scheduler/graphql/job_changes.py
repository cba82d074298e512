"""Following a job: its state, its log lines and its metrics, as they come."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from typing_extensions import override

from guildhall.db.announcing import topic_of
from guildhall.graphql.context import Context
from guildhall.graphql.declare import column, extend, json_object, object_type, one
from guildhall.graphql.ids import decode_id
from guildhall.graphql.scalars import ID
from guildhall.graphql.subscriptions.declaring import subscription
from guildhall.graphql.subscriptions.following import Change, Following, Look, Position
from scheduler.jobs.following import TOPIC
from scheduler.jobs.lookup import READ, READ_LOG, find_job
from scheduler.jobs.states import JobState
from scheduler.runs import following
from scheduler.runs.following import LogPlace

LOOK_CHANGES_MAX = 500
"""The most log lines and metrics that are read at once; a longer log takes several looks."""

ENDING_SECONDS_BETWEEN = 1.0


@object_type("LogLine")
class LogLineType:
    """One line that the command, the runner or the platform wrote."""

    at: datetime
    stream: str
    text: str


@object_type("JobChange", permission=READ, team="team_id")
class JobChangeType:
    """One thing that is new of a job: a state with its reason, a metric, or a log line; the others are null."""

    cursor: str = column("cursor", description="Where to go on: pass it as `after`, and nothing is missed or repeated.")
    state: JobState | None = column(
        "state", description="The last comes after all that the command wrote; lines of the platform may follow it."
    )
    state_reason = json_object("Reason", "state_reason")
    metric = one("JobMetric", local="metric_id")
    log_line = json_object("LogLine", "log_line", permission=READ_LOG)
    job = one("Job", local="job_id", description="The job as it is now.")


@dataclass
class JobFollowing(Following):
    """One job; lines are read only where they are selected and may be seen."""

    job_id: UUID
    lines: bool
    metrics: bool
    team_id: UUID | None = None

    def __post_init__(self) -> None:
        self.name = f"jobChanges {self.job_id}"
        self.topic = topic_of(TOPIC, self.job_id)

    @override
    async def require(self, context: Context) -> None:
        async with context.database.read() as session:
            job = await find_job(session, context.actor, self.job_id, field="id")
        self.team_id = job.team_id

    @override
    def place(self, context: Context) -> tuple[Any, ...]:
        return (self.name, self._sees_lines(context), self.metrics)

    @override
    async def look(self, context: Context, position: Position | None) -> Look:
        *reported, told = (*LogPlace(), "") if position is None else position
        place = LogPlace(*reported)
        async with context.database.read() as session:
            state = await following.read_state(session, self.job_id, at=context.at)
            found = await following.read_reported(
                session,
                self.job_id,
                after=place,
                lines=self._sees_lines(context),
                metrics=self.metrics,
                maximum=LOOK_CHANGES_MAX,
            )
        digest = _digest(state)
        more = len(found) == LOOK_CHANGES_MAX
        changes = []
        shown = {"team_id": self.team_id, "job_id": self.job_id}
        if digest != told and not state.ended:
            told = digest
            changes.append(Change({**shown, **_state(state)}, (*place, told)))
        for each in found:
            place = each.place
            changes.append(Change({**shown, **_reported(each)}, (*place, told)))
        if digest != told and state.ended and not more:
            told = digest
            changes.append(Change({**shown, **_state(state)}, (*place, told)))
        return Look(
            changes=changes,
            position=(*place, told),
            more=more,
            ended=state.complete and not more,
            seconds=ENDING_SECONDS_BETWEEN if state.ended else None,
        )

    def _sees_lines(self, context: Context) -> bool:
        return self.lines and context.actor.may(READ_LOG, self.team_id)


@extend("Subscription")
class JobSubscriptions:
    """What can be followed of the scheduler."""

    @subscription("JobChange", permission=READ)
    def job_changes(_context: Context, wanted: frozenset[str], *, id: ID) -> JobFollowing:  # noqa: A002 -- GraphQL's name; no method
        """A job from its beginning, or from a cursor on, to its end: then the stream is complete."""
        return JobFollowing(decode_id(id, "Job", field="id"), lines="logLine" in wanted, metrics="metric" in wanted)


def _state(state: following.StateNow) -> Mapping[str, Any]:
    return {"state": state.state, "state_reason": {"code": state.code, "message": state.message}}


def _reported(each: following.Reported) -> Mapping[str, Any]:
    if each.line is None:
        return {"metric_id": each.metric_id}
    return {"log_line": {**each.line, "at": datetime.fromisoformat(each.line["at"])}}


def _digest(state: following.StateNow) -> str:
    """What tells one state from another in a cursor; it need not be unlikely to clash, only to clash in a row."""
    told = f"{state.state} {state.code} {state.message} {state.waiting_until}"
    return sha256(told.encode()).hexdigest()[:12]


TYPES = [LogLineType, JobChangeType, JobSubscriptions]
