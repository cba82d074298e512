"""Versions of data sets: announced with their files and columns, READY once every file was verified."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, update

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Invalid, InvalidInput, Problem
from registry.artifacts.files import FileSpec
from registry.artifacts.owners import OwnerRef, UploadOwner, UploadRight
from registry.artifacts.planning import plan_uploads
from registry.artifacts.tables import OwnerKind
from registry.datasets.lookup import dataset_refs, find_dataset, find_dataset_version
from registry.datasets.tables import Dataset, DatasetVersion, DatasetVersionState

ADD_VERSION = "registry:dataset:add-version"
COLUMNS_MAX = 2_000
NAME_CHARACTERS_MAX = 200
TYPE_CHARACTERS_MAX = 100
ROWS_MAX = 2**63 - 1


class InvalidRows(Invalid):
    """A number of rows that cannot be."""

    code = "INVALID_ROWS"


@dataclass(frozen=True, kw_only=True)
class ColumnSpec:
    """One column; `personal` says that its values are about persons."""

    name: str
    type: str
    unit: str | None = None
    personal: bool = False


async def create_dataset_version(
    session: WriteSession,
    actor: Actor,
    *,
    dataset_id: UUID,
    files: Sequence[FileSpec],
    columns: Sequence[ColumnSpec] = (),
    rows: int | None = None,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Announce the next version, a DRAFT, and return its id; `pending_uploads` then tells where its files go.

    Raises NotFound, PermissionRefused, InvalidInput about files or columns, TooManyFiles.
    """
    dataset = await find_dataset(session, actor, dataset_id, field="datasetId")
    require(actor, ADD_VERSION, team_id=dataset.team_id, resource=ResourceRef("Dataset", dataset_id))
    checked = _require_columns(columns)
    if rows is not None and not 0 <= rows <= ROWS_MAX:
        raise InvalidRows(f"{rows} cannot be a number of rows.", field="rows")
    await lock_rows(session, Dataset, [dataset_id])  # one number after the other
    newest = await session.scalar(
        select(func.max(DatasetVersion.number)).where(DatasetVersion.dataset_id == dataset_id)
    )
    version = DatasetVersion(
        id=new_id(),
        dataset_id=dataset_id,
        number=(newest or 0) + 1,
        state=DatasetVersionState.DRAFT,
        columns=[asdict(column) for column in checked],
        rows=rows,
        created_by=actor.id,
        created_at=at,
    )
    session.add(version)
    await session.flush()
    owner = OwnerRef(OwnerKind.DATASET_VERSION, version.id)
    await plan_uploads(session, owner=owner, files=files, at=at, new_id=new_id)
    await record(
        session,
        actor,
        action=ADD_VERSION,
        team_id=dataset.team_id,
        resources=dataset_refs(dataset_id, version.id),
        rows=rows,
        bytes=sum(file.size_bytes for file in files),
        after={"number": version.number, "files": len(files), "columns": len(checked)},
        at=at,
        new_id=new_id,
    )
    return version.id


async def _require_writer(session: ReadSession, actor: Actor, version_id: UUID) -> UploadRight:
    found = await find_dataset_version(session, actor, version_id, field="ownerId")
    resources = dataset_refs(found.dataset.id, version_id)
    require(actor, ADD_VERSION, team_id=found.dataset.team_id, resource=resources[0])
    return UploadRight(permission=ADD_VERSION, team_id=found.dataset.team_id, resources=resources)


async def _finish(session: WriteSession, _actor: Actor, owner_id: UUID, *, at: datetime, new_id: IdSource) -> None:
    del new_id
    draft = (DatasetVersion.id == owner_id) & (DatasetVersion.state == DatasetVersionState.DRAFT)
    await session.execute(update(DatasetVersion).where(draft).values(state=DatasetVersionState.READY, ready_at=at))


DATASET_VERSION_OWNER = UploadOwner(require_writer=_require_writer, finish=_finish)


def _require_columns(columns: Sequence[ColumnSpec]) -> list[ColumnSpec]:
    """The columns, trimmed; InvalidInput for empty, long or repeated names."""
    problems = []
    if len(columns) > COLUMNS_MAX:
        problems.append(
            Problem("TOO_MANY", f"{len(columns)} columns are more than the {COLUMNS_MAX} that fit.", "columns")
        )
    checked = []
    seen: set[str] = set()
    for number, column in enumerate(columns[:COLUMNS_MAX]):
        name, kind, unit = column.name.strip(), column.type.strip(), (column.unit or "").strip()
        field = f"columns[{number}]"
        if not name or len(name) > NAME_CHARACTERS_MAX or "\0" in name:
            problems.append(
                Problem(
                    "INVALID_COLUMN", f"A column's name has 1 to {NAME_CHARACTERS_MAX} characters.", f"{field}.name"
                )
            )
        if not kind or max(len(kind), len(unit)) > TYPE_CHARACTERS_MAX or "\0" in kind + unit:
            message = f"A column's type has 1 to {TYPE_CHARACTERS_MAX} characters, its unit at most as many."
            problems.append(Problem("INVALID_COLUMN", message, f"{field}.type"))
        if name in seen:
            problems.append(Problem("DUPLICATE_COLUMN", f"The column {name!r} is named twice.", f"{field}.name"))
        seen.add(name)
        checked.append(ColumnSpec(name=name, type=kind, unit=unit or None, personal=column.personal))
    if problems:
        raise InvalidInput(problems)
    return checked
