"""Packing a folder: what cannot be packed leaves nothing behind."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from guildhall_client.errors import UploadFailed
from guildhall_client.packing import pack_folder
from guildhall_client.steps import Compute


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "code"
    made.mkdir()
    return made


def pack(folder: Path) -> None:
    step = next(pack_folder(folder))
    assert isinstance(step, Compute)
    step.function()


class TestPackFolder:
    @pytest.mark.parametrize("size_bytes", [10, 1_000_000])
    def test_a_full_disk_is_named(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int
    ) -> None:
        """Told when it is written, or only when it is closed."""
        (folder / "a.bin").write_bytes(os.urandom(size_bytes))
        target = tmp_path / "package"
        target.touch()
        monkeypatch.setattr(tempfile, "mkstemp", lambda **_: (os.open("/dev/full", os.O_WRONLY), str(target)))
        with pytest.raises(OSError, match="No space left") as caught:
            pack(folder)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(target))
        assert not target.exists()

    def test_no_folder_for_temporary_files(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "a.txt").write_text("a")

        def none(**_: str) -> None:
            raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

        monkeypatch.setattr(tempfile, "mkstemp", none)
        with pytest.raises(UploadFailed, match="name another with TMPDIR"):
            pack(folder)

    def test_a_file_that_becomes_shorter(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "log.txt").write_text("four")
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        before = os.stat_result((0o100644, 0, 0, 1, 0, 0, len("fourteen"), 0, 0, 0))
        monkeypatch.setattr(os, "fstat", lambda _handle: before)
        with pytest.raises(UploadFailed, match=r"log\.txt became shorter"):
            pack(folder)
        monkeypatch.undo()
        assert list((tmp_path / "temporary").iterdir()) == []

    def test_what_may_not_be_read_is_named(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What goes wrong with a file of the folder is not told of the package."""
        secret = folder / "secret.txt"
        secret.write_text("a")

        def refused(path: Path, *_: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

        monkeypatch.setattr(Path, "open", refused)
        with pytest.raises(PermissionError) as caught:
            pack(folder)
        assert caught.value.filename == str(secret)
