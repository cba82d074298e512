"""Opening files for reading: are they there for the caller, and may they read them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused, team_rows
from guildhall.auth.resources import ResourceRef
from guildhall.auth.standing import hold_standing
from guildhall.auth.subjects import ActorKind
from guildhall.clock import Clock
from guildhall.db.among import among
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict, Invalid, NotFound
from registry.access.decision import (
    READ_PERMISSIONS,
    AccessDecision,
    Reason,
    decide_read,
    reading_person,
    reading_teams,
)
from registry.access.jobs import JobInputs
from registry.artifacts.completing import blob_key
from registry.artifacts.owners import OwnerRef
from registry.artifacts.packages import READ as READ_PACKAGE
from registry.artifacts.tables import Artifact, ArtifactState, OwnerKind, Package
from registry.datasets.lookup import visible_datasets
from registry.datasets.tables import Dataset, DatasetVersion
from registry.minimisation.cutting import Uncuttable, is_table
from registry.minimisation.filtering import Filtered, Minimiser, WholeFile
from registry.minimisation.filters import DataFilter
from registry.models.lookup import visible_models
from registry.models.tables import Model, ModelVersion

NOT_AN_INPUT = Reason("NOT_AN_INPUT", "A job reads only the inputs that it was submitted with, while it runs.")


class AccessRefused(Refused):
    """The caller may know of the data but not read it now; `details["reason"]` is the code of the decision."""

    code = "ACCESS_REFUSED"


@dataclass(frozen=True, kw_only=True)
class OpenedFile:
    """A file that may be read, and why. `action`, `resources` and the rest are what the audit events about it name.

    Where `limits` are set, only what they leave may leave; once that is made, `key`, size, digest and rows are its own,
    and `whole_sha256` names what it was cut out of. The same of a preview, of `shown_rows` rows at most.
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
    shown_rows: int | None = None


class NoPreview(Invalid):
    """The file is open to the caller, but has no rows that can be shown; `details["reason"]` says why, for programs."""

    code = "NO_PREVIEW"


class AccessChanged(Conflict):
    """Between preparing the file and sending it, access became another one."""

    code = "ACCESS_CHANGED"

    def __init__(self) -> None:
        super().__init__("What you may read of this has just changed. Ask for it again.")


class DecisionPassed(Exception):
    """The caller's token or policy is not the one that was decided by: they are to be identified anew."""


@dataclass(frozen=True, kw_only=True)
class _Owner:
    """The owner of a file, as far as reading is concerned; `visible` is whether the caller may know of it."""

    action: str
    resources: tuple[ResourceRef, ...]
    team_id: UUID
    title: str
    visible: bool


async def open_files(
    session: ReadSession, actor: Actor, artifact_ids: Sequence[UUID], *, job_inputs: JobInputs, at: datetime
) -> tuple[OpenedFile, ...]:
    """Stored files of one owner, in the order asked for, if the actor may read them now; all of them or none.

    Raises NotFound about the first that is not there beside the others, or AccessRefused with the way to ask.
    """
    assert artifact_ids, "somebody asks for at least one file"
    columns = (
        Artifact.id, Artifact.owner_kind, Artifact.owner_id, Artifact.path, Artifact.size_bytes, Artifact.sha256,
        Artifact.media_type, Artifact.rows,
    )  # fmt: skip
    statement = select(*columns).where(among(Artifact.id, artifact_ids), Artifact.state == ArtifactState.STORED)
    rows = {row.id: row for row in await session.execute(statement)}
    first = rows.get(artifact_ids[0])
    ref = None if first is None else OwnerRef(OwnerKind(first.owner_kind), first.owner_id)
    owner = None if ref is None else await _find_owner(session, actor, ref)
    if first is None or ref is None or owner is None:
        raise _no_such_file(artifact_ids[0], artifact_ids)
    purpose: str | None = None
    if actor.kind is ActorKind.JOB:
        found = await job_inputs.find(session, actor, ref)
        if found is None:
            raise _refusal(actor, owner, first.path, NOT_AN_INPUT, None)
        purpose = found.purpose
    decision = await _decide(session, actor, owner, purpose, at)
    if not owner.visible and (actor.kind is not ActorKind.JOB) and decision.grant_id is None:
        raise _no_such_file(artifact_ids[0], artifact_ids)
    for artifact_id in artifact_ids:
        row = rows.get(artifact_id)
        if row is None or (row.owner_kind, row.owner_id) != (ref.kind, ref.id):
            raise _no_such_file(artifact_id, artifact_ids)
    if decision.reason is not None:
        raise _refusal(actor, owner, first.path, decision.reason, purpose)
    return tuple(_opened(rows[artifact_id], owner, decision, actor) for artifact_id in artifact_ids)


def _no_such_file(artifact_id: UUID, asked: Sequence[UUID]) -> NotFound:
    """One of another owner and one that is nowhere are not told apart."""
    if len(asked) == 1:
        return NotFound("There is no such file.")
    return NotFound(f"There is no file {artifact_id} beside the others.", details={"file": str(artifact_id)})


def _opened(row: Any, owner: _Owner, decision: AccessDecision, actor: Actor) -> OpenedFile:  # noqa: ANN401 -- a row
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


async def minimised(minimiser: Minimiser, file: OpenedFile, *, shown_rows: int | None = None) -> OpenedFile:
    """The file as it may leave: itself, or what its limits leave of it. Raises AccessRefused where it cannot be cut.

    With `shown_rows` the first rows of that as JSON; raises NoPreview where it is open in full and cannot be shown.
    """
    if file.limits is None and shown_rows is None:
        return file
    if shown_rows is not None and not is_table(file.path):
        message = (
            f"{file.path} is no table: a preview shows the rows of .csv, .parquet and .pq files. Download it instead."
        )
        raise NoPreview(message, details={"reason": "NOT_A_TABLE"})
    whole = WholeFile(artifact_id=file.artifact_id, path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
    try:
        part = await minimiser.filtered(whole, replace(file.limits or DataFilter(), shown_rows=shown_rows))
    except Uncuttable as error:
        if file.limits is None:
            message = f"{file.path} cannot be shown as a table. {error.message} Download it to look at its bytes."
            raise NoPreview(message, details={"reason": error.code}) from error
        raise not_cut(
            error,
            file.path,
            permission=file.action,
            resources=file.resources,
            team_id=file.team_id,
            purpose=file.purpose,
        ) from error
    return replace(_part_of(file, part), shown_rows=shown_rows)


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
    session: WriteSession, actor: Actor, files: Sequence[OpenedFile], *, job_inputs: JobInputs, clock: Clock
) -> tuple[datetime, tuple[OpenedFile, ...]]:
    """Decide again in the transaction that announces the read, and say for which moment.

    Raises as `open_files` does, and DecisionPassed. What was cut meanwhile stays as it is. All that the decision rests
    on is held until the commit (`hold_standing`). So a withdrawal is either seen here or comes after the intent.
    """
    at = await hold_standing(session, actor, clock=clock)
    if at is None:
        raise DecisionPassed
    opened = await open_files(session, actor, [file.artifact_id for file in files], job_inputs=job_inputs, at=at)
    if opened[0].limits != files[0].limits:
        raise AccessChanged
    return at, tuple(_as_cut(now, file) for now, file in zip(opened, files, strict=True))


def _as_cut(now: OpenedFile, file: OpenedFile) -> OpenedFile:
    if file.whole_sha256 is None:
        return now
    return replace(
        now,
        key=file.key,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        rows=file.rows,
        whole_sha256=file.whole_sha256,
        shown_rows=file.shown_rows,
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
