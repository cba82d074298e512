"""Where archives are kept: what cannot be reached is told, and where."""

from pathlib import Path

import pytest

from guildhall.audit.archive_store import ArchiveStore, ArchiveStoreUnavailable


class TestArchiveStore:
    async def test_what_cannot_be_reached(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ArchiveStoreUnavailable, match="is no store of archives"):
            ArchiveStore.open(str(tmp_path / "file" / "folder"))
        with pytest.raises(ArchiveStoreUnavailable, match="is no store of archives"):
            ArchiveStore.open("gopher://example")
        store = ArchiveStore.open(str(tmp_path / "store"))
        (tmp_path / "store").rmdir()
        (tmp_path / "store").write_text("no folder")
        with pytest.raises(ArchiveStoreUnavailable, match="cannot be written"):
            await store.add(tmp_path / "file", "audit.zip")
        with pytest.raises(ArchiveStoreUnavailable, match="cannot be read"):
            await store.fetch("audit.zip", tmp_path / "copy")
