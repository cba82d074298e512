"""The output of an attempt: registered with what was observed of the run, uploaded, and then a READY model version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from guildhall.auth.actor import Actor
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database, ReadSession, WriteSession
from guildhall.errors import Conflict
from registry.artifacts.completing import MissingFile, complete_uploads, verify_uploads
from registry.artifacts.files import FileSpec
from registry.artifacts.owners import OwnerRef
from registry.artifacts.planning import Upload, pending_uploads
from registry.artifacts.tables import Artifact, ArtifactPart, OwnerKind
from registry.artifacts.tickets import UploadTickets
from registry.lineage.edges import LineageSource
from registry.lineage.tables import NodeKind
from registry.models.reported import METRICS_MAX, Metric
from registry.models.run_outputs import register_run_output
from registry.owners import UPLOAD_OWNERS
from registry.storage import ArtifactStore
from scheduler.clusters.executor import Reason
from scheduler.jobs.moving import tell
from scheduler.jobs.spec import InputKind, JobSpec
from scheduler.jobs.tables import InputOpening, JobInput, JobMetric, JobOutput
from scheduler.runs.live import LiveAttempt, lock_live, read_live

NODE_KINDS = {
    InputKind.DATASET_VERSION: NodeKind.DATASET_VERSION,
    InputKind.MODEL_VERSION: NodeKind.MODEL_VERSION,
}
METRICS_READ_MAX = 100_000


class NoOutput(Conflict):
    """The job was submitted without an output model, or has announced nothing yet."""

    code = "NO_OUTPUT"


@dataclass(frozen=True, kw_only=True)
class Announced:
    """The version that is being made, and where to send its files; parts that have arrived need not be sent again."""

    model_version_id: UUID
    uploads: Sequence[Upload]
    parts_received: Mapping[str, Sequence[int]]


async def announce_output(
    session: WriteSession,
    actor: Actor,
    *,
    files: Sequence[FileSpec],
    metrics: Sequence[Metric],
    parameters: Mapping[str, Any],
    card: Mapping[str, str],
    public_url: str,
    part_size_bytes: int,
    tickets: UploadTickets,
    at: datetime,
    new_id: IdSource,
) -> Announced:
    """Make the version of the attempt's output, or find the one that it has made, and say what is still to be sent.

    Its inputs are those that our API opened to this attempt; its metrics are the last of each name that was reported.
    """
    live = await lock_live(session, actor)
    spec = JobSpec.from_json(live.job.spec)
    if spec.output is None:
        raise NoOutput("This job was submitted without an output model.")
    opened = await _opened(session, live)
    output = await register_run_output(
        session,
        actor,
        model_id=spec.output.model_id,
        files=files,
        metrics=[*await _last_metrics(session, live.attempt.id), *metrics],
        parameters={**(live.attempt.parameters or {}), **parameters},
        environment=live.attempt.environment or {},
        inputs=list(opened),
        read_since=live.attempt.created_at,
        read_under_grants={source.id for source, under_grant in opened.items() if under_grant},
        package_id=spec.package_id,
        job_id=live.job.id,
        card=card,
        at=at,
        new_id=new_id,
    )
    row = {
        "attempt_id": live.attempt.id,
        "job_id": live.job.id,
        "model_version_id": output.model_version_id,
        "created_at": at,
    }
    await session.execute(insert(JobOutput).values(row).on_conflict_do_nothing(index_elements=["attempt_id"]))
    uploads = await pending_uploads(
        session, owner=output.owner, public_url=public_url, part_size_bytes=part_size_bytes, tickets=tickets, at=at
    )
    return Announced(
        model_version_id=output.model_version_id,
        uploads=uploads,
        parts_received=await _parts_received(session, output.owner),
    )


async def complete_output(
    database: Database, store: ArtifactStore, actor: Actor, *, clock: Clock, new_id: IdSource
) -> Sequence[MissingFile]:
    """Verify what was sent and make the version READY; the answer is what is missing or wrong, if anything."""
    async with database.read() as session:
        live = await read_live(session, actor)
        version_id = await session.scalar(
            select(JobOutput.model_version_id).where(JobOutput.attempt_id == live.attempt.id)
        )
    if version_id is None:
        raise NoOutput("This attempt has announced no output.")
    owner = OwnerRef(OwnerKind.MODEL_VERSION, version_id)
    verification = await verify_uploads(database, store, actor, owner=owner, owners=UPLOAD_OWNERS)
    at = clock.now()
    async with database.transaction() as session:
        live = await lock_live(session, actor)
        completion = await complete_uploads(
            session, actor, verification=verification, owners=UPLOAD_OWNERS, at=at, new_id=new_id
        )
        if not completion.missing:
            await _complete(session, live, at=at, new_id=new_id)
    return completion.missing


async def _complete(session: WriteSession, live: LiveAttempt, *, at: datetime, new_id: IdSource) -> None:
    first = await session.scalar(
        update(JobOutput)
        .where(JobOutput.attempt_id == live.attempt.id, JobOutput.completed_at.is_(None))
        .values(completed_at=at)
        .returning(JobOutput.attempt_id)
    )
    if first is not None:
        reason = Reason("OUTPUT_REGISTERED", "its output is registered as a new version of the model")
        await tell(session, live.job, reason, attempt_id=live.attempt.id, at=at, new_id=new_id)


async def _opened(session: ReadSession, live: LiveAttempt) -> dict[LineageSource, bool]:
    """What was opened to the attempt, and whether each time under a grant rather than by role."""
    statement = (
        select(
            JobInput.kind,
            JobInput.source_id,
            func.bool_and(InputOpening.access_grant_id.is_not(None)).label("under_grant"),
        )
        .join(InputOpening, InputOpening.index == JobInput.index)
        .where(JobInput.job_id == live.job.id, InputOpening.attempt_id == live.attempt.id)
        .group_by(JobInput.kind, JobInput.source_id)
        .order_by(func.min(JobInput.index))
    )
    rows = await session.execute(statement)
    return {LineageSource(NODE_KINDS[InputKind(row.kind)], row.source_id): row.under_grant for row in rows}


async def _last_metrics(session: ReadSession, attempt_id: UUID) -> list[Metric]:
    """Of each name and split the last value; where there are more than a version keeps, those reported last."""
    statement = (
        select(JobMetric)
        .where(JobMetric.attempt_id == attempt_id)
        .order_by(JobMetric.id.desc())
        .limit(METRICS_READ_MAX)
    )
    last: dict[tuple[str, str | None], Metric] = {}
    for row in await session.scalars(statement):
        key = (row.name, row.split)
        if key not in last and len(last) < METRICS_MAX:
            last[key] = Metric(name=row.name, value=row.value, split=row.split, step=row.step)
    return list(reversed(last.values()))


async def _parts_received(session: ReadSession, owner: OwnerRef) -> dict[str, list[int]]:
    statement = (
        select(Artifact.path, ArtifactPart.number)
        .join(ArtifactPart, ArtifactPart.artifact_id == Artifact.id)
        .where(Artifact.owner_kind == owner.kind, Artifact.owner_id == owner.id)
        .order_by(Artifact.path, ArtifactPart.number)
    )
    found: dict[str, list[int]] = {}
    for path, number in await session.execute(statement):
        found.setdefault(path, []).append(number)
    return found
