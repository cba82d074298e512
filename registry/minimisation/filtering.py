"""What a filter leaves of a stored file, made once and kept for a while, so that it has a size, a digest and ranges.

Bytes are cut by a process of its own (`program.py`), from a copy in a temporary folder; the server only moves them.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from guildhall.clock import Clock
from guildhall.db.transaction import Database
from guildhall.errors import Unavailable
from registry.artifacts.completing import blob_key
from registry.minimisation.cutting import Uncuttable, is_csv
from registry.minimisation.filters import DataFilter
from registry.minimisation.tables import FilteredFile
from registry.storage import CHUNK_BYTES, ArtifactStore

FILTERED_PREFIX = "filtered"
AT_ONCE_MAX = 2
"""Processes that cut at the same moment, for each server."""
WAITING_MAX = 64
"""Files that are being cut or wait for it, for each server."""
PATIENCE_SECONDS = 20
"""How long a caller waits for a cut; after that they are told to ask again, and the work goes on."""
CUT_SECONDS_MAX = 3_600
BEGINNING_BYTES = 8 * 1024 * 1024
"""What a preview of a CSV that is open in full is made from first; all of it only where that is not enough."""
KEPT_FOR = timedelta(days=7)
SWEEP_MAX = 1_000
_PROGRAM = "registry.minimisation.program"
_ROOT = Path(__file__).resolve().parents[2]


class StillCutting(Unavailable):
    """What is left of the file is being prepared, or too many others are; ask again."""

    code = "BEING_FILTERED"


@dataclass(frozen=True, kw_only=True)
class WholeFile:
    """A stored file as it is before anything is cut."""

    artifact_id: UUID
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Filtered:
    """What is left: under which key, and what it amounts to."""

    key: str
    size_bytes: int
    sha256: str
    rows: int


class Minimiser:
    """Cuts files, a few at a time, each once however many ask for it. One for each process."""

    def __init__(self, database: Database, store: ArtifactStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._running: dict[str, asyncio.Task[Filtered]] = {}

    async def filtered(self, file: WholeFile, limits: DataFilter) -> Filtered:
        """What the limits leave of the file. Raises Uncuttable, where nothing may leave, and StillCutting."""
        key = f"{FILTERED_PREFIX}/{file.artifact_id}/{limits.digest}"
        kept = await self._kept(file, limits, key)
        if kept is not None:
            return kept
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= WAITING_MAX:
                raise StillCutting("Too many files are being narrowed at the moment. Try again in a while.")
            task = self._running[key] = asyncio.create_task(self._make(file, limits, key))
            task.add_done_callback(lambda done: self._forget(key, done))
        await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
        if not task.done():
            raise StillCutting("The part of this file that you may read is being prepared. Try again in a while.")
        return task.result()

    async def close(self) -> None:
        """End what is being cut; nothing of it is kept."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _forget(self, key: str, done: asyncio.Task[Filtered]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # asked for by nobody where everybody has gone, which is no mistake

    async def _kept(self, file: WholeFile, limits: DataFilter, key: str) -> Filtered | None:
        """What was cut before, if its bytes are still there."""
        mine = (FilteredFile.artifact_id == file.artifact_id) & (FilteredFile.filter_digest == limits.digest)
        async with self._database.read() as session:
            row = await session.scalar(select(FilteredFile).where(mine))
        if row is None or await self._store.size_bytes(key) != row.size_bytes:
            return None
        return Filtered(key=key, size_bytes=row.size_bytes, sha256=row.sha256, rows=row.rows)

    async def _make(self, file: WholeFile, limits: DataFilter, key: str) -> Filtered:
        async with self._slots:
            with tempfile.TemporaryDirectory(prefix="guildhall-filter-") as folder:
                source, target = Path(folder, "whole"), Path(folder, "part")
                rows = await self._cut_out(file, limits, source, target)
                written = await self._store.write(key, _chunks(target))
        values = {"sha256": written.sha256, "size_bytes": written.size_bytes, "rows": rows}
        values |= {"created_at": self._clock.now()}
        row = {"artifact_id": file.artifact_id, "filter_digest": limits.digest, **values}
        index = ["artifact_id", "filter_digest"]
        async with self._database.transaction() as session:
            statement = insert(FilteredFile).values(row).on_conflict_do_update(index_elements=index, set_=values)
            await session.execute(statement)
        return Filtered(key=key, size_bytes=written.size_bytes, sha256=written.sha256, rows=rows)

    async def _cut_out(self, file: WholeFile, limits: DataFilter, source: Path, target: Path) -> int:
        """As `_cut`, of a copy."""
        if limits.shown_rows is not None and limits.opens_all and is_csv(file.path):
            await self._fetch(file, source, min(BEGINNING_BYTES, file.size_bytes))
            try:
                return await _cut(file, limits, source, target)
            except Uncuttable:  # the beginning may end within a character, or within a row
                if file.size_bytes <= BEGINNING_BYTES:
                    raise
        await self._fetch(file, source, file.size_bytes)
        return await _cut(file, limits, source, target)

    async def _fetch(self, file: WholeFile, target: Path, size_bytes: int) -> None:
        with await asyncio.to_thread(target.open, "wb") as written:
            async for chunk in self._store.read(blob_key(file.sha256), start=0, end=size_bytes):
                await asyncio.to_thread(written.write, chunk)


async def sweep_filtered(database: Database, store: ArtifactStore, *, at: datetime) -> int:
    """Remove what was cut out a while ago; how many files that were. They can be cut again at any time."""
    old = (
        select(FilteredFile.artifact_id, FilteredFile.filter_digest)
        .where(FilteredFile.created_at < at - KEPT_FOR)
        .limit(SWEEP_MAX)
    )
    async with database.transaction() as session:
        rows = (await session.execute(old)).all()
        for artifact_id, digest in rows:
            mine = (FilteredFile.artifact_id == artifact_id) & (FilteredFile.filter_digest == digest)
            await session.execute(delete(FilteredFile).where(mine))
    await store.delete([f"{FILTERED_PREFIX}/{artifact_id}/{digest}" for artifact_id, digest in rows])
    return len(rows)


async def _cut(file: WholeFile, limits: DataFilter, source: Path, target: Path) -> int:
    """Have it cut; the number of rows that are left. However the process ends, without an answer nothing leaves."""
    order = {
        "source": str(source),
        "target": str(target),
        "path": file.path,
        "sizeBytes": file.size_bytes,
        "seed": file.sha256,
        "filter": limits.as_json(),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        _PROGRAM,
        cwd=_ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(_ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(CUT_SECONDS_MAX):
            answered, _ = await process.communicate(json.dumps(order).encode())
    except TimeoutError as error:
        raise Uncuttable(
            "NOT_FILTERED_IN_TIME", f"It took more than {CUT_SECONDS_MAX} seconds to narrow it."
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Uncuttable("DAMAGED_FILE", "The file could not be read: it is damaged, or far larger than it seems.")
    answer = json.loads(answered)
    if "code" in answer:
        raise Uncuttable(answer["code"], answer["message"])
    return int(answer["rows"])


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as given:
        while chunk := await asyncio.to_thread(given.read, CHUNK_BYTES):
            yield chunk
