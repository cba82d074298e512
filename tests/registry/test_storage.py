"""The artifact store: whole or not at all, on a folder and in memory alike."""

import asyncio
import os
import resource
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from registry import storage
from registry.storage import (
    APPEND_BYTES,
    CHUNK_BYTES,
    ArtifactStore,
    ArtifactStoreUnavailable,
    BucketMissing,
    StoredBytesMissing,
    Written,
)
from tests.registry.bucketless import FORBIDDEN, NO_BUCKET, NO_UPLOAD, TOLD, s3_answering
from tests.registry.estate import chunked, digest

LARGE = bytes(range(256)) * 50_000  # 12.8 MB: more than one part of a multipart write


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore.open("memory:///" if request.param == "memory" else (tmp_path / "a b").as_uri())


async def read(store: ArtifactStore, key: str, start: int, end: int) -> bytes:
    return b"".join([chunk async for chunk in store.read(key, start=start, end=end)])


async def breaking_off(content: bytes) -> AsyncIterator[bytes]:
    yield content
    raise ConnectionResetError("gone")


class TestWrite:
    @pytest.mark.parametrize("content", [b"", b"abc", LARGE])
    async def test_counts_and_digests_what_it_stores(self, store: ArtifactStore, content: bytes) -> None:
        written = await store.write("a/b", chunked(content, 1_000_000))
        assert written == Written(size_bytes=len(content), sha256=digest(content))
        assert await store.size_bytes("a/b") == len(content)
        assert await read(store, "a/b", 0, len(content)) == content

    @pytest.mark.parametrize("content", [b"abc", LARGE])
    async def test_a_source_that_breaks_off_leaves_nothing(
        self, store: ArtifactStore, content: bytes, tmp_path: Path
    ) -> None:
        with pytest.raises(ConnectionResetError, match="gone"):
            await store.write("a/b", breaking_off(content))
        assert await store.size_bytes("a/b") is None
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    async def test_a_source_that_breaks_off_leaves_what_was_there(self, store: ArtifactStore) -> None:
        await store.write("a", chunked(b"first"))
        with pytest.raises(ConnectionResetError):
            await store.write("a", breaking_off(b"second"))
        assert await read(store, "a", 0, 5) == b"first"


@pytest.fixture
def folder(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore.open((tmp_path / "folder").as_uri())


class TestAppend:
    def test_is_for_folders(self, folder: ArtifactStore) -> None:
        assert (folder.is_folder, ArtifactStore.open("memory:///").is_folder) == (True, False)

    async def test_goes_behind_what_is_there_and_digests_only_that(self, folder: ArtifactStore) -> None:
        digests = [sha256(), sha256()]
        assert await folder.append("in/a", chunked(LARGE, 700_000), offset=0, digest=digests[0]) == len(LARGE)
        assert await folder.append("in/a", chunked(b"end"), offset=len(LARGE), digest=digests[1]) == 3
        assert [each.hexdigest() for each in digests] == [digest(LARGE), digest(b"end")]
        assert await read(folder, "in/a", 0, len(LARGE) + 3) == LARGE + b"end"

    async def test_of_nothing_makes_an_empty_file(self, folder: ArtifactStore) -> None:
        assert await folder.append("a", chunked(b""), offset=0, digest=sha256()) == 0
        assert await folder.size_bytes("a") == 0

    @pytest.mark.parametrize("content", [b"abc", LARGE])
    async def test_a_source_that_breaks_off_leaves_what_was_there(self, folder: ArtifactStore, content: bytes) -> None:
        with pytest.raises(ConnectionResetError, match="gone"):
            await folder.append("a", breaking_off(content), offset=0, digest=sha256())
        assert await folder.size_bytes("a") is None
        await folder.append("a", chunked(b"first"), offset=0, digest=sha256())
        with pytest.raises(ConnectionResetError, match="gone"):
            await folder.append("a", breaking_off(content), offset=5, digest=sha256())
        assert await folder.size_bytes("a") == 5
        assert await read(folder, "a", 0, 5) == b"first"

    @pytest.mark.parametrize("pieces", [1, 3])
    async def test_a_request_that_is_cancelled_while_a_thread_writes(
        self, folder: ArtifactStore, monkeypatch: pytest.MonkeyPatch, pieces: int
    ) -> None:
        await folder.append("a", chunked(b"first"), offset=0, digest=sha256())
        original, begun, go_on = os.pwrite, threading.Event(), threading.Event()
        written: list[int] = []

        def slow(file: int, block: memoryview, offset: int) -> int:
            begun.set()
            assert go_on.wait(120)
            written.append(original(file, block, offset))  # raises where the descriptor was closed meanwhile
            return written[-1]

        monkeypatch.setattr(os, "pwrite", slow)
        content = bytes(APPEND_BYTES)
        appending = asyncio.ensure_future(
            folder.append("a", chunked(content * pieces, len(content)), offset=5, digest=sha256())
        )
        assert await asyncio.to_thread(begun.wait, 120)
        for _ in range(3):
            appending.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert not appending.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await appending
        assert written == [len(content)]
        assert await read(folder, "a", 0, 6) == b"first"
        assert await folder.size_bytes("a") == 5

    async def test_a_disk_that_is_full(self, folder: ArtifactStore) -> None:
        """The system's own limit on the size of a file stands for it."""
        await folder.append("a", chunked(b"first"), offset=0, digest=sha256())
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, before[1]))
        try:
            with pytest.raises(ArtifactStoreUnavailable):
                await folder.append("a", chunked(LARGE, 1_000_000), offset=5, digest=sha256())
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert await folder.size_bytes("a") == 5

    async def test_a_folder_that_cannot_be_made(self, folder: ArtifactStore, tmp_path: Path) -> None:
        (tmp_path / "folder" / "in").write_bytes(b"a file where a folder should be")
        with pytest.raises(ArtifactStoreUnavailable):
            await folder.append("in/a", chunked(b"x"), offset=0, digest=sha256())


class TestRead:
    async def test_a_range(self, store: ArtifactStore) -> None:
        await store.write("a", chunked(LARGE, 1_000_000))
        assert await read(store, "a", 1_000_001, 9_999_999) == LARGE[1_000_001:9_999_999]
        assert await read(store, "a", 5, 5) == b""

    async def test_no_such_key(self, store: ArtifactStore) -> None:
        with pytest.raises(StoredBytesMissing) as caught:
            await read(store, "none", 0, 1)
        assert caught.value.key == "none"


class TestReadInAFolder:
    @pytest.mark.parametrize(
        ("start", "end"), [(0, len(LARGE)), (1, len(LARGE) - 1), (CHUNK_BYTES, 3 * CHUNK_BYTES), (5, 6)]
    )
    async def test_a_long_range(self, folder: ArtifactStore, start: int, end: int) -> None:
        await folder.put("in/a", LARGE)
        chunks = [chunk async for chunk in folder.read("in/a", start=start, end=end)]
        assert b"".join(chunks) == LARGE[start:end]
        assert [len(chunk) for chunk in chunks[:-1]] == [CHUNK_BYTES] * (len(chunks) - 1)

    async def test_ends_with_the_file(self, folder: ArtifactStore) -> None:
        await folder.put("a", b"0123456789")
        assert await read(folder, "a", 8, 12) == b"89"

    async def test_that_begins_behind_the_file(self, folder: ArtifactStore, tmp_path: Path) -> None:
        await folder.put("a", b"0123456789")
        with pytest.raises(ArtifactStoreUnavailable):
            await read(folder, "a", 10, 12)
        assert opened(tmp_path / "folder" / "a") == 0

    async def test_a_request_that_is_cancelled_reads_no_other_file(self, folder: ArtifactStore) -> None:
        """In whichever moment: between two blocks, at the end of a file, while a thread reads."""
        for name in ("a", "b"):
            await folder.put(name, b"first")

        async def all_of_it() -> None:
            for _ in range(500):
                assert await read(folder, "a", 0, 5) + await read(folder, "b", 0, 5) == b"firstfirst"

        for turns in range(120):
            request = asyncio.ensure_future(all_of_it())
            for _ in range(turns):
                await asyncio.sleep(0)
            request.cancel()
            with pytest.raises(asyncio.CancelledError):
                await request

    async def test_of_what_cannot_be_read(self, folder: ArtifactStore, tmp_path: Path) -> None:
        (tmp_path / "folder" / "a").mkdir(parents=True)
        with pytest.raises(ArtifactStoreUnavailable):
            await read(folder, "a", 0, 1)

    async def test_whoever_leaves_early_lets_go_of_the_file(self, folder: ArtifactStore, tmp_path: Path) -> None:
        await folder.put("a", LARGE)
        async with aclosing(folder.read("a", start=0, end=len(LARGE))) as chunks:
            assert await anext(chunks) == LARGE[:CHUNK_BYTES]
            assert opened(tmp_path / "folder" / "a") == 1
        assert opened(tmp_path / "folder" / "a") == 0

    async def test_a_request_that_is_cancelled_waits_for_its_thread(
        self, folder: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await folder.put("a", b"first")
        reading, going_on = threading.Event(), threading.Event()
        original = storage._Stretch.next

        def slowly(stretch: storage._Stretch) -> bytes:
            block = original(stretch)
            reading.set()
            assert going_on.wait(60)
            return block

        monkeypatch.setattr(storage._Stretch, "next", slowly)
        request = asyncio.ensure_future(read(folder, "a", 0, 5))
        try:
            assert await asyncio.to_thread(reading.wait, 60)
            request.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not request.done()
            assert opened(tmp_path / "folder" / "a") == 1
        finally:
            going_on.set()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert opened(tmp_path / "folder" / "a") == 0


def opened(path: Path) -> int:
    """How often this process has the file open."""
    count = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one of this listing
            count += descriptor.readlink() == path
    return count


class TestSmall:
    @pytest.mark.parametrize("content", [b"", b"abc"])
    async def test_goes_and_comes_in_one_call(self, store: ArtifactStore, content: bytes) -> None:
        await store.put("a/b", content)
        assert await store.get("a/b") == content
        await store.put("a/b", content)
        assert await store.size_bytes("a/b") == len(content)

    async def test_no_such_key(self, store: ArtifactStore) -> None:
        with pytest.raises(StoredBytesMissing):
            await store.get("none")


class TestCopyAndDelete:
    async def test_a_copy_outlives_its_source(self, store: ArtifactStore) -> None:
        await store.write("a", chunked(b"abc"))
        await store.copy("a", "b/c")
        await store.delete(["a", "never-there"])
        assert await store.size_bytes("a") is None
        assert await read(store, "b/c", 0, 3) == b"abc"

    async def test_a_copy_of_nothing(self, store: ArtifactStore) -> None:
        with pytest.raises(StoredBytesMissing):
            await store.copy("none", "b")


class TestKeysBefore:
    async def test_only_older_keys_below_the_prefix(self, store: ArtifactStore) -> None:
        for key in ("in/a", "in/b", "out/a"):
            await store.write(key, chunked(b"x"))
        now = datetime.now(UTC)  # noqa: TID251 -- the store keeps the machine's time
        found = [key async for page in store.keys_before("in", now + timedelta(hours=1)) for key in page]
        assert sorted(found) == ["in/a", "in/b"]
        assert [key async for page in store.keys_before("in", now - timedelta(hours=1)) for key in page] == []

    async def test_whether_one_is_older(self, store: ArtifactStore) -> None:
        await store.put("a", b"x")
        now = datetime.now(UTC)  # noqa: TID251 -- the store keeps the machine's time
        assert await store.is_older("a", now + timedelta(hours=1))
        assert not await store.is_older("a", now - timedelta(hours=1))
        assert not await store.is_older("never-there", now + timedelta(hours=1))


class TestFolder:
    async def test_what_a_killed_write_left_goes_when_it_is_old(self, tmp_path: Path) -> None:
        store = ArtifactStore.open(tmp_path.as_uri())
        await store.write("in/a", chunked(b"x"))
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        for name, age in (("old#1", -60), ("new#2", 60), ("kept#x", -60)):
            (tmp_path / "in" / name).write_bytes(b"half")
            written_at = (moment + timedelta(seconds=age)).timestamp()
            os.utime(tmp_path / "in" / name, (written_at, written_at))
        assert store.delete_staged_before(moment) == 1
        assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["a", "kept#x", "new#2"]

    async def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "in").write_bytes(b"a file where a folder should be")
        store = ArtifactStore.open(tmp_path.as_uri())
        with pytest.raises(ArtifactStoreUnavailable) as caught:
            await store.write("in/a", chunked(b"x"))
        assert caught.value.message == (
            "The artifact store cannot be used at the moment; nothing was stored. Try again later."
        )


def answering(status: int, body: bytes, patch: pytest.MonkeyPatch, stack: ExitStack) -> ArtifactStore:
    for name, value in stack.enter_context(s3_answering(status, body)).items():
        patch.setenv(name, value)
    return ArtifactStore.open("s3://nowhere/artifacts")


@pytest.fixture
def bucketless(monkeypatch: pytest.MonkeyPatch) -> Iterator[ArtifactStore]:
    """In a bucket that does not exist."""
    with ExitStack() as stack:
        yield answering(404, NO_BUCKET, monkeypatch, stack)


class TestBucket:
    async def test_that_is_missing_is_a_wrong_setting_and_no_lost_bytes(self, bucketless: ArtifactStore) -> None:
        for attempt in (
            bucketless.write("a", chunked(b"abc")),
            bucketless.write("a", chunked(LARGE)),
            bucketless.put("a", b"abc"),
            bucketless.get("a"),
            bucketless.copy("a", "b"),
            read(bucketless, "a", 0, 3),
            bucketless.require_bucket(),
        ):
            with pytest.raises(BucketMissing) as caught:
                await attempt
            assert caught.value.message == TOLD

    @pytest.mark.parametrize(
        ("answer", "told"),
        [
            (NO_UPLOAD, "The artifact store let go of this upload before it was whole; nothing was stored. Send"),
            (b"", "The artifact store cannot be used at the moment; nothing was stored. Try again later."),
        ],
        ids=["an upload", "something else"],
    )
    async def test_another_thing_that_is_missing_is_no_wrong_setting(
        self, monkeypatch: pytest.MonkeyPatch, answer: bytes, told: str
    ) -> None:
        with ExitStack() as stack:
            store = answering(404, answer, monkeypatch, stack)
            for attempt in (store.write("a", chunked(LARGE)), store.put("a", b"abc")):
                with pytest.raises(ArtifactStoreUnavailable) as caught:
                    await attempt
                assert type(caught.value) is ArtifactStoreUnavailable
                assert caught.value.message.startswith(told)

    async def test_one_that_nobody_may_list_may_be_there(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with ExitStack() as stack:
            await answering(403, FORBIDDEN, monkeypatch, stack).require_bucket()
        assert caplog.messages[-1].startswith("The artifact store does not answer yet: ")

    async def test_one_that_is_away_may_come_back(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(storage, "BUCKET_SECONDS_MAX", 0.1)
        with ExitStack() as stack:
            store = answering(404, NO_BUCKET, monkeypatch, stack)
            await asyncio.to_thread(stack.close)
            await store.require_bucket()
        assert caplog.messages[-1] == "The artifact store does not answer yet: TimeoutError."

    async def test_a_folder_needs_none(self, store: ArtifactStore) -> None:
        await store.require_bucket()
