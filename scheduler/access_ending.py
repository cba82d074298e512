"""Running jobs whose access to an input has ended: told to stop, or flagged, as the data set's policy says."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, or_, select

from guildhall.audit.record import record
from guildhall.auth.resources import ResourceRef
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import ReadSession, WriteSession
from registry.access.reading import AccessRefused
from registry.access.tables import AccessGrant
from registry.datasets.tables import CLOSED, Dataset, DatasetVersion, WithdrawalPolicy
from registry.models.tables import ModelVersion
from scheduler.apply import SETTLE
from scheduler.clusters.executor import Reason
from scheduler.context import SchedulerContext
from scheduler.job_access import ACCESS_ENDED, judge_input, submitter_gone
from scheduler.jobs.moving import tell
from scheduler.jobs.spec import InputKind
from scheduler.jobs.states import JobState
from scheduler.jobs.tables import Attempt, InputOpening, Job, JobEvent, JobInput
from scheduler.stopping import tell_to_stop

JOBS_MAX = 500
"""Jobs that one cycle looks at; the others follow in the next."""
_UNDER_WAY = (JobState.STARTING, JobState.RUNNING)


async def act_on_ended_access(context: SchedulerContext) -> None:
    """Look at each job whose inputs were staged by a right that has ended since; another may still open them.

    That is a grant that ended (also one of several that opened a model), a role that opens them no more (the data was
    closed, or a loosening withdrawn), and the right of a person or program that was deactivated.
    """
    at = context.clock.now()
    ended = or_(_grant_ended(at), _other_grant_ended(at), _closed_since(), submitter_gone())
    flagged = exists().where(JobEvent.attempt_id == Attempt.id, JobEvent.code == ACCESS_ENDED)
    statement = (
        select(Job.id, Attempt.id)
        .join(Attempt, Attempt.job_id == Job.id)
        .join(InputOpening, InputOpening.attempt_id == Attempt.id)
        .where(Job.state.in_(_UNDER_WAY), Attempt.ended_at.is_(None), ended, ~flagged)
        .distinct()
        .order_by(Job.id)
        .limit(JOBS_MAX)
    )
    async with context.database.read() as session:
        rows = (await session.execute(statement)).all()
    for job_id, attempt_id in rows:
        async with context.database.transaction() as session:
            (job,) = await lock_rows(session, Job, [job_id])
            if job.state in _UNDER_WAY:
                await _act(session, context, job, attempt_id)
        context.reach("overdue.recorded")


def _grant_ended(at: datetime) -> ColumnElement[bool]:
    return exists().where(
        AccessGrant.id == InputOpening.access_grant_id,
        AccessGrant.withdrawn_at.is_not(None) | (AccessGrant.valid_to <= at),
    )


def _other_grant_ended(at: datetime) -> ColumnElement[bool]:
    """Whether a grant of the job's team or submitter ended since, where a model was opened by several.

    Its opening names but one of them. Which others it took is not kept: the judgement tells.
    """
    closed_model = exists().where(
        JobInput.job_id == Job.id,
        JobInput.index == InputOpening.index,
        ModelVersion.id == JobInput.source_id,
        ModelVersion.effective_classification.in_(CLOSED),
    )
    grant_ended = exists().where(
        or_(AccessGrant.beneficiary_team_id == Job.team_id, AccessGrant.beneficiary_user_id == Job.created_by),
        or_(
            AccessGrant.withdrawn_at >= Attempt.created_at,
            (AccessGrant.valid_to >= Attempt.created_at) & (AccessGrant.valid_to <= at),
        ),
    )
    return InputOpening.access_grant_id.is_not(None) & closed_model & grant_ended


def _closed_since() -> ColumnElement[bool]:
    """Whether what was opened by role goes by grant alone now."""
    mine = [JobInput.job_id == Job.id, JobInput.index == InputOpening.index]
    closed_data = (
        exists()
        .where(*mine, DatasetVersion.id == JobInput.source_id, Dataset.id == DatasetVersion.dataset_id)
        .where(Dataset.classification.in_(CLOSED))
    )
    closed_model = exists().where(
        *mine, ModelVersion.id == JobInput.source_id, ModelVersion.effective_classification.in_(CLOSED)
    )
    return InputOpening.access_grant_id.is_(None) & (closed_data | closed_model)


async def _act(session: WriteSession, context: SchedulerContext, job: Job, attempt_id: UUID) -> None:
    at = context.clock.now()
    inputs = (await session.scalars(select(JobInput).where(JobInput.job_id == job.id).order_by(JobInput.index))).all()
    judged = [(each, (await judge_input(session, job, each, at=at))[1]) for each in inputs]
    refused = [(each, refusal) for each, refusal in judged if refusal is not None]
    if not refused:
        return
    reason = Reason(ACCESS_ENDED, refused[0][1].message)
    if await _stops(session, refused):
        await tell_to_stop(session, context, job, reason, at=at)
        return
    job.state_code, job.state_message = reason.code, reason.message
    await tell(session, job, reason, attempt_id=attempt_id, at=at, new_id=context.new_id)
    await record(
        session,
        context.actor,
        action=SETTLE,
        resources=[ResourceRef("Job", job.id), *refused[0][1].resources],
        team_id=job.team_id,
        justification=reason.message,
        after={"flagged": ACCESS_ENDED},
        at=at,
        new_id=context.new_id,
    )


async def _stops(session: ReadSession, refused: list[tuple[JobInput, AccessRefused]]) -> bool:
    """Whether one of the data sets stops jobs. What a model was made from is not asked: it stops them."""
    if any(each.kind == InputKind.MODEL_VERSION for each, _ in refused):
        return True
    statement = (
        select(Dataset.id)
        .join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
        .where(DatasetVersion.id.in_([each.source_id for each, _ in refused]))
        .where(Dataset.withdrawal_policy == WithdrawalPolicy.STOP)
        .limit(1)
    )
    return await session.scalar(statement) is not None
