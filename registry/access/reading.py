"""Opening one file for reading: is it there for the caller, may they read it, and what the audit record says of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, select

from guildhall.audit.record import record
from guildhall.audit.tables import Outcome
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused, team_rows
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict, NotFound
from registry.access.decision import (
    READ_PERMISSIONS,
    AccessDecision,
    Reason,
    decide_read,
    reading_person,
    reading_teams,
)
from registry.access.jobs import JobInputs
from registry.access.tables import AccessGrant
from registry.artifacts.completing import blob_key
from registry.artifacts.owners import OwnerRef
from registry.artifacts.packages import READ as READ_PACKAGE
from registry.artifacts.tables import Artifact, ArtifactState, OwnerKind, Package
from registry.datasets.lookup import visible_datasets
from registry.datasets.tables import Dataset, DatasetVersion
from registry.minimisation.cutting import Uncuttable
from registry.minimisation.filtering import Filtered, Minimiser, WholeFile
from registry.minimisation.filters import DataFilter
from registry.models.lookup import visible_models
from registry.models.tables import Model, ModelVersion
from registry.volume.reserving import Reading

NOT_AN_INPUT = Reason("NOT_AN_INPUT", "A job reads only the inputs that it was submitted with, while it runs.")


class AccessRefused(Refused):
    """The caller may know of the data but not read it now; `details["reason"]` is the code of the decision."""

    code = "ACCESS_REFUSED"


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """A file that may be read, and why. `action`, `resources` and the rest are what the audit events about it name.

    Where `limits` are set, only what they leave may leave; once that is made, `key`, size, digest and rows are its own,
    and `whole_sha256` names what it was cut out of.
    """

    artifact_id: UUID
    key: str
    path: str
    size_bytes: int
    sha256: str
    media_type: str
    rows: int | None
    action: str
    resources: tuple[ResourceRef, ...]
    team_id: UUID | None
    purpose: str | None
    justification: str | None
    grant_id: UUID | None
    limits: DataFilter | None = None
    whole_sha256: str | None = None


class AccessChanged(Conflict):
    """Between preparing the file and sending it, access became another one."""

    code = "ACCESS_CHANGED"


@dataclass(frozen=True, kw_only=True)
class _Owner:
    """The owner of a file, as far as reading is concerned; `visible` is whether the caller may know of it."""

    action: str
    resources: tuple[ResourceRef, ...]
    team_id: UUID
    title: str
    visible: bool


async def open_file(
    session: ReadSession, actor: Actor, artifact_id: UUID, *, job_inputs: JobInputs, at: datetime
) -> OpenedFile:
    """The stored file, if the actor may read it now. Raises NotFound, or AccessRefused with the way to ask."""
    row = await session.scalar(
        select(Artifact).where(Artifact.id == artifact_id, Artifact.state == ArtifactState.STORED)
    )
    owner = (
        None if row is None else await _find_owner(session, actor, OwnerRef(OwnerKind(row.owner_kind), row.owner_id))
    )
    if row is None or owner is None:
        raise NotFound("There is no such file.")
    purpose: str | None = None
    if actor.kind is ActorKind.JOB:
        found = await job_inputs.find(session, actor, OwnerRef(OwnerKind(row.owner_kind), row.owner_id))
        if found is None:
            raise _refusal(actor, owner, row.path, NOT_AN_INPUT, None)
        purpose = found.purpose
    decision = await _decide(session, actor, owner, purpose, at)
    if not owner.visible and (actor.kind is not ActorKind.JOB) and decision.grant_id is None:
        raise NotFound("There is no such file.")
    if decision.reason is not None:
        raise _refusal(actor, owner, row.path, decision.reason, purpose)
    return OpenedFile(
        artifact_id=row.id,
        key=blob_key(row.sha256),
        path=row.path,
        size_bytes=row.size_bytes,
        sha256=row.sha256,
        media_type=row.media_type,
        rows=row.rows,
        action=owner.action,
        resources=owner.resources,
        team_id=decision.team_id or _acting_team(actor, owner),
        purpose=decision.purpose,
        justification=decision.justification,
        grant_id=decision.grant_id,
        limits=decision.limits,
    )


async def minimised(minimiser: Minimiser, file: OpenedFile) -> OpenedFile:
    """The file as it may leave: itself, or what its limits leave of it. Raises AccessRefused where it cannot be cut."""
    if file.limits is None:
        return file
    whole = WholeFile(artifact_id=file.artifact_id, path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
    try:
        part = await minimiser.filtered(whole, file.limits)
    except Uncuttable as error:
        raise not_cut(
            error,
            file.path,
            permission=file.action,
            resources=file.resources,
            team_id=file.team_id,
            purpose=file.purpose,
        ) from error
    return _part_of(file, part)


def not_cut(
    error: Uncuttable,
    path: str,
    *,
    permission: str,
    resources: Sequence[ResourceRef],
    team_id: UUID | None,
    purpose: str | None,
) -> AccessRefused:
    """The refusal of a file that a narrowed grant opens and that cannot be narrowed: never sent whole instead."""
    return AccessRefused(
        f"Your access grant is for some columns or rows only, and {path} cannot be cut to them. {error.message} "
        "Ask the stewards for access to the whole of it with requestAccess.",
        permission=permission,
        resources=resources,
        team_id=team_id,
        purpose=purpose,
        details={"reason": error.code},
    )


def _part_of(file: OpenedFile, part: Filtered) -> OpenedFile:
    return replace(
        file,
        key=part.key,
        size_bytes=part.size_bytes,
        sha256=part.sha256,
        rows=part.rows,
        whole_sha256=file.sha256,
    )


async def open_again(
    session: WriteSession, actor: Actor, file: OpenedFile, *, job_inputs: JobInputs, at: datetime
) -> OpenedFile:
    """Decide again in the transaction that announces the read; raises as `open_file` does.

    What was cut meanwhile stays as it is. The grant that it goes by is held until the commit, so a withdrawal is either
    seen here or comes after the intent.
    """
    if file.grant_id is not None:
        await session.execute(select(AccessGrant.id).where(AccessGrant.id == file.grant_id).with_for_update(read=True))
    again = await open_file(session, actor, file.artifact_id, job_inputs=job_inputs, at=at)
    if again.limits != file.limits:
        raise AccessChanged("What you may read of this file has just changed. Ask for it again.")
    if file.whole_sha256 is None:
        return again
    return replace(
        again,
        key=file.key,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        rows=file.rows,
        whole_sha256=file.whole_sha256,
    )


async def is_live(session: ReadSession, grant_id: UUID, *, at: datetime) -> bool:
    """Whether the grant still counts, for whoever is in the middle of sending what it opened."""
    statement = select(AccessGrant.id).where(
        AccessGrant.id == grant_id, AccessGrant.withdrawn_at.is_(None), AccessGrant.valid_to > at
    )
    return await session.scalar(statement) is not None


async def record_intent(
    session: WriteSession, actor: Actor, file: OpenedFile, *, size_bytes: int, at: datetime, new_id: IdSource
) -> UUID:
    """Write that these bytes are about to leave, and return the event's id; to be committed before the first."""
    return await record(
        session,
        actor,
        action=file.action,
        outcome=Outcome.STARTED,
        resources=[*file.resources, ResourceRef("Artifact", file.artifact_id)],
        team_id=file.team_id,
        purpose=file.purpose,
        justification=file.justification,
        access_grant_id=file.grant_id,
        rows=file.rows if size_bytes == file.size_bytes else None,
        bytes=size_bytes,
        after=None if file.limits is None else {"limits": file.limits.as_json(), "sha256": file.sha256},
        at=at,
        new_id=new_id,
    )


def reading_of(file: OpenedFile, *, span_bytes: int) -> Reading | None:
    """What counts against the budgets of a data set; None for models and packages. Of a part, its share of the rows."""
    if file.resources[0].type != "DatasetVersion":
        return None
    rows = None if file.rows is None else -(-file.rows * span_bytes // max(file.size_bytes, 1))
    return Reading(
        version_id=file.resources[0].id,
        dataset_id=file.resources[1].id,
        rows=rows,
        size_bytes=span_bytes,
        team_id=file.team_id,
        permission=file.action,
        purpose=file.purpose,
        justification=file.justification,
        grant_id=file.grant_id,
        resources=(*file.resources, ResourceRef("Artifact", file.artifact_id)),
    )


async def _find_owner(session: ReadSession, actor: Actor, owner: OwnerRef) -> _Owner | None:
    if owner.kind is OwnerKind.DATASET_VERSION:
        statement = (
            select(Dataset.id, Dataset.team_id, Dataset.name, _as_column(visible_datasets(actor)))
            .join(DatasetVersion, DatasetVersion.dataset_id == Dataset.id)
            .where(DatasetVersion.id == owner.id)
        )
        kinds, title = ("DatasetVersion", "Dataset"), "the data set"
    elif owner.kind is OwnerKind.MODEL_VERSION:
        statement = (
            select(Model.id, Model.team_id, Model.name, _as_column(visible_models(actor)))
            .join(ModelVersion, ModelVersion.model_id == Model.id)
            .where(ModelVersion.id == owner.id)
        )
        kinds, title = ("ModelVersion", "Model"), "the model"
    else:
        return await _find_package(session, actor, owner.id)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        return None
    whole_id, team_id, name, visible = row
    return _Owner(
        action=READ_PERMISSIONS[kinds[0]],
        resources=(ResourceRef(kinds[0], owner.id), ResourceRef(kinds[1], whole_id)),
        team_id=team_id,
        title=f"{title} {name}",
        visible=visible,
    )


async def _find_package(session: ReadSession, actor: Actor, package_id: UUID) -> _Owner | None:
    visible = team_rows(actor, team_column=Package.team_id, permission=READ_PACKAGE)
    statement = select(Package.team_id, _as_column(visible)).where(Package.id == package_id)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        return None
    return _Owner(
        action=READ_PACKAGE,
        resources=(ResourceRef("Package", package_id),),
        team_id=row[0],
        title="the package",
        visible=row[1],
    )


async def _decide(
    session: ReadSession, actor: Actor, owner: _Owner, purpose: str | None, at: datetime
) -> AccessDecision:
    """A package goes by role alone, which its visibility is; data and models go by the one rule about access."""
    if owner.action == READ_PACKAGE:
        return AccessDecision(allowed=True)
    return await decide_read(
        session,
        actor_user_id=reading_person(actor, owner.action),
        team_ids=reading_teams(actor, owner.action),
        resource=owner.resources[0],
        purpose=purpose,
        at=at,
    )


def _refusal(actor: Actor, owner: _Owner, path: str, reason: Reason, purpose: str | None) -> AccessRefused:
    return AccessRefused(
        f"You may not read {path} of {owner.title}. {reason.message}",
        permission=owner.action,
        resources=owner.resources,
        team_id=_acting_team(actor, owner),
        purpose=purpose,
        details={"reason": reason.code},
    )


def _acting_team(actor: Actor, owner: _Owner) -> UUID | None:
    """The team on whose behalf is read, as far as that can be told: the owning one, or the only one of the actor."""
    if actor.team_id is not None:
        return actor.team_id
    teams = actor.team_ids
    if owner.team_id in teams:
        return owner.team_id
    return next(iter(teams)) if len(teams) == 1 else None


def _as_column(predicate: ColumnElement[bool]) -> ColumnElement[bool]:
    return predicate.label("visible")
