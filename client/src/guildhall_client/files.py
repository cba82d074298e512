"""Uploads in parts with resume, downloads with digests, folders packed the same way each time."""

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import IO, Any

from guildhall_client.errors import DownloadFailed, UploadFailed
from guildhall_client.steps import (
    RETRIED_STATUSES,
    TRIES_MAX,
    Answer,
    Compute,
    LocalFile,
    Save,
    Send,
    Step,
    Wait,
    backoff_seconds,
    send_patiently,
)

READ_BYTES = 1 << 20
IGNORED_NAMES = frozenset({"__pycache__", ".git", ".venv", ".DS_Store"})

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all, after each part or chunk."""


def no_progress(_done_bytes: int, _total_bytes: int) -> None:
    """For callers that show none."""


def describe_files(folder: Path) -> Generator[Step, Any, list[LocalFile]]:
    """Every plain file below a folder with size and digest, sorted by path."""
    files: list[LocalFile] = []
    for source in sorted(folder.rglob("*")):
        if source.is_file():
            path = source.relative_to(folder).as_posix()
            files.append((yield Compute(lambda source=source, path=path: _described(path, source))))  # type: ignore[misc]
    return files


def pack_folder(folder: Path) -> Generator[Step, Any, LocalFile]:
    """Pack a folder into a temporary `.tar.gz` whose bytes depend on its files alone, so equal folders have one digest.

    The caller deletes the file at `source`.
    """
    packed: LocalFile = yield Compute(lambda: _packed(folder))
    return packed


def upload_all(
    uploads: Sequence[dict[str, Any]], files: Sequence[LocalFile], progress: Progress
) -> Generator[Step, Any, None]:
    """Send each file to where the server asked for it; parts that the server has already are not sent again."""
    by_path = {file.path: file for file in files}
    total_bytes = sum(file.size_bytes for file in files)
    done_bytes = 0
    for upload in uploads:
        # A package is one file, whatever path the server gives it.
        file = by_path[upload["path"]] if upload["path"] in by_path or len(files) > 1 else files[0]
        headers = {header["name"]: header["value"] for header in upload["headers"]}
        received = yield from _parts_received(upload, headers)
        with file.source.open("rb") as opened:
            for part, data in enumerate(_parts(opened, upload["partSizeBytes"]), start=1):
                if part not in received:
                    yield from _send_part(upload, part, data, headers)
                done_bytes += len(data)
                progress(done_bytes, total_bytes)


def download(url: str, target: Path, *, size_bytes: int, sha256: str, progress: Progress) -> Generator[Step, Any, None]:
    """Stream into `target`, going on where a stream broke; what does not match its digest is not left behind."""
    partial = target.with_name(target.name + ".part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    done_bytes = 0
    with partial.open("wb") as opened:

        def sink(chunk: bytes) -> None:
            nonlocal done_bytes
            opened.write(chunk)
            digest.update(chunk)
            done_bytes += len(chunk)
            progress(done_bytes, size_bytes)

        answer = Answer(0)
        for tries in range(1, TRIES_MAX + 1):
            answer = yield Save(url, sink, offset=done_bytes)
            if answer.unreachable is None and answer.status not in RETRIED_STATUSES:
                break
            yield Wait(backoff_seconds(tries))
    if answer.unreachable is not None or answer.status >= 300:
        partial.unlink()
        raise _download_failure(answer)
    if digest.hexdigest() != sha256:
        partial.unlink()
        message = f"{target.name}: {done_bytes} bytes arrived that are not the {size_bytes} bytes registered"
        raise DownloadFailed("DIGEST_MISMATCH", message)
    partial.replace(target)


def _parts_received(upload: dict[str, Any], headers: dict[str, str]) -> Generator[Step, Any, set[int]]:
    answer = yield from send_patiently(Send("GET", upload["url"], headers=headers))
    if answer.unreachable is not None or answer.status != 200:
        return set()
    return {int(part["part"]) for part in json.loads(answer.body)["parts"]}


def _send_part(upload: dict[str, Any], part: int, data: bytes, headers: dict[str, str]) -> Generator[Step, Any, None]:
    separator = "&" if "?" in upload["url"] else "?"
    url = f"{upload['url']}{separator}part={part}"
    answer = yield from send_patiently(Send(upload["method"], url, data, headers))
    if answer.unreachable is not None:
        raise UploadFailed(f"{upload['path']}, part {part}: the server does not answer: {answer.unreachable}")
    if answer.status >= 300:
        raise UploadFailed(f"{upload['path']}, part {part}: {_error(answer)[1]}")


def _parts(opened: IO[bytes], part_size_bytes: int) -> Generator[bytes]:
    data = opened.read(part_size_bytes)
    # An empty file is one empty part.
    yield data
    while data := opened.read(part_size_bytes):
        yield data


def _download_failure(answer: Answer) -> DownloadFailed:
    if answer.unreachable is not None:
        return DownloadFailed("UNREACHABLE", f"the server does not answer: {answer.unreachable}")
    return DownloadFailed(*_error(answer))


def _error(answer: Answer) -> tuple[str, str]:
    try:
        error = json.loads(answer.body)["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return "REFUSED", f"the server answered {answer.status}"


def _described(path: str, source: Path) -> LocalFile:
    digest = hashlib.sha256()
    with source.open("rb") as opened:
        while chunk := opened.read(READ_BYTES):
            digest.update(chunk)
    return LocalFile(path, source, source.stat().st_size, digest.hexdigest())


def _packed(folder: Path) -> LocalFile:
    sources = [
        path for path in sorted(folder.rglob("*")) if not IGNORED_NAMES.intersection(path.relative_to(folder).parts)
    ]
    if not any(path.is_file() for path in sources):
        raise UploadFailed(f"{folder} holds no file to pack")
    with (
        tempfile.NamedTemporaryFile(suffix=".tar.gz", delete=False) as target,
        gzip.GzipFile(fileobj=target, mode="wb", filename="", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for source in sources:
            if source.is_file() and not source.is_symlink():
                _add(tar, source, source.relative_to(folder).as_posix())
    return _described("package.tar.gz", Path(target.name))


def _add(tar: tarfile.TarFile, source: Path, name: str) -> None:
    data = source.read_bytes()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o755 if source.stat().st_mode & 0o100 else 0o644
    tar.addfile(member, io.BytesIO(data))
