"""Many small files on their way in at once: each is verified as it arrives and put under its digest, then written down.

What arrived whole and right is kept however the request ends; `announced_files` says what is still to come.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ARRAY, String, and_, any_, delete, insert, literal, or_, select

from guildhall.clock import Clock
from guildhall.db.among import among
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import Database, ReadSession
from guildhall.errors import Invalid
from registry.artifacts.bundles import BundleLimits, Member, members
from registry.artifacts.completing import blob_key
from registry.artifacts.files import path_problem
from registry.artifacts.owners import OwnerRef
from registry.artifacts.receiving import AlreadyStored, TooManyBytes
from registry.artifacts.tables import Artifact, ArtifactPart, ArtifactState
from registry.storage import ArtifactStore

WRITES_AT_ONCE_MAX = 8
"""How many files are on their way into the store, each with its bytes in memory."""


class NotAnnounced(Invalid):
    """A file in a bundle whose path its owner did not announce, or that came twice."""

    code = "NOT_ANNOUNCED"


class InvalidPath(Invalid):
    """A name that no file can have."""

    code = "INVALID_PATH"


class WrongDigest(Invalid):
    """Other bytes than those that were announced. None of them are kept."""

    code = "DIGEST_MISMATCH"


@dataclass(frozen=True, kw_only=True)
class AnnouncedFile:
    """One file of an owner; `arrived` once all its bytes are here, so that nobody needs to send them again."""

    artifact_id: UUID
    path: str
    size_bytes: int
    sha256: str
    state: ArtifactState
    arrived: bool


async def announced_files(session: ReadSession, owner: OwnerRef) -> list[AnnouncedFile]:
    """What the owner announced, by path."""
    whole = and_(
        ArtifactPart.artifact_id == Artifact.id, ArtifactPart.number == 1, ArtifactPart.sha256 == Artifact.sha256
    )
    statement = (
        select(
            Artifact.id,
            Artifact.path,
            Artifact.size_bytes,
            Artifact.sha256,
            Artifact.state,
            or_(Artifact.state == ArtifactState.STORED, ArtifactPart.number.is_not(None)),
        )
        .outerjoin(ArtifactPart, whole)
        .where(Artifact.owner_kind == owner.kind, Artifact.owner_id == owner.id)
        .order_by(Artifact.path)
    )
    return [
        AnnouncedFile(
            artifact_id=key, path=path, size_bytes=size, sha256=sha256, state=ArtifactState(state), arrived=arrived
        )
        for key, path, size, sha256, state, arrived in await session.execute(statement)
    ]


async def receive_bundle(
    database: Database,
    store: ArtifactStore,
    *,
    owner: OwnerRef,
    chunks: AsyncIterator[bytes],
    limits: BundleLimits,
    clock: Clock,
) -> int:
    """Take the files of a bundle, whose owner the caller was found to have a right to; returns how many that were.

    The first file that is wrong ends it, and is named: InvalidPath, NotAnnounced, TooManyBytes, WrongDigest,
    AlreadyStored, or what `members` raises. No transaction is open while bytes arrive.
    """
    async with database.read() as session:
        waiting = {file.path: file for file in await announced_files(session, owner)}
        stored = await _stored_digests(session, {file.sha256 for file in waiting.values()})
    writing = _Writing(store, stored)
    try:
        async with aclosing(members(chunks, limits)) as arriving:
            async for member in arriving:
                file = _expected(member, waiting)
                del waiting[member.path]
                await writing.add(file, member.content)
    finally:
        arrived = await writing.settled()
        replaced = await _write_down(database, arrived, clock)
        await store.delete(replaced)
    writing.require_no_failure()
    return len(arrived)


def _expected(member: Member, waiting: dict[str, AnnouncedFile]) -> AnnouncedFile:
    """The announced file that this is, or what is wrong with it."""
    about: dict[str, object] = {"path": member.path}
    file = waiting.get(member.path)
    if file is None:
        if (reason := path_problem(member.path)) is not None:
            raise InvalidPath(f"{member.path!a} cannot be a path: {reason}.", details=about)
        raise NotAnnounced(f"{member.path} was not announced, or is in the bundle twice.", details=about)
    if file.state is ArtifactState.STORED:
        raise AlreadyStored(f"{member.path} is stored already; nothing can be added to it.", details=about)
    if len(member.content) != file.size_bytes:
        message = f"{member.path} was announced with {file.size_bytes} bytes, but {len(member.content)} came."
        raise TooManyBytes(message, details=about)
    came = hashlib.sha256(member.content).hexdigest()
    if came != file.sha256:
        message = f"{member.path}: the digest {file.sha256} was announced, bytes with {came} came."
        raise WrongDigest(message, details=about)
    return file


async def _stored_digests(session: ReadSession, digests: set[str]) -> set[str]:
    """Those of which somebody's file is stored."""
    theirs = Artifact.sha256 == any_(literal(sorted(digests), ARRAY(String)))
    statement = select(Artifact.sha256).where(theirs, Artifact.state == ArtifactState.STORED)
    return set((await session.scalars(statement)).all())


class _Writing:
    """Files on their way into the store, a few at a time, equal ones once. The first failure is kept for its end."""

    def __init__(self, store: ArtifactStore, stored: set[str]) -> None:
        self._store = store
        self._stored = stored
        self._taken: list[AnnouncedFile] = []
        self._begun: set[str] = set()
        self._written: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None

    async def add(self, file: AnnouncedFile, content: bytes) -> None:
        """Begin to write it, once there is room. Raises what an earlier one failed with."""
        self.require_no_failure()
        self._taken.append(file)
        if file.sha256 in self._begun:
            return
        self._begun.add(file.sha256)
        while len(self._tasks) >= WRITES_AT_ONCE_MAX:
            _, self._tasks = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        self._tasks.add(asyncio.create_task(self._write(file, content)))

    async def settled(self) -> list[AnnouncedFile]:
        """Wait for all of them; those whose bytes are in the store."""
        if self._tasks:
            await asyncio.wait(self._tasks)
        return [file for file in self._taken if file.sha256 in self._written]

    def require_no_failure(self) -> None:
        """Raise what the store failed with."""
        if self._failure is not None:
            raise self._failure

    async def _write(self, file: AnnouncedFile, content: bytes) -> None:
        key = blob_key(file.sha256)
        try:
            if file.sha256 not in self._stored or await self._store.size_bytes(key) != file.size_bytes:
                await self._store.put(key, content)
        except Exception as error:  # noqa: BLE001 -- whatever it is, the request ends with it
            self._failure = error
        else:
            self._written.add(file.sha256)


async def _write_down(database: Database, arrived: Sequence[AnnouncedFile], clock: Clock) -> list[str]:
    """One part for each file, which has no bytes of its own; the keys of parts that nobody needs any more."""
    if not arrived:
        return []
    async with database.transaction() as session:
        # The lock makes two deliveries, or a delivery and a completion, follow each other.
        rows = await lock_rows(session, Artifact, (file.artifact_id for file in arrived))
        pending = [row.id for row in rows if row.state == ArtifactState.PENDING]
        if not pending:
            return []
        gone = delete(ArtifactPart).where(among(ArtifactPart.artifact_id, pending))
        replaced = (await session.scalars(gone.returning(ArtifactPart.storage_key))).all()
        # What came is what was announced: `_expected` has compared them.
        came = {
            "artifact_id": Artifact.id,
            "number": literal(1),
            "size_bytes": Artifact.size_bytes,
            "sha256": Artifact.sha256,
            "sha256_so_far": Artifact.sha256,
            "received_at": literal(clock.now()),
        }
        theirs = select(*came.values()).where(among(Artifact.id, pending))
        await session.execute(insert(ArtifactPart).from_select([*came], theirs))
    return sorted({key for key in replaced if key is not None})
