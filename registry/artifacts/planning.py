"""Announce the files of an owner, and tell callers where to send them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select

from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from registry.artifacts.files import FileSpec, require_files
from registry.artifacts.owners import OwnerRef
from registry.artifacts.parts import part_bytes_begun
from registry.artifacts.tables import Artifact, ArtifactPart, ArtifactState, OwnerKind
from registry.artifacts.tickets import TICKET_HEADER, UploadTickets

UPLOAD_METHOD = "PUT"


@dataclass(frozen=True)
class Header:
    """One header that an upload must carry."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class Upload:
    """How to send one file: in parts of at most `part_size_bytes`, to `url` with `?part=1`, `?part=2` and so on.

    A file that fits into one part needs no `part`. GET on the address tells which parts have arrived.
    """

    path: str
    url: str
    method: str
    part_size_bytes: int
    headers: tuple[Header, ...]


async def plan_uploads(
    session: WriteSession,
    *,
    owner: OwnerRef,
    files: Sequence[FileSpec],
    at: datetime,
    new_id: IdSource,
    field: str = "files",
) -> None:
    """Write one PENDING artifact for each file; raises InvalidInput about `field` where a file cannot be one.

    The caller has authorised the owner and audits its creation; an owner's files are announced once, together.
    """
    rows = [
        {
            "id": new_id(),
            "owner_kind": owner.kind,
            "owner_id": owner.id,
            "path": file.path,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
            "media_type": file.media_type,
            "rows": file.rows,
            "state": ArtifactState.PENDING,
            "created_at": at,
        }
        for file in require_files(files, field=field)
    ]
    await session.execute(insert(Artifact), rows)


async def pending_uploads(
    session: ReadSession,
    *,
    owner: OwnerRef,
    public_url: str,
    part_size_bytes: int,
    tickets: UploadTickets,
    at: datetime,
) -> list[Upload]:
    """Where to send what is still missing, by path. The answer holds a ticket: give it only to who may upload.

    `part_size_bytes` is of files that are not large, see `part_bytes_of`; those that have begun go on as they began.
    """
    statement = (
        select(Artifact.id, Artifact.path, Artifact.size_bytes, ArtifactPart.size_bytes)
        .outerjoin(ArtifactPart, (ArtifactPart.artifact_id == Artifact.id) & (ArtifactPart.number == 1))
        .where(Artifact.owner_kind == owner.kind, Artifact.owner_id == owner.id)
        .where(Artifact.state == ArtifactState.PENDING)
        .order_by(Artifact.path)
    )
    headers = (Header(TICKET_HEADER, tickets.issue(OwnerKind(owner.kind), owner.id, at=at)),)
    return [
        Upload(
            path=path,
            url=f"{public_url}/artifacts/uploads/{artifact_id}",
            method=UPLOAD_METHOD,
            part_size_bytes=part_bytes_begun(size_bytes, least_bytes=part_size_bytes, first_bytes=first_bytes),
            headers=headers,
        )
        for artifact_id, path, size_bytes, first_bytes in (await session.execute(statement))
    ]
