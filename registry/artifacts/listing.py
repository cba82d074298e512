"""The stored files of an owner, with the addresses that they are read from."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from guildhall.db.transaction import ReadSession
from registry.artifacts.owners import OwnerRef
from registry.artifacts.tables import Artifact, ArtifactState


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file; whether it may be read is decided when its address is asked for it."""

    artifact_id: UUID
    path: str
    size_bytes: int
    sha256: str
    url: str


def artifact_url(public_url: str, artifact_id: UUID) -> str:
    """Where the bytes of a file are read."""
    return f"{public_url}/artifacts/{artifact_id}"


async def stored_files(session: ReadSession, owner: OwnerRef, *, public_url: str) -> list[StoredFile]:
    """All files of the owner whose bytes were verified, by path."""
    statement = (
        select(Artifact.id, Artifact.path, Artifact.size_bytes, Artifact.sha256)
        .where(Artifact.owner_kind == owner.kind, Artifact.owner_id == owner.id)
        .where(Artifact.state == ArtifactState.STORED)
        .order_by(Artifact.path)
    )
    return [
        StoredFile(
            artifact_id=artifact_id,
            path=path,
            size_bytes=size_bytes,
            sha256=sha256,
            url=artifact_url(public_url, artifact_id),
        )
        for artifact_id, path, size_bytes, sha256 in (await session.execute(statement))
    ]
