"""Clean up after uploads: parts of stored files at once, of files that nobody ended after a week, strays after a day.

Bytes that lie under their digest are a stray after a week: those of a bundle whose files were never completed.

The worker calls `delete_stored_parts` in its loop and `sweep_uploads` now and then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import CompoundSelect, delete, func, or_, select, union

from guildhall.clock import Clock, IdSource
from guildhall.clock import new_id as new_uuid
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import Database
from guildhall.outbox.outbox import claim, complete, fail
from registry.artifacts.completing import BLOBS_PREFIX, DELETE_PARTS_TOPIC, blob_key
from registry.artifacts.receiving import UPLOADS_PREFIX
from registry.artifacts.tables import Artifact, ArtifactPart, ArtifactState
from registry.storage import ArtifactStore, ArtifactStoreUnavailable

ABANDONED_AFTER = timedelta(days=7)
"""Silence after which an upload counts as abandoned; its owner stays a draft and can be uploaded from the start."""
ORPHANED_AFTER = timedelta(days=1)
"""Longer than any part takes to arrive, so that no upload in progress is mistaken for one that was cut off."""
FILES_PER_SWEEP_MAX = 1_000
BLOB_FOLDERS = 256
BLOB_FOLDER_SECONDS = 600
"""Each sweep looks through one folder of digests, the next one after so long; all take two days."""
LEASE_SECONDS = 300


@dataclass(frozen=True)
class Swept:
    """What one sweep removed."""

    parts: int
    orphans: int
    staged: int


async def delete_stored_parts(
    database: Database, store: ArtifactStore, *, owner: str, clock: Clock, new_id: IdSource = new_uuid
) -> int:
    """Delete the bytes of parts whose files are stored or have to be sent anew; how many parts that were.

    `owner` names the worker. A store that is away leaves the work for later.
    """
    deleted = 0
    for claimed in await claim(
        database, [DELETE_PARTS_TOPIC], owner=owner, clock=clock, lease_seconds=LEASE_SECONDS, limit=10, new_id=new_id
    ):
        try:
            await store.delete(claimed.payload["keys"])
        except ArtifactStoreUnavailable as error:
            async with database.transaction() as session:
                await fail(session, claimed, error.message, at=clock.now())
            continue
        async with database.transaction() as session:
            await complete(session, claimed, at=clock.now())
        deleted += len(claimed.payload["keys"])
    return deleted


async def sweep_uploads(database: Database, store: ArtifactStore, *, at: datetime) -> Swept:
    """Remove parts of abandoned uploads and bytes that cut-off writes left. Safe beside uploads and other sweeps.

    `at` is also compared with the store's own times of writing, so it has to be the real present.
    """
    keys = await _forget_abandoned_parts(database, before=at - ABANDONED_AFTER)
    await store.delete(sorted({key for key in keys if key is not None}))
    orphans = 0
    async for page in store.keys_before(UPLOADS_PREFIX, at - ORPHANED_AFTER):
        unnamed = await _without_row(database, page)
        await store.delete(unnamed)
        orphans += len(unnamed)
    orphans += await _sweep_blobs(database, store, folder=swept_folder(at), before=at - ABANDONED_AFTER)
    return Swept(parts=len(keys), orphans=orphans, staged=store.delete_staged_before(at - ORPHANED_AFTER))


def swept_folder(at: datetime) -> str:
    """Whose turn it is: the first two digits of digests."""
    return f"{int(at.timestamp()) // BLOB_FOLDER_SECONDS % BLOB_FOLDERS:02x}"


async def _sweep_blobs(database: Database, store: ArtifactStore, *, folder: str, before: datetime) -> int:
    """Remove old bytes under digests that no file needs; how many files that were.

    A bundle that comes now writes its bytes before its rows, which makes them young: so both are looked at once more
    right before each file goes.
    """
    removed = 0
    async for page in store.keys_before(f"{BLOBS_PREFIX}/{folder}", before):
        unneeded = await _without_file(database, [key.rpartition("/")[2] for key in page], before=before)
        for sha256 in unneeded:
            if removed >= FILES_PER_SWEEP_MAX:
                return removed
            key = blob_key(sha256)
            if await _without_file(database, [sha256], before=before) and await store.is_older(key, before):
                await store.delete([key])
                removed += 1
    return removed


async def _without_file(database: Database, digests: list[str], *, before: datetime) -> list[str]:
    """Those with neither a stored file, nor a part, nor a file that was announced since and may be on its way."""
    alive = or_(Artifact.state == ArtifactState.STORED, Artifact.created_at >= before)
    needed: CompoundSelect[str | None] = union(
        select(Artifact.sha256).where(Artifact.sha256.in_(digests), alive),
        select(ArtifactPart.sha256).where(ArtifactPart.sha256.in_(digests)),
        select(ArtifactPart.sha256_so_far).where(ArtifactPart.sha256_so_far.in_(digests)),
    )
    async with database.read() as session:
        found = set((await session.scalars(needed)).all())
    return [sha256 for sha256 in digests if sha256 not in found]


async def _forget_abandoned_parts(database: Database, *, before: datetime) -> Sequence[str | None]:
    """Delete the rows first: bytes without a row wait for the next sweep, a row without bytes would be a lie."""
    silent = (
        select(ArtifactPart.artifact_id)
        .group_by(ArtifactPart.artifact_id)
        .having(func.max(ArtifactPart.received_at) < before)
        .limit(FILES_PER_SWEEP_MAX)
    )
    async with database.transaction() as session:
        rows = await lock_rows(session, Artifact, (await session.scalars(silent)).all())
        ids = [row.id for row in rows if row.state == ArtifactState.PENDING]
        # Asked again under the lock: a part that arrived meanwhile has woken its upload.
        awake = select(ArtifactPart.artifact_id).where(
            ArtifactPart.artifact_id.in_(ids), ArtifactPart.received_at >= before
        )
        gone: set[UUID] = set(ids) - set((await session.scalars(awake)).all())
        statement = delete(ArtifactPart).where(ArtifactPart.artifact_id.in_(gone)).returning(ArtifactPart.storage_key)
        return (await session.scalars(statement)).all()


async def _without_row(database: Database, keys: list[str]) -> list[str]:
    async with database.read() as session:
        statement = select(ArtifactPart.storage_key).where(ArtifactPart.storage_key.in_(keys))
        named = set((await session.scalars(statement)).all())
    return [key for key in keys if key not in named]
