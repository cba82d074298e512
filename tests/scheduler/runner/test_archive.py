"""Packages that are whole, broken, too large, or reach outside."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Protocol

import pytest

from scheduler.runner import archive
from scheduler.runner.archive import unpack
from scheduler.runner.failures import PackageInvalid


class Pack(Protocol):
    def __call__(self, target: Path, files: dict[str, bytes], *, mode: int = 0o644) -> Path: ...


def zipped(target: Path, files: dict[str, bytes], *, mode: int = 0o644) -> Path:
    with zipfile.ZipFile(target, "w") as package:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (stat.S_IFREG | mode) << 16
            package.writestr(entry, data)
    return target


def tarred(target: Path, files: dict[str, bytes], *, mode: int = 0o644) -> Path:
    with tarfile.open(target, "w:gz") as package:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            package.addfile(member, io.BytesIO(data))
    return target


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "workspace"
    made.mkdir()
    return made


@pytest.mark.parametrize("pack", [zipped, tarred])
class TestBothKinds:
    def test_files_folders_and_the_right_to_execute(self, pack: Pack, folder: Path, tmp_path: Path) -> None:
        made = pack(tmp_path / "p", {"a/b.sh": b"1", "c": b"2"}, mode=0o755)
        unpack(made, folder)
        assert (folder / "a" / "b.sh").read_bytes() == b"1"
        assert (folder / "c").stat().st_mode & 0o777 == 0o755

    @pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\x"])
    def test_a_path_outside_refuses_all(self, pack: Pack, folder: Path, tmp_path: Path, name: str) -> None:
        made = pack(tmp_path / "p", {"ok": b"1", name: b"2"})
        with pytest.raises(PackageInvalid, match="must stay inside the package"):
            unpack(made, folder)
        assert list(folder.iterdir()) == []

    def test_too_many_files(self, pack: Pack, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "FILES_MAX", 1)
        made = pack(tmp_path / "p", {"a": b"", "b": b""})
        with pytest.raises(PackageInvalid, match="more than 1 files"):
            unpack(made, folder)

    def test_too_large(self, pack: Pack, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "UNPACKED_BYTES_MAX", 3)
        made = pack(tmp_path / "p", {"a": b"1234"})
        with pytest.raises(PackageInvalid, match="more than 3 bytes"):
            unpack(made, folder)
        assert list(folder.iterdir()) == []


def test_empty_folders(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t", "w") as package:
        member = tarfile.TarInfo("in-tar")
        member.type = tarfile.DIRTYPE
        package.addfile(member)
    with zipfile.ZipFile(tmp_path / "z", "w") as other:
        other.mkdir("in-zip")
    unpack(tmp_path / "t", folder)
    unpack(tmp_path / "z", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["in-tar", "in-zip"]


def test_links_in_zip(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as package:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        package.writestr(entry, "/etc/passwd")
    with pytest.raises(PackageInvalid, match="only folders and plain files"):
        unpack(tmp_path / "z", folder)


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"print(1)", "neither a tar nor a zip"),
        (b"PK\x05\x06" + b"\xff" * 18, "neither a tar nor a zip|cannot be unpacked"),
    ],
)
def test_broken(folder: Path, tmp_path: Path, data: bytes, want: str) -> None:
    (tmp_path / "p").write_bytes(data)
    with pytest.raises(PackageInvalid, match=want):
        unpack(tmp_path / "p", folder)


def test_cut_off(folder: Path, tmp_path: Path) -> None:
    whole = tarred(tmp_path / "whole", {"a": bytes(range(256)) * 100}).read_bytes()
    (tmp_path / "p").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PackageInvalid):
        unpack(tmp_path / "p", folder)
