"""The artifact store: bytes under keys, in a folder, in S3, GCS or Azure, or in memory.

A key appears whole or not at all, on every kind of store: what is cut off in the middle leaves nothing under its key.
Only one that grows in a folder (`append`) is seen while it does, and may hold bytes behind what its rows name.
No key may be the beginning of another followed by "/" (`x` beside `x/y`): folder-backed stores cannot keep both.
"""

import asyncio
import errno
import hashlib
import io
import logging
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from guildhall.errors import Unavailable
from guildhall.object_stores import bucket_of, folder_of, lacks_bucket, lost_upload, open_store, reason_of

CHUNK_BYTES = 256 * 1024
"""How much of a file is in memory at once on its way out; twice as much of one in a folder, which is read ahead."""
WRITE_CHUNK_BYTES = 5 * 1024 * 1024
"""The least that S3 takes as a part; with WRITES_AT_ONCE the memory that one file on its way in may use."""
WRITES_AT_ONCE = 2
APPEND_BYTES = 1024 * 1024
"""What is collected before it is digested and written in a thread, while as much again is collected."""
BUCKET_SECONDS_MAX = 30
_STAGED = re.compile(r".*#\d+")
_UNUSABLE = "The artifact store cannot be used at the moment; nothing was stored. Try again later."
_LET_GO = "The artifact store let go of this upload before it was whole; nothing was stored. Send the file again."

logger = logging.getLogger(__name__)


class ArtifactStoreUnavailable(Unavailable):
    """The store refused or could not be reached; nothing was written under the key."""

    code = "ARTIFACT_STORE_UNAVAILABLE"


class BucketMissing(ArtifactStoreUnavailable):
    """The bucket that the setting names does not exist: nothing can be stored or read until the operator mends it."""

    code = "BUCKET_MISSING"


class StoredBytesMissing(Exception):
    """No bytes under a key. Callers decide what that means: a race, a swept upload, or a loss."""

    def __init__(self, key: str) -> None:
        super().__init__(f"nothing is stored under {key}")
        self.key = key


@dataclass(frozen=True)
class Written:
    """What went into the store: counted and digested (SHA-256, hexadecimal) on the way."""

    size_bytes: int
    sha256: str


class ArtifactStore:
    """One store of one process. `folder` is set where the store is a folder of this machine, `bucket` elsewhere."""

    def __init__(self, store: ObjectStore, *, folder: Path | None = None, bucket: str | None = None) -> None:
        self._store = store
        self._folder = folder
        self._bucket = bucket

    @classmethod
    def open(cls, url: str) -> Self:
        """The store at an address, as `guildhall.object_stores` takes them."""
        return cls(open_store(url), folder=folder_of(url), bucket=bucket_of(url))

    async def require_bucket(self) -> None:
        """Raises BucketMissing where the store says so; one that is away, or forbids the question, may come back."""
        if self._bucket is None:
            return
        try:
            async with asyncio.timeout(BUCKET_SECONDS_MAX):
                with self._errors(""):
                    async for _ in obstore.list(self._store):
                        break
        except BucketMissing:
            raise
        except (ArtifactStoreUnavailable, TimeoutError) as error:
            told = reason_of(error.__cause__ if isinstance(error.__cause__, Exception) else error)
            logger.warning("The artifact store does not answer yet: %s.", told)

    @property
    def is_folder(self) -> bool:
        """Whether `append` can be called: no other kind of store lets a key grow."""
        return self._folder is not None

    async def append(self, key: str, chunks: AsyncIterator[bytes], *, offset: int, digest: "hashlib._Hash") -> int:
        """Write the chunks behind the key's first `offset` bytes, digest them, and say how many bytes came.

        Nobody else may write to the key meanwhile. Where the chunks or the disk fail, it is as long as before, and a
        key that was not there is not there.
        """
        assert self._folder is not None
        with self._errors(key):
            tail = await asyncio.to_thread(_Tail, self._folder / key, offset, digest)
        writing: asyncio.Future[None] | None = None
        try:
            async for block in _blocks(chunks):
                with self._errors(key):
                    if writing is not None:
                        await asyncio.shield(writing)
                    writing = asyncio.ensure_future(asyncio.to_thread(tail.write, block))
            with self._errors(key):
                if writing is not None:
                    await asyncio.shield(writing)
        except BaseException:
            if writing is not None:
                await _ended(writing)
            tail.cut()
            raise
        tail.close()
        return tail.end - offset

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> Written:
        """Store the chunks under the key. Where the chunks raise, that is raised here and nothing is stored."""
        digest = hashlib.sha256()
        size_bytes = 0
        source_error: Exception | None = None

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size_bytes, source_error
            try:
                async for chunk in chunks:
                    digest.update(chunk)
                    size_bytes += len(chunk)
                    yield chunk
            except Exception as error:
                source_error = error
                raise

        try:
            with self._errors(key, writes=True):
                await obstore.put_async(
                    self._store, key, counted(), chunk_size=WRITE_CHUNK_BYTES, max_concurrency=WRITES_AT_ONCE
                )
        except (StoredBytesMissing, ArtifactStoreUnavailable):
            if source_error is not None:  # it came through the store, but it is not about the store
                raise source_error from None
            raise
        return Written(size_bytes=size_bytes, sha256=digest.hexdigest())

    async def put(self, key: str, content: bytes) -> None:
        """Store a small file's bytes under the key, in one call."""
        with self._errors(key, writes=True):
            await obstore.put_async(self._store, key, content, use_multipart=False)

    async def get(self, key: str) -> bytes:
        """All bytes of a small file, in one call; raises StoredBytesMissing."""
        with self._errors(key):
            return bytes(await (await obstore.get_async(self._store, key)).bytes_async())

    async def copy(self, source: str, target: str) -> None:
        """The same bytes under a second key; a hard link where the store is a folder. Raises StoredBytesMissing."""
        with self._errors(source):
            await obstore.copy_async(self._store, source, target)

    async def size_bytes(self, key: str) -> int | None:
        """How many bytes lie under the key; None where there is no such key."""
        try:
            with self._errors(key):
                return (await obstore.head_async(self._store, key))["size"]
        except StoredBytesMissing:
            return None

    async def is_older(self, key: str, moment: datetime) -> bool:
        """Whether what lies under the key was written before the moment; False where there is no such key."""
        try:
            with self._errors(key):
                return (await obstore.head_async(self._store, key))["last_modified"] < moment
        except StoredBytesMissing:
            return False

    async def read(self, key: str, *, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from `start` up to `end` (exclusive); raises StoredBytesMissing before the first."""
        if start == end:
            return
        with self._errors(key):
            if self._folder is not None:  # in a folder obstore would read 8 KiB at a time, each in another thread
                async with aclosing(_read_ahead(_Stretch(self._folder / key, start, end))) as blocks:
                    async for block in blocks:
                        yield block
                return
            answer = await obstore.get_async(self._store, key, options={"range": (start, end)})
            async for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    async def delete(self, keys: list[str]) -> None:
        """Remove the keys; one that is not there counts as removed."""
        for key in keys:
            try:
                with self._errors(key):
                    await obstore.delete_async(self._store, key)
            except StoredBytesMissing:
                continue

    async def keys_before(self, prefix: str, moment: datetime) -> AsyncIterator[list[str]]:
        """Yield pages of the keys below a prefix that were last written before the moment."""
        with self._errors(prefix):
            async for page in obstore.list(self._store, prefix=prefix):
                yield [entry["path"] for entry in page if entry["last_modified"] < moment]

    def delete_staged_before(self, moment: datetime) -> int:
        """Remove what writes of killed processes left beside their keys in a folder; how many files that were.

        Other stores drop their unfinished uploads by a rule of the bucket (docs/decisions/0009).
        """
        if self._folder is None:
            return 0
        removed = 0
        for path in self._folder.rglob("*#*"):
            written_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            if _STAGED.fullmatch(path.name) and written_at < moment:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    @contextmanager
    def _errors(self, key: str, *, writes: bool = False) -> Iterator[None]:
        """Three kinds of failure reach callers: no such key, no such bucket, and a store that does not work."""
        try:
            yield
        except (BaseError, OSError) as error:
            if self._bucket is not None and lacks_bucket(error):
                raise BucketMissing(_sentence(self._bucket)) from error
            if isinstance(error, FileNotFoundError) and not writes:
                raise StoredBytesMissing(key) from error
            # What is written needs no key to be there before it, but a large file its upload.
            raise ArtifactStoreUnavailable(_LET_GO if lost_upload(error) else _UNUSABLE) from error


def _sentence(bucket: str) -> str:
    return (
        f"The bucket {bucket} does not exist, which GUILDHALL_ARTIFACTS_URL names. Whoever runs the server has to make "
        "it, or to mend the setting."
    )


async def _ended(working: asyncio.Future[None] | asyncio.Future[bytes]) -> bool:
    """Wait for what a thread does, whatever becomes of it; whether its request was cancelled meanwhile.

    A thread goes on when nobody awaits it any more: cutting and closing the file beside it would write anywhere.
    """
    ended = asyncio.gather(working, return_exceptions=True)
    cancelled = False
    while not ended.done():
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces that are worth a thread's while."""
    held: list[bytes] = []
    held_bytes = 0
    async for chunk in chunks:
        held.append(chunk)
        held_bytes += len(chunk)
        if held_bytes >= APPEND_BYTES:
            yield b"".join(held)
            held, held_bytes = [], 0
    if held:
        yield b"".join(held)


async def _read_ahead(stretch: "_Stretch") -> AsyncGenerator[bytes, None]:
    """Its blocks; while one is on its way, a thread reads the next."""
    reading = asyncio.ensure_future(asyncio.to_thread(stretch.next))
    try:
        while block := await asyncio.shield(reading):
            reading = asyncio.ensure_future(asyncio.to_thread(stretch.next))
            yield block
    finally:
        cancelled = await _ended(reading)
        stretch.close()
        if cancelled:
            raise asyncio.CancelledError


class _Stretch:
    """A file's bytes from `start` up to `end`. `next` is called in threads, one after the other."""

    def __init__(self, path: Path, start: int, end: int) -> None:
        self._path = path
        self._start = start
        self._end = end
        self._file: io.FileIO | None = None

    def next(self) -> bytes:
        """The next block; nothing at the end of the stretch, or of the file. Raises OSError, also for none of it."""
        if self._file is None:
            self._file = io.FileIO(self._path)
            if self._file.seek(0, os.SEEK_END) <= self._start:
                raise OSError(errno.EIO, "The file ends before what is asked of it", str(self._path))
            self._file.seek(self._start)
        block = self._file.read(min(CHUNK_BYTES, self._end - self._start))
        self._start += len(block)
        return block

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


class _Tail:
    """The end of a file in a folder, from an offset on. Its methods are called in threads, one after the other."""

    def __init__(self, path: Path, offset: int, digest: "hashlib._Hash") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._offset = offset
        self._digest = digest
        self._file = os.open(path, os.O_WRONLY | (0 if offset else os.O_CREAT), 0o644)
        self.end = offset

    def write(self, block: bytes) -> None:
        """Add bytes; raises OSError."""
        self._digest.update(block)
        left = memoryview(block)
        while left:
            written = os.pwrite(self._file, left, self.end)
            self.end += written
            left = left[written:]

    def cut(self) -> None:
        """Take back all of it and close. What a disk does not take back lies behind what anybody names."""
        with suppress(OSError):
            os.truncate(self._file, self._offset)
        self.close()
        if not self._offset:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
