"""Whether a job may still read its inputs: asked at the quote, once more at admission, and at each opening."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, or_, select

from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import ServiceAccount, User
from guildhall.db.among import among
from guildhall.db.transaction import ReadSession
from registry.access.decision import (
    READ_PERMISSIONS,
    AccessDecision,
    Reader,
    ReadQuestion,
    Reason,
    decide_each,
    decide_read,
)
from registry.access.reading import AccessRefused
from registry.datasets.lookup import dataset_refs
from registry.datasets.tables import DatasetVersion
from registry.models.lookup import version_resources
from registry.models.tables import ModelVersion
from scheduler.jobs.spec import InputKind
from scheduler.jobs.tables import Job, JobInput

ACCESS_ENDED = "ACCESS_ENDED"
SUBMITTER_GONE = "SUBMITTER_DEACTIVATED"
RUN = "scheduler:job:submit"

RESOURCE_TYPES = {InputKind.DATASET_VERSION: "DatasetVersion", InputKind.MODEL_VERSION: "ModelVersion"}
"""What an input is called where access and audit name it."""


async def decide_input(
    session: ReadSession,
    *,
    team_id: UUID,
    submitted_by: UUID | None,
    kind: InputKind,
    source_id: UUID,
    purpose: str,
    at: datetime,
) -> AccessDecision:
    """The registry's decision about one input, for the job's team and whoever submitted it."""
    return await decide_read(
        session,
        actor_user_id=submitted_by,
        team_ids={team_id},
        resource=ResourceRef(RESOURCE_TYPES[kind], source_id),
        purpose=purpose,
        at=at,
    )


async def refusal_of_job(session: ReadSession, job: Job, *, at: datetime) -> AccessRefused | None:
    """The refusal of the first input that the job may not read now, or None.

    Nothing of a person or program that was deactivated starts, whether it reads data or not.
    """
    gone = await who_is_gone(session, job)
    if gone is not None:
        return AccessRefused(
            f"{gone}, who submitted this job, was deactivated. Cancel it; somebody who is here may submit it anew.",
            permission=RUN,
            resources=[ResourceRef("Job", job.id)],
            team_id=job.team_id,
            details={"reason": SUBMITTER_GONE},
        )
    inputs = await session.scalars(select(JobInput).where(JobInput.job_id == job.id).order_by(JobInput.index))
    for each in inputs.all():
        _, refusal = await judge_input(session, job, each, at=at)
        if refusal is not None:
            return refusal
    return None


async def judge_input(
    session: ReadSession, job: Job, each: JobInput, *, at: datetime
) -> tuple[AccessDecision, AccessRefused | None]:
    """The decision about one input of a job, and where it is no, the refusal that the audit record keeps.

    Whoever submitted the job answers for what it reads, so when they are deactivated it reads no more.
    """
    (decision,) = await decide_each(session, [input_question(job, each)], at=at)
    if decision.reason is not None:
        return decision, await _refusal(session, job, each, decision.reason)
    return decision, await refusal_where_gone(session, job, each)


def input_question(job: Job, each: JobInput) -> ReadQuestion:
    """What the registry is asked about one input of a job: for the job's team, and the person who submitted it."""
    reader = Reader(submitter(job), frozenset({job.team_id}))
    return ReadQuestion(reader, ResourceRef(RESOURCE_TYPES[InputKind(each.kind)], each.source_id), each.purpose)


async def refusal_where_gone(session: ReadSession, job: Job, each: JobInput) -> AccessRefused | None:
    """The refusal of an input because whoever submitted the job was deactivated, whatever the registry decides."""
    gone = await who_is_gone(session, job)
    if gone is None:
        return None
    return await _refusal(session, job, each, Reason(SUBMITTER_GONE, f"{gone}, who submitted it, was deactivated."))


async def _refusal(session: ReadSession, job: Job, each: JobInput, reason: Reason) -> AccessRefused:
    kind = InputKind(each.kind)
    return AccessRefused(
        f"The job may not read its input at {each.mount_path}. {reason.message}",
        permission=READ_PERMISSIONS[RESOURCE_TYPES[kind]],
        resources=await input_resources(session, kind, each.source_id),
        team_id=job.team_id,
        purpose=each.purpose,
        details={"reason": reason.code},
    )


async def who_is_gone(session: ReadSession, job: Job) -> str | None:
    """The name of the person or program that submitted the job, where they were deactivated since."""
    table = User if job.created_by_kind == ActorKind.USER else ServiceAccount
    return await session.scalar(select(table.name).where(table.id == job.created_by, table.deactivated_at.is_not(None)))


def submitter_gone() -> ColumnElement[bool]:
    """SQL over `jobs`: whether whoever submitted the job was deactivated since."""
    tables = (User, ServiceAccount)
    return or_(*(exists().where(table.id == Job.created_by, table.deactivated_at.is_not(None)) for table in tables))


async def jobs_to_ask_about(session: ReadSession, job_ids: Collection[UUID]) -> set[UUID]:
    """Those that may be refused at all: they read something, or whoever submitted them is gone; one statement."""
    reads = exists().where(JobInput.job_id == Job.id)
    return set(await session.scalars(select(Job.id).where(among(Job.id, job_ids), or_(reads, submitter_gone()))))


async def input_resources(session: ReadSession, kind: InputKind, source_id: UUID) -> tuple[ResourceRef, ...]:
    """An input as the audit record names it: the version, then its whole."""
    if kind is InputKind.DATASET_VERSION:
        dataset_id = await session.scalar(select(DatasetVersion.dataset_id).where(DatasetVersion.id == source_id))
        assert dataset_id is not None, "what a job reads is never deleted"
        return dataset_refs(dataset_id, source_id)
    model_id = await session.scalar(select(ModelVersion.model_id).where(ModelVersion.id == source_id))
    assert model_id is not None, "what a job reads is never deleted"
    return version_resources(source_id, model_id)


def submitter(job: Job) -> UUID | None:
    """The person who submitted the job; None where a service account did."""
    return job.created_by if job.created_by_kind == ActorKind.USER else None
