"""Running jobs whose access to an input has ended: told to stop, or flagged, as the data set's policy says."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import exists, literal, select, tuple_
from sqlalchemy.orm import load_only

from guildhall.audit.record import record
from guildhall.auth.resources import ResourceRef
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import ReadSession, WriteSession
from registry.access.decision import ReadQuestion, decide_each
from registry.access.reading import AccessRefused
from registry.datasets.tables import Dataset, DatasetVersion, WithdrawalPolicy
from scheduler.apply import SETTLE
from scheduler.clusters.executor import Reason
from scheduler.context import SchedulerContext
from scheduler.job_access import ACCESS_ENDED, input_question, judge_input, submitter_gone
from scheduler.jobs.moving import tell
from scheduler.jobs.spec import InputKind
from scheduler.jobs.states import JobState
from scheduler.jobs.tables import Attempt, InputOpening, Job, JobEvent, JobInput
from scheduler.stopping import tell_to_stop

INPUTS_MAX = 100
"""Inputs of running jobs that are decided about together: of a model, one statement walks all that it was made from."""
ROUNDS_MAX = 500
"""How many such rounds one cycle has: more inputs than that are staged on no installation at once."""
_UNDER_WAY = (JobState.STARTING, JobState.RUNNING)


@dataclass(frozen=True)
class Staged:
    """An input that an attempt under way has opened; `gone` says that whoever submitted the job was deactivated."""

    attempt_id: UUID
    index: int
    job_id: UUID
    question: ReadQuestion
    gone: bool


async def act_on_ended_access(context: SchedulerContext) -> None:
    """Ask the rule again about all that running jobs have opened, and act where it would refuse it now.

    That is whatever the rule rests on: a grant that ended, also one of several that opened a model, or to a source that
    was closed since; a role that is not enough any more; a purpose that is no longer permitted, a retention that is
    over; and the right of a person or program that was deactivated. What was flagged once is not asked about again.
    """
    after: Staged | None = None
    for _ in range(ROUNDS_MAX):
        async with context.database.read() as session:
            staged = await _staged(session, after)
            refused = await _refused(session, staged, at=context.clock.now())
        for job_id, attempt_id in refused:
            async with context.database.transaction() as session:
                (job,) = await lock_rows(session, Job, [job_id])
                if job.state in _UNDER_WAY:
                    await _act(session, context, job, attempt_id)
            context.reach("overdue.recorded")
        if len(staged) < INPUTS_MAX:
            return
        after = staged[-1]


async def _staged(session: ReadSession, after: Staged | None) -> list[Staged]:
    """The inputs that follow, in the order of attempts."""
    opened = exists().where(InputOpening.attempt_id == Attempt.id, InputOpening.index == JobInput.index)
    told = (JobEvent.job_id == Job.id, JobEvent.attempt_id == Attempt.id, JobEvent.code == ACCESS_ENDED)
    statement = (
        select(Attempt.id, Job, JobInput, submitter_gone())
        .join(Attempt, Attempt.job_id == Job.id)
        .join(JobInput, JobInput.job_id == Job.id)
        .where(Job.state.in_(_UNDER_WAY), Attempt.ended_at.is_(None), opened, ~exists().where(*told))
        .order_by(Attempt.id, JobInput.index)
        .limit(INPUTS_MAX)
        .options(  # what a job may name in its `spec` is large, and read once for each input
            load_only(Job.team_id, Job.created_by, Job.created_by_kind),
            load_only(JobInput.index, JobInput.kind, JobInput.source_id, JobInput.purpose),
        )
    )
    if after is not None:
        place = literal(after.attempt_id), literal(after.index)
        statement = statement.where(tuple_(Attempt.id, JobInput.index) > tuple_(*place))
    return [
        Staged(attempt_id, each.index, job.id, input_question(job, each), gone)
        for attempt_id, job, each, gone in await session.execute(statement)
    ]


async def _refused(session: ReadSession, staged: Sequence[Staged], *, at: datetime) -> list[tuple[UUID, UUID]]:
    """The jobs and attempts that may not read on, each once, in the order of jobs."""
    decisions = await decide_each(session, [each.question for each in staged], at=at)
    return sorted(
        {
            (each.job_id, each.attempt_id)
            for each, decision in zip(staged, decisions, strict=True)
            if each.gone or not decision.allowed
        }
    )


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
