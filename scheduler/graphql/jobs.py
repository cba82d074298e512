"""Jobs: their state and why, what they cost, what happened to them, and what they made."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, case, exists, select
from sqlalchemy.orm import InstrumentedAttribute

from guildhall.auth.actor import Actor
from guildhall.auth.tables import Team
from guildhall.graphql.context import Context, Visible
from guildhall.graphql.declare import (
    calculated,
    column,
    connection,
    embedded,
    extend,
    json_object,
    many,
    node,
    object_type,
    one,
    reason,
    reference,
)
from guildhall.graphql.filters import filters, matches, matching
from guildhall.graphql.scalars import JSON, Credits
from guildhall.graphql.sources import Orders
from guildhall.graphql.viewing import Viewing
from marketplace.tables import Tier
from marketplace.views import wallet_transfers
from marketplace.wallets import READ_PERMISSION as WALLET_READ
from registry.lessons.tables import Lesson
from registry.models.lookup import DISCOVER
from registry.models.tables import ModelVersion
from scheduler.jobs.lookup import READ, READ_LOG, visible_jobs
from scheduler.jobs.spec import InputKind
from scheduler.jobs.states import AttemptState, JobState
from scheduler.jobs.tables import Attempt, Job, JobEvent, JobInput, JobMetric, JobOutput, RunInterval
from scheduler.runs.logs import log_tail

INTERVALS_MAX = 100
INPUTS_MAX = 100
SOURCE_TYPES = {InputKind.DATASET_VERSION.value: "DatasetVersion", InputKind.MODEL_VERSION.value: "ModelVersion"}
CREATOR_TYPES = {"USER": "User", "SERVICE_ACCOUNT": "ServiceAccount"}


def _of_visible_job(column_: InstrumentedAttribute[UUID]) -> Visible:
    def rule(actor: Actor) -> ColumnElement[bool]:
        return exists().where(Job.id == column_, visible_jobs(actor))

    return rule


def visible_metrics(actor: Actor) -> ColumnElement[bool]:
    """Metrics exist where their jobs do."""
    jobs = select(Attempt.id).join(Job, Job.id == Attempt.job_id)
    return jobs.where(Attempt.id == JobMetric.attempt_id, visible_jobs(actor)).exists()


def _of_caller(value: bool, context: Context) -> ColumnElement[bool]:
    return Job.created_by == context.actor.id if value else Job.created_by != context.actor.id


@filters("JobFilter")
class JobFilter:
    """By team, state and time."""

    team: str = matches(Team.name, via=lambda clause: Job.team_id.in_(select(Team.id).where(clause)))
    state: JobState = matches(Job.state)
    tier: Tier = matches(Job.tier)
    name: str = matches(Job.name)
    created_at: datetime = matches(Job.created_at)
    submitted_by_viewer: bool = matching(_of_caller, description="True: the caller's own. False: those of others.")


JOB_ORDERS = Orders("Job", {"CREATED_AT": Job.created_at, "NAME": Job.name})


@object_type("JobCharge", table=Job)
class JobChargeType:
    """What is held is either captured or released in the end; as in a wallet, `held` is what is still held."""

    held: Credits = column(case((Job.settled_at.is_(None), Job.held), else_=0))
    captured: Credits = column(Job.captured)
    released: Credits = column(Job.released)
    settled_at: datetime | None = column(Job.settled_at)


@object_type("RunInterval", table=RunInterval)
class RunIntervalType:
    """One container's life as the platform reports it: what is billed."""

    started_at: datetime = column(RunInterval.started_at)
    ended_at: datetime | None = column(RunInterval.ended_at)


@object_type("JobProgress")
class JobProgressType:
    """How far the command says it is."""

    fraction: float
    message: str


@node("JobMetric", table=JobMetric, visible=visible_metrics, permission=READ)
class JobMetricType:
    """A number that the command reported while it ran."""

    name: str = column(JobMetric.name)
    value: float = column(JobMetric.value)
    split: str | None = column(JobMetric.split)
    step: int | None = column(JobMetric.step)
    reported_at: datetime = column(JobMetric.reported_at)


@node("Attempt", table=Attempt, visible=_of_visible_job(Attempt.job_id), permission=READ)
class AttemptType:
    """One launch of a job."""

    number: int = column(Attempt.number)
    state: AttemptState = column(Attempt.state)
    exit_code: int | None = column(Attempt.exit_code, description="As the platform saw it.")
    exit_reason = reason(Attempt.exit_reason_code, Attempt.exit_reason_message)
    pool = one("Pool", local=Attempt.pool_id, nullable=False)
    created_at: datetime = column(Attempt.created_at)
    started_at: datetime | None = column(Attempt.started_at)
    ended_at: datetime | None = column(Attempt.ended_at)
    run_intervals = many(
        "RunInterval",
        local=Attempt.id,
        remote=RunInterval.attempt_id,
        order_by=[RunInterval.started_at],
        maximum=INTERVALS_MAX,
    )
    progress = json_object("JobProgress", Attempt.progress)
    parameters: JSON | None = column(Attempt.parameters, description="As the command stated them.")
    metrics = connection(
        "JobMetric", local=Attempt.id, remote=JobMetric.attempt_id, default_order=[JobMetric.reported_at]
    )


@node("JobEvent", table=JobEvent, visible=_of_visible_job(JobEvent.job_id), permission=READ)
class JobEventType:
    """One transition of a job, or another thing worth telling."""

    occurred_at: datetime = column(JobEvent.occurred_at)
    state: JobState = column(JobEvent.state)
    code: str = column(JobEvent.code)
    message: str = column(JobEvent.message)


@object_type("JobInput", table=JobInput, key=JobInput.job_id)
class JobInputType:
    """One thing that the job may read, for one purpose."""

    source = reference(JobInput.kind, JobInput.source_id, types=SOURCE_TYPES)
    mount_path: str = column(JobInput.mount_path)
    purpose: str = column(JobInput.purpose)


@object_type("JobOutput", table=JobOutput, key=JobOutput.attempt_id)
class JobOutputType:
    """What an attempt registered."""

    model_version = one("ModelVersion", local=JobOutput.model_version_id)
    completed_at: datetime | None = column(JobOutput.completed_at)


@node("Job", table=Job, visible=visible_jobs, permission=READ, team=Job.team_id)
class JobType:
    """A training run that a team pays for."""

    name: str = column(Job.name)
    state: JobState = column(Job.state)
    state_reason = reason(Job.state_code, Job.state_message, description="Why it is in its state, or waits.")
    waiting_until: datetime | None = column(Job.waiting_until, description="When it should start, while it waits.")
    predicted_start: datetime | None = column(Job.predicted_start)
    team = one("Team", local=Job.team_id, nullable=False)
    programme = one("Programme", local=Job.programme_id, nullable=False)
    quote = one("Quote", local=Job.quote_id)
    pool = one("Pool", local=Job.pool_id, description="Where it runs; null while it waits.")
    tier: Tier = column(Job.tier)
    walltime_seconds: int = column(Job.walltime_seconds)
    start_by: datetime = column(Job.start_by)
    created_at: datetime = column(Job.created_at)
    admitted_at: datetime | None = column(Job.admitted_at)
    started_at: datetime | None = column(Job.started_at)
    ended_at: datetime | None = column(Job.ended_at)
    submitted_by = reference(Job.created_by_kind, Job.created_by, types=CREATOR_TYPES)
    charge = embedded("JobCharge")
    inputs = many("JobInput", local=Job.id, remote=JobInput.job_id, order_by=[JobInput.index], maximum=INPUTS_MAX)
    attempts = connection("Attempt", local=Job.id, remote=Attempt.job_id, default_order=[Attempt.number.desc()])
    events = connection("JobEvent", local=Job.id, remote=JobEvent.job_id, default_order=[JobEvent.occurred_at])
    outputs = many("JobOutput", local=Job.id, remote=JobOutput.job_id, order_by=[JobOutput.created_at])

    @calculated(key=Job.id, value=str, permission=READ_LOG)
    def log_tail(_viewing: Viewing, *, lines: int = 20) -> ColumnElement[str]:
        """The last lines of its log, of which a thousand at most; for who works in its team, as it can hold data."""
        return log_tail(lines)


@extend("ModelVersion", permission=DISCOVER)
class ModelVersionJob:
    """What the scheduler knows of a model version; null to those who may not see the job."""

    produced_by = one("Job", local=ModelVersion.produced_by_job_id)


@extend("Transfer", permission=WALLET_READ)
class TransferJob:
    """What the scheduler knows of a transfer."""

    job = one("Job", local=wallet_transfers.c.job_id)


@extend("LessonEvidence", permission=DISCOVER)
class LessonEvidenceJob:
    """The run that a lesson was learned from; null to those who may not see it."""

    job = one("Job", local=case((Lesson.job_id.is_not(None), Lesson.job_id)))


@extend("Query", permission=READ)
class JobQueries:
    """The jobs of teams in which the caller may see them."""

    jobs = connection("Job", filter=JobFilter, orders=JOB_ORDERS, default_order=[Job.created_at.desc()])


TYPES = [
    JobChargeType, RunIntervalType, JobProgressType, JobMetricType, AttemptType, JobEventType, JobInputType,
    JobOutputType, JobType, ModelVersionJob, TransferJob, LessonEvidenceJob, JobQueries,
]  # fmt: skip
