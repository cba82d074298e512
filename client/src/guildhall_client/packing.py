"""Folders with training code, packed the same way each time."""

import gzip
import os
import tarfile
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

from guildhall_client.errors import UploadFailed
from guildhall_client.files import described
from guildhall_client.steps import Compute, LocalFile, Step

IGNORED_NAMES = frozenset({"__pycache__", ".git", ".venv", ".DS_Store"})

Ignore = Callable[[str], bool]
"""Whether a path in the folder is left out; one that ends in a slash is a folder, left out with all below it."""


def nothing(_path: str) -> bool:
    """For callers that leave out no more than `IGNORED_NAMES`."""
    return False


def pack_folder(folder: Path, is_ignored: Ignore = nothing) -> Generator[Step, Any, LocalFile]:
    """Pack a folder into a temporary `.tar.gz` whose bytes depend on its files alone, so equal folders have one digest.

    The caller deletes the file at `source`.
    """
    packed: LocalFile = yield Compute(lambda: _packed(folder, is_ignored))
    return packed


def files_to_pack(folder: Path, is_ignored: Ignore = nothing) -> Iterator[tuple[str, Path]]:
    """The plain files of the folder that are not left out, by their paths in it, in the order of the archive."""
    found: list[tuple[str, Path]] = []
    for parent, folders, names in os.walk(folder):
        below = Path(parent).relative_to(folder)
        folders[:] = [name for name in folders if _is_packed(below / name, is_ignored, folder=True)]
        for name in names:
            source = Path(parent, name)
            if source.is_file() and not source.is_symlink() and _is_packed(below / name, is_ignored, folder=False):
                found.append(((below / name).as_posix(), source))
    yield from sorted(found)


def _is_packed(path: Path, is_ignored: Ignore, *, folder: bool) -> bool:
    return path.name not in IGNORED_NAMES and not is_ignored(f"{path.as_posix()}/" if folder else path.as_posix())


def _packed(folder: Path, is_ignored: Ignore) -> LocalFile:
    sources = list(files_to_pack(folder, is_ignored))
    if not sources:
        raise UploadFailed(f"{folder} holds no file to pack")
    try:
        handle, name = tempfile.mkstemp(suffix=".tar.gz")
    except FileNotFoundError as error:
        message = "no folder for temporary files can be written to; make space in one, or name another with TMPDIR"
        raise UploadFailed(message) from error
    try:
        with (
            os.fdopen(handle, "wb") as target,
            gzip.GzipFile(fileobj=target, mode="wb", filename="", mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path, source in sources:
                _add(tar, path, source)
    except BaseException as error:
        Path(name).unlink()
        if isinstance(error, OSError) and error.filename is None:  # a full disk does not say by itself which one it is
            error.filename = name
        raise
    return described("package.tar.gz", Path(name))


def _add(tar: tarfile.TarFile, path: str, source: Path) -> None:
    member = tarfile.TarInfo(path)
    with source.open("rb") as opened:
        about = os.fstat(opened.fileno())
        member.size = about.st_size
        member.mode = 0o755 if about.st_mode & 0o100 else 0o644
        try:
            tar.addfile(member, opened)
        except OSError as error:
            if error.errno is not None:
                raise
            raise UploadFailed(f"{path} became shorter while it was packed; give the same command again") from error
