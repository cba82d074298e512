"""Uploads and downloads with a bar on standard error: rate, time left; none where there is no terminal."""

import hashlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

from platformdirs import user_state_path
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from guildhall_client.bundles import Wanted
from guildhall_client.client import Client
from guildhall_client.command.connection import all_nodes
from guildhall_client.command.exits import CommandFailed, Exit, NoSuchThing
from guildhall_client.command.printable import printable
from guildhall_client.command.printing import file_count
from guildhall_client.files import Progress as Told


@contextmanager
def bar(text: str) -> Iterator[Told]:
    """A callback that shows how far it is."""
    console = Console(stderr=True)
    if not (sys.stderr.isatty() and console.is_terminal):
        yield lambda _done_bytes, _total_bytes: None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(printable(text), total=None)
        yield lambda done_bytes, total_bytes: progress.update(task, completed=done_bytes, total=total_bytes)


@contextmanager
def upload_key(url: str, purpose: str, described: Any) -> Iterator[str]:  # noqa: ANN401 -- any JSON
    """An idempotency key that stays the same until the upload of just this is complete, also over processes.

    So a command that was cut off and is given again goes on with the parts that the server has, rather than begin a
    second version. What has succeeded is forgotten: the same folder again is then another version, as asked.
    """
    text = json.dumps([url, purpose, described], sort_keys=True)
    note = user_state_path("guildhall") / "uploads" / hashlib.sha256(text.encode()).hexdigest()
    try:
        key = note.read_text(encoding="ascii").strip()
    except OSError:
        key = ""
    if not key:
        key = str(uuid4())
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            note.write_text(key, encoding="ascii")
        except OSError as error:  # a full disk does not say by itself which one it is
            error.filename = str(note)
            raise
    yield key
    note.unlink(missing_ok=True)


def folder_state(folder: Path) -> list[list[Any]]:
    """What tells one state of a folder's files from another, without reading them; raises `CommandFailed`."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not files:
        raise CommandFailed(f"{folder} holds no file to upload.", Exit.USAGE)
    for name in files:
        if any("\ud800" <= mark <= "\udfff" for mark in name):  # as Python reads bytes that are of no character
            raise CommandFailed(f"The name of {name!a} is no UTF-8; rename it to upload it.", Exit.USAGE)
    return [[name, path.stat().st_size, path.stat().st_mtime_ns] for name, path in files.items()]


def fetch_all(client: Client, files: list[dict[str, Any]], folder: Path) -> int:
    """Download files by `path`, `url`, `sizeBytes` and `sha256` into a folder; returns the bytes that they have.

    What is there already as registered is not fetched again, and half a file (`*.part`) is gone on with.
    """
    wanted = [_wanted(folder, file) for file in files]
    missing = [each for each in wanted if not _is_there(each)]
    total_bytes = sum(each.size_bytes for each in wanted)
    before_bytes = total_bytes - sum(each.size_bytes for each in missing)
    with bar(f"Downloading {file_count(len(files))}") as tell:
        tell(before_bytes, total_bytes)
        client.download_all(missing, lambda done, _total: tell(before_bytes + done, total_bytes))
    return total_bytes


def files_of(client: Client, document: str, version_id: str) -> list[dict[str, Any]]:
    """All files of a version."""
    files = all_nodes(client, document, {"id": version_id}, "node", "files")
    if not files:
        raise NoSuchThing("That version has no files.")
    return files


def _place(folder: Path, path: str) -> Path:
    """Where a file goes; the server's word is not taken for it that the path stays in the folder."""
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise CommandFailed(f"The server names a file {printable(path)!r}, which would lie outside of {folder}.")
    return folder.joinpath(*relative.parts)


def _wanted(folder: Path, file: dict[str, Any]) -> Wanted:
    target = _place(folder, file["path"])
    if file["url"] is None:
        raise CommandFailed(f"{file['path']} was announced, but never stored.")
    return Wanted(file["path"], file["url"], target, int(file["sizeBytes"]), file["sha256"])


def _is_there(wanted: Wanted) -> bool:
    if not wanted.target.is_file() or wanted.target.stat().st_size != wanted.size_bytes:
        return False
    with wanted.target.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == wanted.sha256
