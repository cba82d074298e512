"""Unpacking the archive with the training script, without letting it write outside its folder."""

from __future__ import annotations

import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from shutil import copyfileobj
from typing import IO

from .failures import PackageInvalid

FILES_MAX = 20_000
UNPACKED_BYTES_MAX = 4 << 30


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (plain or compressed) or zip archive into ``folder``.

    Only folders and plain files come out; links, devices and paths that leave the folder refuse the whole archive.
    """
    try:
        if tarfile.is_tarfile(archive):
            _unpack_tar(archive, folder)
        elif zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder)
        else:
            raise PackageInvalid("the package is neither a tar nor a zip archive")
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise PackageInvalid(f"the package cannot be unpacked: {error}") from error


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        members: list[tuple[tarfile.TarInfo, Path]] = []
        for member in tar:
            if not (member.isdir() or member.isfile()):
                raise PackageInvalid(f"{member.name}: only folders and plain files may be in a package")
            members.append((member, _inside(folder, member.name)))
            _check_budget(len(members), 0)
        _check_budget(len(members), sum(member.size for member, _ in members))
        for member, target in members:
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            source = tar.extractfile(member)
            if source is None:
                raise PackageInvalid(f"{member.name}: the file cannot be read")
            _write(source, target, executable=bool(member.mode & stat.S_IXUSR))


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as package:
        entries = package.infolist()
        _check_budget(len(entries), sum(entry.file_size for entry in entries))
        targets = [_inside(folder, entry.filename) for entry in entries]
        for entry in entries:
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise PackageInvalid(f"{entry.filename}: only folders and plain files may be in a package")
        for entry, target in zip(entries, targets):
            if entry.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            with package.open(entry) as source:
                _write(source, target, executable=bool((entry.external_attr >> 16) & stat.S_IXUSR))


def _write(source: IO[bytes], target: Path, *, executable: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as file:
        copyfileobj(source, file)
    if executable:
        target.chmod(0o755)


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\x00" in name or "\\" in name:
        raise PackageInvalid(f"{name}: a path in a package must stay inside the package")
    return folder.joinpath(*path.parts)


def _check_budget(files: int, unpacked_bytes: int) -> None:
    if files > FILES_MAX:
        raise PackageInvalid(f"the package holds more than {FILES_MAX} files")
    if unpacked_bytes > UNPACKED_BYTES_MAX:
        raise PackageInvalid(f"the package unpacks to more than {UNPACKED_BYTES_MAX} bytes")
