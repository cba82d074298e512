"""Parts of files on their way in: streamed into the store, then written down, so that an upload can go on later.

Only a whole part gets a row. What a cut connection leaves is nothing, or bytes of a growing file behind those that rows
name, which the next part writes over.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import delete, exists, func, select

from guildhall.clock import Clock, IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import Database, ReadSession
from guildhall.errors import Conflict, Invalid, LimitExceeded, NotFound
from registry.artifacts.growing import Growth, Growths
from registry.artifacts.owners import OwnerRef
from registry.artifacts.parts import PARTS_MAX
from registry.artifacts.tables import Artifact, ArtifactPart, ArtifactState, OwnerKind
from registry.storage import ArtifactStore, ArtifactStoreUnavailable

UPLOADS_PREFIX = "uploads"


class UploadNotFound(NotFound):
    """No such file, or none that this caller may upload."""

    code = "UPLOAD_NOT_FOUND"


class AlreadyStored(Conflict):
    """The file is complete; nothing can be added to it."""

    code = "ALREADY_STORED"


class InvalidPart(Invalid):
    """The number of a part is not one."""

    code = "INVALID_PART"


class PartTooLarge(LimitExceeded):
    """More bytes in one part than parts may have."""

    code = "PART_TOO_LARGE"


class TooManyBytes(Invalid):
    """More bytes than were announced for the file."""

    code = "SIZE_MISMATCH"


@dataclass(frozen=True, kw_only=True)
class IncomingFile:
    """A file that was announced and is not stored."""

    artifact_id: UUID
    owner: OwnerRef
    path: str
    size_bytes: int
    state: ArtifactState


@dataclass(frozen=True, kw_only=True)
class ReceivedPart:
    """One part that arrived whole. `offset` is where it begins if all parts before it are there.

    `sha256` is of the part; None where only the digest of the file up to its end was computed.
    """

    number: int
    offset: int
    size_bytes: int
    sha256: str | None


async def find_upload(session: ReadSession, artifact_id: UUID) -> IncomingFile:
    """The announced file. Raises UploadNotFound; whether the caller may upload to its owner is checked after this."""
    row = await session.get(Artifact, artifact_id)
    if row is None:
        raise UploadNotFound("There is no such upload.")
    return IncomingFile(
        artifact_id=row.id,
        owner=OwnerRef(OwnerKind(row.owner_kind), row.owner_id),
        path=row.path,
        size_bytes=row.size_bytes,
        state=ArtifactState(row.state),
    )


async def received_parts(session: ReadSession, artifact_id: UUID) -> list[ReceivedPart]:
    """The parts that arrived, by number: a client that was interrupted sends what is missing."""
    statement = select(ArtifactPart).where(ArtifactPart.artifact_id == artifact_id).order_by(ArtifactPart.number)
    parts = []
    offset = 0
    for row in await session.scalars(statement):
        parts.append(ReceivedPart(number=row.number, offset=offset, size_bytes=row.size_bytes, sha256=row.sha256))
        offset += row.size_bytes
    return parts


async def receive_part(
    database: Database,
    store: ArtifactStore,
    growths: Growths,
    *,
    file: IncomingFile,
    number: int,
    chunks: AsyncIterator[bytes],
    part_bytes_max: int,
    clock: Clock,
    new_id: IdSource,
) -> ReceivedPart:
    """Store one part of a file whose upload the caller was found to have a right to; sent again, it replaces the first.

    `chunks` raises where the connection is cut; that ends the part without a trace. Raises InvalidPart, PartTooLarge,
    TooManyBytes, AlreadyStored, ArtifactStoreUnavailable. No transaction is open while bytes arrive.
    """
    if not 1 <= number <= PARTS_MAX:
        raise InvalidPart(f"Part {number} cannot be: parts are numbered from 1 to {PARTS_MAX}.", field="part")
    if file.state is ArtifactState.STORED:
        raise _already_stored(file)
    async with database.read() as session:
        others_bytes = await _others_bytes(session, file.artifact_id, number)
        before = await session.get(ArtifactPart, (file.artifact_id, number - 1))
    left = max(file.size_bytes - others_bytes, 0)
    body = _bounded(chunks, file=file, left=left, part_bytes_max=part_bytes_max)
    key = f"{UPLOADS_PREFIX}/{file.artifact_id.hex}/{number:05}-{new_id().hex}"
    growth = growths.take(file.artifact_id, before, number=number, new_key=key)
    if growth is None:
        part = await _stored_apart(store, file, body, number=number, key=key)
    else:
        growth, part = await _appended(growths, growth, file, body, number=number)
    part.received_at = clock.now()
    size_bytes, sha256 = part.size_bytes, part.sha256
    try:
        replaced = await _write_down(database, file, part)
    except (AlreadyStored, UploadNotFound):  # after any other failure the row may be there; the sweeper tells
        await store.delete([key if growth is None else growth.key])
        raise
    if growth is not None and growth.size_bytes < file.size_bytes:
        growths.keep(file.artifact_id, growth)
    await store.delete(replaced)
    return ReceivedPart(number=number, offset=0, size_bytes=size_bytes, sha256=sha256)


async def _others_bytes(session: ReadSession, artifact_id: UUID, number: int) -> int:
    statement = select(func.coalesce(func.sum(ArtifactPart.size_bytes), 0)).where(
        ArtifactPart.artifact_id == artifact_id, ArtifactPart.number != number
    )
    return int(await session.scalar(statement) or 0)


async def _stored_apart(
    store: ArtifactStore, file: IncomingFile, body: AsyncIterator[bytes], *, number: int, key: str
) -> ArtifactPart:
    written = await store.write(key, body)
    return ArtifactPart(
        artifact_id=file.artifact_id,
        number=number,
        size_bytes=written.size_bytes,
        sha256=written.sha256,
        sha256_so_far=written.sha256 if number == 1 else None,
        storage_key=key,
        storage_offset=0,
    )


async def _appended(
    growths: Growths, before: Growth, file: IncomingFile, body: AsyncIterator[bytes], *, number: int
) -> tuple[Growth, ArtifactPart]:
    growth = await growths.append(file.artifact_id, before, body, number=number)
    so_far = growth.digest.hexdigest()
    part = ArtifactPart(
        artifact_id=file.artifact_id,
        number=number,
        size_bytes=growth.size_bytes - before.size_bytes,
        sha256=so_far if number == 1 else None,
        sha256_so_far=so_far,
        storage_key=growth.key,
        storage_offset=before.size_bytes,
    )
    return growth, part


async def _bounded(
    chunks: AsyncIterator[bytes], *, file: IncomingFile, left: int, part_bytes_max: int
) -> AsyncIterator[bytes]:
    """The chunks, until they are more than a part may have or than the file was announced with."""
    size_bytes = 0
    async for chunk in chunks:
        size_bytes += len(chunk)
        if size_bytes > part_bytes_max:
            raise PartTooLarge(f"A part may have {part_bytes_max} bytes at most.", field="part")
        if size_bytes > left:
            raise TooManyBytes(f"{file.path} was announced with {file.size_bytes} bytes, but more came.", field="part")
        yield chunk


async def _write_down(database: Database, file: IncomingFile, part: ArtifactPart) -> list[str]:
    """Put the part's row in place of an earlier one, and return the keys whose bytes nobody needs any more.

    Raises ArtifactStoreUnavailable for one that was appended to what no row names any more: whoever sent the parts
    before it anew takes that file away.
    """
    own = ArtifactPart.artifact_id == part.artifact_id
    same = own & (ArtifactPart.number == part.number)
    before = own & (ArtifactPart.number < part.number) & (ArtifactPart.storage_key == part.storage_key)
    async with database.transaction() as session:
        # The lock makes two deliveries of one part, or a part and a completion, follow each other.
        rows = await lock_rows(session, Artifact, [file.artifact_id])
        if not rows:
            raise UploadNotFound("There is no such upload.")
        if rows[0].state != ArtifactState.PENDING:
            raise _already_stored(file)
        appended = part.sha256 is None
        if appended and not await session.scalar(select(exists().where(before))):
            raise ArtifactStoreUnavailable(
                f"A part of {file.path} before part {part.number} was sent again meanwhile, and part {part.number} was "
                "not kept. Send it again."
            )
        replaced = set(await session.scalars(delete(ArtifactPart).where(same).returning(ArtifactPart.storage_key)))
        session.add(part)
        # A file that grew holds other parts too.
        needed = set(await session.scalars(select(ArtifactPart.storage_key).where(own))) if replaced else set()
    return [key for key in replaced - needed if key is not None]


def _already_stored(file: IncomingFile) -> AlreadyStored:
    return AlreadyStored(f"{file.path} is stored already; nothing can be added to it.")
