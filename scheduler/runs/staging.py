"""The assignment of an attempt, and the opening of its inputs: access is decided anew at each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import NotFound
from registry.access.decision import READ_PERMISSIONS
from registry.access.jobs import JobInput as ReadableInput
from registry.access.jobs import JobInputs
from registry.access.reading import not_cut
from registry.artifacts.listing import StoredFile, stored_files
from registry.artifacts.owners import OwnerRef
from registry.artifacts.tables import OwnerKind
from registry.minimisation.cutting import Uncuttable
from registry.minimisation.filtering import Minimiser, WholeFile
from registry.minimisation.filters import DataFilter
from scheduler.job_access import RESOURCE_TYPES, input_resources, judge_input, refusal_where_gone
from scheduler.jobs.spec import InputKind, JobSpec
from scheduler.jobs.tables import InputOpening, Job, JobInput
from scheduler.runs.live import REPORT, AttemptEnded, LiveAttempt, read_live

OWNER_KINDS = {
    InputKind.DATASET_VERSION: OwnerKind.DATASET_VERSION,
    InputKind.MODEL_VERSION: OwnerKind.MODEL_VERSION,
}


class UnknownInput(NotFound):
    """The job has no input of this number."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a runner is to do; `hold_ends_at` is when it stops trying to reach us."""

    job_id: UUID
    name: str
    attempt: int
    spec: JobSpec
    package: StoredFile | None
    hold_ends_at: datetime


@dataclass(frozen=True, kw_only=True)
class OpenedInput:
    """The files of an input, and what may be staged of them; the rest is what a refusal names."""

    files: Sequence[StoredFile]
    limits: DataFilter | None
    permission: str
    resources: tuple[ResourceRef, ...]
    team_id: UUID
    purpose: str


async def read_assignment(
    session: ReadSession, actor: Actor, *, public_url: str, grace_seconds: int, at: datetime
) -> Assignment:
    """The assignment of the caller's attempt. The executor ends the command at its walltime, a grace before the end."""
    live = await read_live(session, actor)
    spec = JobSpec.from_json(live.job.spec)
    package: StoredFile | None = None
    if spec.package_id is not None:
        owner = OwnerRef(OwnerKind.PACKAGE, spec.package_id)
        (package,) = await stored_files(session, owner, public_url=public_url)
    started_at = live.attempt.started_at or at
    return Assignment(
        job_id=live.job.id,
        name=live.attempt.name,
        attempt=live.attempt.number,
        spec=spec,
        package=package,
        hold_ends_at=started_at + timedelta(seconds=spec.walltime_seconds + grace_seconds),
    )


async def open_input(
    session: WriteSession, actor: Actor, *, index: int, public_url: str, at: datetime, new_id: IdSource
) -> OpenedInput:
    """The files of an input, if the job's team may still read it for its purpose; else AccessRefused, UnknownInput."""
    live = await read_live(session, actor)
    found = await session.scalar(select(JobInput).where(JobInput.job_id == live.job.id, JobInput.index == index))
    if found is None:
        raise UnknownInput(f"The job has no input {index}.")
    kind = InputKind(found.kind)
    decision, refusal = await judge_input(session, live.job, found, at=at)
    if refusal is not None:
        raise refusal
    await _note_opening(session, live, index, decision.grant_id, at=at, new_id=new_id)
    resources = await input_resources(session, kind, found.source_id)
    await record(
        session,
        actor,
        action=REPORT,
        resources=[ResourceRef("Job", live.job.id), *resources],
        team_id=live.job.team_id,
        purpose=found.purpose,
        justification=decision.justification,
        access_grant_id=decision.grant_id,
        after={"openedInput": index},
        at=at,
        new_id=new_id,
    )
    return OpenedInput(
        files=await stored_files(session, OwnerRef(OWNER_KINDS[kind], found.source_id), public_url=public_url),
        limits=decision.limits,
        permission=READ_PERMISSIONS[RESOURCE_TYPES[kind]],
        resources=resources,
        team_id=live.job.team_id,
        purpose=found.purpose,
    )


async def staged_files(minimiser: Minimiser, opened: OpenedInput) -> Sequence[StoredFile]:
    """The files with the sizes and digests that will arrive, which a narrowed grant makes smaller; or AccessRefused."""
    if opened.limits is None:
        return opened.files
    staged = []
    for file in opened.files:
        whole = WholeFile(artifact_id=file.artifact_id, path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
        try:
            part = await minimiser.filtered(whole, opened.limits)
        except Uncuttable as error:
            raise not_cut(
                error,
                file.path,
                permission=opened.permission,
                resources=opened.resources,
                team_id=opened.team_id,
                purpose=opened.purpose,
            ) from error
        staged.append(replace(file, size_bytes=part.size_bytes, sha256=part.sha256))
    return staged


async def find_job_input(session: ReadSession, actor: Actor, owner: OwnerRef, /) -> ReadableInput | None:
    """For downloads: whether the files belong to the package or an input of the caller's attempt, while it is live.

    Raises AccessRefused about an input where whoever submitted the job was deactivated.
    """
    try:
        live = await read_live(session, actor)
    except AttemptEnded:
        return None
    if owner.kind is OwnerKind.PACKAGE:
        return ReadableInput() if live.job.spec["package_id"] == str(owner.id) else None
    return await _as_input(session, live.job, owner)


async def note_job_opening(
    session: WriteSession, actor: Actor, resource: ResourceRef, grant_id: UUID | None, *, at: datetime, new_id: IdSource
) -> None:
    """For downloads: write by which right the attempt reads the input, which may have become another since staging."""
    live = await read_live(session, actor)
    kinds = [kind.value for kind, name in RESOURCE_TYPES.items() if name == resource.type]
    statement = select(JobInput.index).where(
        JobInput.job_id == live.job.id, JobInput.source_id == resource.id, JobInput.kind.in_(kinds)
    )
    for index in (await session.scalars(statement.order_by(JobInput.index))).all():
        await _note_opening(session, live, index, grant_id, at=at, new_id=new_id)


JOB_INPUTS = JobInputs(find_job_input, note_job_opening)
"""What the application gives to the routes of artifacts."""


async def _note_opening(
    session: WriteSession, live: LiveAttempt, index: int, grant_id: UUID | None, *, at: datetime, new_id: IdSource
) -> None:
    """Each right once, with its first opening."""
    opening = {
        "id": new_id(),
        "attempt_id": live.attempt.id,
        "index": index,
        "opened_at": at,
        "access_grant_id": grant_id,
    }
    await session.execute(insert(InputOpening).values(opening).on_conflict_do_nothing())


async def _as_input(session: ReadSession, job: Job, owner: OwnerRef) -> ReadableInput | None:
    statement = (
        select(JobInput)
        .where(JobInput.job_id == job.id, JobInput.source_id == owner.id, JobInput.kind == owner.kind.value)
        .order_by(JobInput.index)
        .limit(1)
    )
    found = await session.scalar(statement)
    if found is None:
        return None
    refusal = await refusal_where_gone(session, job, found)
    if refusal is not None:
        raise refusal
    return ReadableInput(purpose=found.purpose)
