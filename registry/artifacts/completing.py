"""Completion: each file's bytes are read, digested and moved under their digest; only then does the file count.

Two steps, because no transaction may wait for a store: `verify_uploads` works without one, `complete_uploads` writes.
Both may run for one owner from several callers at once, and again after success.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm.attributes import set_committed_value

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.clock import IdSource
from guildhall.db.among import among
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import Database, ReadSession, WriteSession
from guildhall.outbox.outbox import enqueue
from registry.artifacts.growing import grown
from registry.artifacts.owners import OwnerRef, UploadOwners
from registry.artifacts.tables import Artifact, ArtifactPart, ArtifactState
from registry.storage import ArtifactStore, StoredBytesMissing

BLOBS_PREFIX = "blobs/sha256"
DELETE_PARTS_TOPIC = "registry.delete-parts"
KEYS_PER_EFFECT_MAX = 1_000
VERIFIED_AT_ONCE_MAX = 4


@dataclass(frozen=True)
class MissingFile:
    """One file that is not there yet, or not as announced; `message` says what was expected and what came."""

    path: str
    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What `verify_uploads` found: files whose bytes now lie under their digest, and files that are not right.

    `discarded` are files whose parts together are wrong, so that they have to be sent again from the start.
    """

    owner: OwnerRef
    verified: frozenset[UUID]
    missing: dict[UUID, MissingFile]
    discarded: frozenset[UUID]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What is still missing; nothing: the owner is complete."""

    owner: OwnerRef
    missing: tuple[MissingFile, ...]


@dataclass(frozen=True, kw_only=True)
class _Announced:
    id: UUID
    path: str
    size_bytes: int
    sha256: str
    parts: tuple[ArtifactPart, ...]


def blob_key(sha256: str) -> str:
    """Where the bytes with this digest lie."""
    return f"{BLOBS_PREFIX}/{sha256[:2]}/{sha256}"


async def verify_uploads(
    database: Database, store: ArtifactStore, actor: Actor, *, owner: OwnerRef, owners: UploadOwners
) -> Verification:
    """Check every file of the owner that is not stored yet; raises what the owner's `require_writer` raises.

    A right file's bytes are put under their digest here: nobody can reach them before `complete_uploads` has committed.
    """
    async with database.read() as session:
        await owners[owner.kind].require_writer(session, actor, owner.id)
        announced = await _announced(session, owner)
    problems = await _verify_all(store, announced)
    missing = {file.id: problem for file, problem in zip(announced, problems, strict=True) if problem is not None}
    return Verification(
        owner=owner,
        verified=frozenset(file.id for file in announced) - missing.keys(),
        missing=missing,
        discarded=frozenset(key for key, problem in missing.items() if problem.code == "DIGEST_MISMATCH"),
    )


async def complete_uploads(
    session: WriteSession,
    actor: Actor,
    *,
    verification: Verification,
    owners: UploadOwners,
    at: datetime,
    new_id: IdSource,
) -> Completion:
    """Mark what was verified as stored and, where nothing is missing, move the owner on. Repeating it changes nothing.

    The parts' own bytes go after the commit, by way of the outbox.
    """
    owner = verification.owner
    right = await owners[owner.kind].require_writer(session, actor, owner.id)
    ids = (
        await session.scalars(
            select(Artifact.id).where(Artifact.owner_kind == owner.kind, Artifact.owner_id == owner.id)
        )
    ).all()
    pending = [row for row in await lock_rows(session, Artifact, ids) if row.state == ArtifactState.PENDING]
    if not pending:
        return Completion(owner=owner, missing=())  # a rival, or an earlier call, was first
    stored = [row for row in pending if row.id in verification.verified]
    await _mark_stored(session, stored, at)
    await _drop_parts(session, {row.id for row in stored} | verification.discarded, at=at, new_id=new_id)
    missing = tuple(
        verification.missing.get(row.id, _not_uploaded(row.path, row.size_bytes))
        for row in sorted(pending, key=lambda row: row.path)
        if row not in stored
    )
    if stored:
        await record(
            session,
            actor,
            action=right.permission,
            team_id=right.team_id,
            resources=right.resources,
            bytes=sum(row.size_bytes for row in stored),
            after={"stored": len(stored), "missing": len(missing)},
            at=at,
            new_id=new_id,
        )
    await session.flush()
    if not missing:
        await owners[owner.kind].finish(session, actor, owner.id, at=at, new_id=new_id)
    return Completion(owner=owner, missing=missing)


async def discard_uploads(session: WriteSession, *, owner: OwnerRef, at: datetime, new_id: IdSource) -> None:
    """Take back what was announced for the owner and is not stored, because nobody will complete it any more.

    A ticket that is still out finds no upload; the bytes of parts that came go after the commit, and those that lie
    under their digest already, because they came in a bundle, with a later sweep.
    """
    announced = select(Artifact.id).where(Artifact.owner_kind == owner.kind, Artifact.owner_id == owner.id)
    pending = await session.scalars(announced.where(Artifact.state == ArtifactState.PENDING))
    ids = {row.id for row in await lock_rows(session, Artifact, pending.all()) if row.state == ArtifactState.PENDING}
    await _drop_parts(session, ids, at=at, new_id=new_id)
    await session.execute(delete(Artifact).where(Artifact.id.in_(ids)))


async def _announced(session: ReadSession, owner: OwnerRef) -> list[_Announced]:
    rows = (
        await session.scalars(
            select(Artifact)
            .where(Artifact.owner_kind == owner.kind, Artifact.owner_id == owner.id)
            .where(Artifact.state == ArtifactState.PENDING)
            .order_by(Artifact.path)
        )
    ).all()
    ids = [row.id for row in rows]
    parts: dict[UUID, list[ArtifactPart]] = {}
    statement = select(ArtifactPart).where(ArtifactPart.artifact_id.in_(ids)).order_by(ArtifactPart.number)
    for part in await session.scalars(statement):
        parts.setdefault(part.artifact_id, []).append(part)
    return [
        _Announced(
            id=row.id,
            path=row.path,
            size_bytes=row.size_bytes,
            sha256=row.sha256,
            parts=tuple(parts.get(row.id, ())),
        )
        for row in rows
    ]


async def _verify_all(store: ArtifactStore, announced: Sequence[_Announced]) -> list[MissingFile | None]:
    """A few at a time: stores answer slowly, and each file on its way takes memory."""
    turns = asyncio.Semaphore(VERIFIED_AT_ONCE_MAX)

    async def verify(file: _Announced) -> MissingFile | None:
        async with turns:
            return await _verify(store, file)

    # None is left running when one fails: what a late one put under a digest would be harmless, but nobody's.
    found = await asyncio.gather(*(verify(file) for file in announced), return_exceptions=True)
    for problem in found:
        if isinstance(problem, BaseException):
            raise problem
    return [problem for problem in found if not isinstance(problem, BaseException)]


async def _verify(store: ArtifactStore, file: _Announced) -> MissingFile | None:
    """Put the file's bytes under their digest; None when they are there, else what is wrong with them."""
    came = sum(part.size_bytes for part in file.parts)
    if not file.parts and file.size_bytes > 0:
        return _not_uploaded(file.path, file.size_bytes)
    gap = next((number for number, part in enumerate(file.parts, start=1) if part.number != number), None)
    if gap is not None:
        return MissingFile(file.path, "NOT_UPLOADED", f"Part {gap} of {file.path} has not arrived.")
    if came != file.size_bytes:
        return MissingFile(file.path, "SIZE_MISMATCH", f"{file.size_bytes} bytes were announced, {came} came.")
    try:
        last = file.parts[0] if len(file.parts) == 1 else grown(file.parts)
        return await (_verify_parts(store, file) if last is None else _verify_digested(store, file, last))
    except StoredBytesMissing:
        # A rival completed the file meanwhile and cleaned up; then the second step finds it stored. Or it was swept.
        return _not_uploaded(file.path, file.size_bytes)


async def _verify_digested(store: ArtifactStore, file: _Announced, last: ArtifactPart) -> MissingFile | None:
    """A file that was digested as it came, up to its last part: nothing needs to be read again."""
    came = last.sha256_so_far or last.sha256  # programs of before wrote down only the second of a first part
    assert came is not None
    if came != file.sha256:
        return _digest_mismatch(file, came)
    if last.storage_key is None or await store.size_bytes(blob_key(file.sha256)) == file.size_bytes:
        return None
    if (
        await store.size_bytes(last.storage_key) != file.size_bytes
    ):  # what came behind it, and broke off, is still there
        return await _verify_parts(store, file)
    await store.copy(last.storage_key, blob_key(file.sha256))
    return None


async def _verify_parts(store: ArtifactStore, file: _Announced) -> MissingFile | None:
    """Read the parts one after the other into the final key; a wrong digest breaks that off before the key appears."""
    try:
        await store.write(blob_key(file.sha256), _joined(store, file))
    except _WrongDigest as wrong:
        return _digest_mismatch(file, wrong.sha256)
    return None


class _WrongDigest(Exception):
    def __init__(self, sha256: str) -> None:
        super().__init__(sha256)
        self.sha256 = sha256


async def _joined(store: ArtifactStore, file: _Announced) -> AsyncIterator[bytes]:
    digest = hashlib.sha256()
    for part in file.parts:
        key = part.storage_key or blob_key(file.sha256)
        start = part.storage_offset
        async for chunk in store.read(key, start=start, end=start + part.size_bytes):
            digest.update(chunk)
            yield chunk
    if digest.hexdigest() != file.sha256:
        raise _WrongDigest(digest.hexdigest())


async def _mark_stored(session: WriteSession, rows: Sequence[Artifact], at: datetime) -> None:
    """By one statement for all rows, which are as if they had been read after it."""
    marked = update(Artifact).where(among(Artifact.id, [row.id for row in rows]))
    values = {"state": ArtifactState.STORED, "stored_at": at}
    await session.execute(marked.values(values), execution_options={"synchronize_session": False})
    for row in rows:
        for name, value in values.items():
            set_committed_value(row, name, value)


async def _drop_parts(session: WriteSession, artifact_ids: set[UUID], *, at: datetime, new_id: IdSource) -> None:
    """Forget the parts of these files; their own bytes are deleted once this is committed, not before."""
    if not artifact_ids:
        return
    statement = delete(ArtifactPart).where(ArtifactPart.artifact_id.in_(artifact_ids))
    gone = await session.scalars(statement.returning(ArtifactPart.storage_key))
    keys = sorted({key for key in gone if key is not None})
    for first in range(0, len(keys), KEYS_PER_EFFECT_MAX):
        chunk = keys[first : first + KEYS_PER_EFFECT_MAX]
        await enqueue(session, DELETE_PARTS_TOPIC, {"keys": chunk}, at=at, new_id=new_id)


def _not_uploaded(path: str, size_bytes: int) -> MissingFile:
    return MissingFile(path, "NOT_UPLOADED", f"{size_bytes} bytes were announced, none came.")


def _digest_mismatch(file: _Announced, came: str) -> MissingFile:
    message = f"The digest {file.sha256} was announced, bytes with {came} came. Send the file again from the start."
    return MissingFile(file.path, "DIGEST_MISMATCH", message)
