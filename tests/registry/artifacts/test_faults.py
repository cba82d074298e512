"""What hardware does to uploads: a full or broken disk, and files that are larger than memory should ever be."""

import gc
import os
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest

from registry.artifacts.tables import ArtifactPart
from registry.storage import ArtifactStore, ArtifactStoreUnavailable
from tests.registry.estate import Estate, digest, spec

MEBIBYTE = 1024 * 1024
STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
async def version_id(estate: Estate) -> UUID:
    return await estate.announce(await estate.dataset(), [spec("a.bin", bytes(900))])


class TestDisk:
    async def test_that_is_full(self, estate: Estate, version_id: UUID, tmp_path: Path) -> None:
        """The system's own limit on the size of a file stands for a full disk: writing fails in the middle."""
        store = ArtifactStore.open((tmp_path / "full").as_uri())
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3 * MEBIBYTE, before[1]))
        try:
            with pytest.raises(ArtifactStoreUnavailable):
                await store.write("uploads/a", zeros(8))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert await store.size_bytes("uploads/a") is None
        assert [path for path in (tmp_path / "full").rglob("*") if path.is_file()] == []

    async def test_that_fails_keeps_nothing_and_says_so(self, estate: Estate, version_id: UUID) -> None:
        blocked = estate.store._folder
        assert blocked is not None
        (blocked / "uploads").write_bytes(b"a file where a folder should be")
        with pytest.raises(ArtifactStoreUnavailable) as caught:
            await estate.send(version_id, "a.bin", bytes(900))
        assert caught.value.message == (
            "The artifact store cannot be used at the moment; nothing was stored. Try again later."
        )
        assert await estate.rows(ArtifactPart) == []
        (blocked / "uploads").unlink()
        await estate.send(version_id, "a.bin", bytes(900))
        assert (await estate.complete(version_id)).missing == ()


async def zeros(mebibytes: int) -> AsyncIterator[bytes]:
    block = bytes(MEBIBYTE)
    for _ in range(mebibytes):
        yield block


@pytest.mark.skipif(not STATM.exists(), reason="memory in use is read from /proc")
class TestMemory:
    async def test_does_not_grow_with_the_file(self, tmp_path: Path) -> None:
        store = ArtifactStore.open(tmp_path.as_uri())
        await store.write("warm", zeros(32))
        gc.collect()
        before = resident_bytes()
        written = await store.write("large", zeros(256))
        most = resident_bytes()
        async for chunk in store.read("large", start=0, end=written.size_bytes):
            assert len(chunk) <= 4 * MEBIBYTE
            most = max(most, resident_bytes())
        assert written.size_bytes == 256 * MEBIBYTE
        assert written.sha256 == digest(bytes(256 * MEBIBYTE))
        assert most - before < 64 * MEBIBYTE
