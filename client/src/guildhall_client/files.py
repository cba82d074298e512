"""Uploads in parts and downloads with digests; both go on where they were cut off, also in another process."""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from guildhall_client.bundles import (
    Wanted,
    download_bundles,
    in_each_others_way,
    is_bundled,
    is_sent_bundled,
    partial_of,
    upload_bundles,
)
from guildhall_client.errors import DownloadFailed
from guildhall_client.steps import (
    READ_BYTES,
    Answer,
    Compute,
    FilePart,
    LocalFile,
    Save,
    Send,
    Step,
    not_downloaded,
    require_sent,
    save_patiently,
    send_patiently,
)

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
            files.append((yield Compute(lambda source=source, path=path: described(path, source))))  # type: ignore[misc]
    return files


def upload_all(
    uploads: Sequence[dict[str, Any]], files: Sequence[LocalFile], progress: Progress
) -> Generator[Step, Any, None]:
    """Send each file to where the server asked for it; parts that the server has already are not sent again."""
    by_path = {file.path: file for file in files}
    total_bytes = sum(file.size_bytes for file in files)
    # A package is one file, whatever path the server gives it.
    asked = [(upload, files[0] if len(files) == 1 else by_path[upload["path"]]) for upload in uploads]
    done_bytes = total_bytes - sum(file.size_bytes for _, file in asked)

    def moved(size_bytes: int) -> None:
        nonlocal done_bytes
        done_bytes += size_bytes
        progress(done_bytes, total_bytes)

    small = [(upload, file) for upload, file in asked if is_sent_bundled(upload, file)]
    if len(small) > 1:
        yield from upload_bundles(small, moved)
        asked = [(upload, file) for upload, file in asked if not is_sent_bundled(upload, file)]
    for upload, file in asked:
        headers = {header["name"]: header["value"] for header in upload["headers"]}
        # What is one part is there whole or not at all, and then it is not asked for: nothing to look up.
        part_size_bytes = upload["partSizeBytes"]
        received: dict[int, int] = {}
        if file.size_bytes > part_size_bytes:
            received = yield from _parts_received(upload, headers)
            # A server that has changed its mind since takes the rest in the parts that it began with.
            part_size_bytes = received.get(1) or part_size_bytes
        for number, part in enumerate(_parts(file, part_size_bytes), start=1):
            if received.get(number) != part.size_bytes:
                yield from _send_part(upload, number, part, headers)
            moved(part.size_bytes)


def download_all(files: Sequence[Wanted], progress: Progress) -> Generator[Step, Any, None]:
    """Fetch files of one owner, the small ones many to a request; the rest of each as `download`."""
    total_bytes = sum(wanted.size_bytes for wanted in files)
    done_bytes = 0

    def moved(size_bytes: int) -> None:
        nonlocal done_bytes
        done_bytes += size_bytes
        progress(done_bytes, total_bytes)

    single = in_each_others_way(wanted.target for wanted in files)
    small = [wanted for wanted in files if wanted.target not in single and is_bundled(wanted)]
    together = small if len(small) > 1 else []
    yield from download_bundles(together, moved)
    fetched = {wanted.path for wanted in together}
    for wanted in sorted(files, key=lambda wanted: wanted.path):
        if wanted.path not in fetched:
            offset = done_bytes
            yield from download(
                wanted.url,
                wanted.target,
                size_bytes=wanted.size_bytes,
                sha256=wanted.sha256,
                progress=lambda done, _total, offset=offset: progress(offset + done, total_bytes),  # type: ignore[misc]
            )
            moved(wanted.size_bytes)


def download(url: str, target: Path, *, size_bytes: int, sha256: str, progress: Progress) -> Generator[Step, Any, None]:
    """Stream into `target.part` and rename it once its digest is right.

    Where the stream breaks off and the server stays away, the half file is left, and the next call goes on with it.
    Bytes that are refused or wrong are not left behind.
    """
    partial = partial_of(target)
    partial.parent.mkdir(parents=True, exist_ok=True)
    arrived = yield Compute(lambda: _Arrived(partial, size_bytes, progress))
    with arrived:
        begun_bytes = arrived.size_bytes
        yield from _stream(url, arrived, size_bytes)
        if begun_bytes and arrived.sha256 != sha256:  # the half file was not of these bytes
            arrived.clear()
            yield from _stream(url, arrived, size_bytes)
    if arrived.sha256 != sha256:
        partial.unlink()
        message = f"{target.name}: {arrived.size_bytes} bytes arrived that are not the {size_bytes} bytes registered"
        raise DownloadFailed("DIGEST_MISMATCH", message)
    partial.replace(target)


def preview(url: str, rows: int) -> Generator[Step, Any, dict[str, Any]]:
    """The first rows of the table at an artifact's `url`, and its columns with their types."""
    answer: Answer = yield from send_patiently(Send("GET", f"{url}/preview?rows={rows}"))
    if answer.unreachable is not None or answer.status != 200:
        raise not_downloaded(answer)
    shown: dict[str, Any] = json.loads(answer.body)
    return shown


class _Arrived:
    """A half file: what is in it, by size and digest, and how more is written.

    Unbuffered, so that a full disk is told where the bytes are written and not again when the file is closed.
    """

    def __init__(self, path: Path, whole_bytes: int, progress: Progress) -> None:
        self.path = path
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._whole_bytes = whole_bytes
        self._progress = progress
        self._opened = path.open("a+b", buffering=0)
        self._opened.seek(0)
        while chunk := self._opened.read(READ_BYTES):
            self._digest.update(chunk)
            self.size_bytes += len(chunk)
        if self.size_bytes > whole_bytes:
            self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._opened.close()

    @property
    def sha256(self) -> str:
        """The digest of all that has arrived, in hexadecimal."""
        return self._digest.hexdigest()

    def take(self, chunk: bytes) -> None:
        """Append; raises `OSError` that names the file."""
        left = memoryview(chunk)
        try:
            while left:
                left = left[self._opened.write(left) :]
        except OSError as error:
            error.filename = str(self.path)
            raise
        self._digest.update(chunk)
        self.size_bytes += len(chunk)
        self._progress(self.size_bytes, self._whole_bytes)

    def clear(self) -> None:
        """Begin anew."""
        self._opened.truncate(0)
        self._digest = hashlib.sha256()
        self.size_bytes = 0


def _stream(url: str, arrived: _Arrived, whole_bytes: int) -> Generator[Step, Any, None]:
    """Fetch what is missing; an empty file is asked for once, since whether it may be read is not known before."""

    def missing() -> Save | None:
        if 0 < whole_bytes == arrived.size_bytes:
            return None
        return Save(url, arrived.take, offset=arrived.size_bytes)

    answer = yield from save_patiently(missing, lambda: arrived.size_bytes)
    if answer is None or (answer.unreachable is None and answer.status < 300):
        return
    if not answer.is_passing or not arrived.size_bytes:
        arrived.path.unlink()
    raise not_downloaded(answer)


def _parts_received(upload: dict[str, Any], headers: dict[str, str]) -> Generator[Step, Any, dict[int, int]]:
    """How many bytes each part has that is there."""
    answer = yield from send_patiently(Send("GET", upload["url"], headers=headers))
    if answer.unreachable is not None or answer.status != 200:
        return {}
    return {int(part["part"]): int(part["sizeBytes"]) for part in json.loads(answer.body)["parts"]}


def _send_part(
    upload: dict[str, Any], number: int, part: FilePart, headers: dict[str, str]
) -> Generator[Step, Any, None]:
    separator = "&" if "?" in upload["url"] else "?"
    url = f"{upload['url']}{separator}part={number}"
    answer = yield from send_patiently(Send(upload["method"], url, part, headers))
    require_sent(answer, f"{upload['path']}, part {number}: ")


def _parts(file: LocalFile, part_size_bytes: int) -> Iterator[FilePart]:
    """An empty file is one empty part."""
    for offset in range(0, max(file.size_bytes, 1), part_size_bytes):
        yield FilePart(file.source, offset, min(part_size_bytes, file.size_bytes - offset))


def described(path: str, source: Path) -> LocalFile:
    """A file as it is announced: with its size and digest."""
    digest = hashlib.sha256()
    with source.open("rb") as opened:
        while chunk := opened.read(READ_BYTES):
            digest.update(chunk)
    return LocalFile(path, source, source.stat().st_size, digest.hexdigest())
