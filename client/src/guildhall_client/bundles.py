"""Small files go many to a request, as a tar: fetched with every digest checked, sent as they were announced.

A bundle that breaks off is asked for again without the files that have arrived.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from guildhall_client.errors import DownloadFailed, UploadFailed
from guildhall_client.steps import (
    Answer,
    Compute,
    LocalFile,
    Save,
    Send,
    Step,
    not_downloaded,
    require_sent,
    save_patiently,
    send_patiently,
)

FILE_BYTES_MAX = 1 << 20
"""Larger ones go by themselves, in parts or ranges. Of a bundle one file is in memory at a time."""
FILES_MAX = 500
BYTES_MAX = 8 << 20
"""Every server takes bundles of this size; one on its way up is in memory."""
EXTENSION_BYTES_MAX = 64 * 1024

_ADDRESS = re.compile(r"(.*/artifacts)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_UPLOAD = re.compile(r"(.*/artifacts/uploads)/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Moved = Callable[[int], None]
"""Called with the bytes of files that have just arrived whole."""


@dataclass(frozen=True)
class Wanted:
    """A file to download: its path and address in the registry, where it goes, and what it has to be."""

    path: str
    url: str
    target: Path
    size_bytes: int
    sha256: str


Sized = TypeVar("Sized", Wanted, tuple[dict[str, Any], LocalFile])


def is_bundled(wanted: Wanted) -> bool:
    """Whether it goes with others; what has begun to arrive by itself goes on by itself."""
    fits = wanted.size_bytes <= FILE_BYTES_MAX and _ADDRESS.fullmatch(wanted.url) is not None
    return fits and not partial_of(wanted.target).exists()


def partial_of(target: Path) -> Path:
    """Where bytes lie before they were found right."""
    return target.with_name(target.name + ".part")


def in_each_others_way(targets: Iterable[Path]) -> set[Path]:
    """Those whose half file has the name of another one, and those others: `x` and `x.part`.

    They have to come one by one, the shorter name first, so that no half file lies over one that is whole.
    """
    all_targets = set(targets)
    first = {target for target in all_targets if partial_of(target) in all_targets}
    return first | {partial_of(target) for target in first}


def download_bundles(files: Sequence[Wanted], moved: Moved) -> Generator[Step, Any, None]:
    """Fetch small files of one owner, each written whole or not at all. Raises `DownloadFailed` and `OSError`."""
    for together in _parcels(files, lambda wanted: wanted.size_bytes):
        left = {wanted.path: wanted for wanted in together}
        answer = yield from _fetch(left, moved)
        if answer is None or not left:
            continue
        if answer.unreachable is None and answer.status < 300:
            raise DownloadFailed("BUNDLE_DAMAGED", f"{next(iter(left))} was asked for, and did not come")
        raise not_downloaded(answer)


def _fetch(left: dict[str, Wanted], moved: Moved) -> Generator[Step, Any, Answer | None]:
    """Take what comes out of `left`; the last answer, where nobody had to ask again."""
    whole = len(left)
    return save_patiently(
        lambda: _request(left.values(), _Unpacking(left, moved)) if left else None, lambda: whole - len(left)
    )


def is_sent_bundled(upload: Mapping[str, Any], file: LocalFile) -> bool:
    """Whether it goes with others."""
    return file.size_bytes <= FILE_BYTES_MAX and _UPLOAD.fullmatch(upload["url"]) is not None


def upload_bundles(files: Sequence[tuple[dict[str, Any], LocalFile]], moved: Moved) -> Generator[Step, Any, None]:
    """Send small files of one owner that the server does not have yet. Raises `UploadFailed`."""
    first = files[0][0]
    headers = {header["name"]: header["value"] for header in first["headers"]}
    match = _UPLOAD.fullmatch(first["url"])
    assert match is not None, "is_sent_bundled was asked"
    url = match[1] + "/bundle"
    missing = set(_taken((yield from send_patiently(Send("GET", url, headers=headers))))["missing"])
    moved(sum(file.size_bytes for upload, file in files if upload["path"] not in missing))
    waiting = [(upload, file) for upload, file in files if upload["path"] in missing]
    for together in _parcels(waiting, lambda pair: pair[1].size_bytes):
        content = yield Compute(lambda together=together: _packed(together))  # type: ignore[misc]
        _taken((yield from send_patiently(Send("PUT", url, content, headers))))
        moved(sum(file.size_bytes for _, file in together))


def _parcels(files: Sequence[Sized], size_of: Callable[[Sized], int]) -> Iterator[list[Sized]]:
    """What goes in one request each."""
    parcel: list[Sized] = []
    size_bytes = 0
    for file in files:
        if parcel and (len(parcel) >= FILES_MAX or size_bytes + size_of(file) > BYTES_MAX):
            yield parcel
            parcel, size_bytes = [], 0
        parcel.append(file)
        size_bytes += size_of(file)
    if parcel:
        yield parcel


def _request(files: Any, unpacking: "_Unpacking") -> Save:  # noqa: ANN401 -- the values of a dictionary
    found = [match for wanted in files if (match := _ADDRESS.fullmatch(wanted.url)) is not None]
    body = json.dumps({"files": [match[2] for match in found]}).encode()
    return Save(f"{found[0][1]}/bundle", unpacking.take, method="POST", content=body)


def _packed(files: Sequence[tuple[dict[str, Any], LocalFile]]) -> bytes:
    packed = io.BytesIO()
    for upload, file in files:
        content = file.source.read_bytes()
        if len(content) != file.size_bytes:
            raise UploadFailed(f"{upload['path']} has changed while it was uploaded; upload it again")
        member = tarfile.TarInfo(upload["path"])
        member.size = file.size_bytes
        packed.write(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))
        packed.write(content)
        packed.write(bytes(-file.size_bytes % tarfile.BLOCKSIZE))
    packed.write(bytes(2 * tarfile.BLOCKSIZE))
    return packed.getvalue()


def _taken(answer: Answer) -> dict[str, Any]:
    require_sent(answer)
    found: dict[str, Any] = json.loads(answer.body)
    return found


class _Unpacking:
    """Takes a tar in chunks of any size; a file that was asked for is written once it is whole and right.

    The archive's names are only looked up, never followed: where a file goes was decided before.
    """

    def __init__(self, left: dict[str, Wanted], moved: Moved) -> None:
        self._left = left
        self._moved = moved
        self._held = bytearray()
        self._member: tarfile.TarInfo | None = None
        self._longer_name: str | None = None

    def take(self, chunk: bytes) -> None:
        """Raises `DownloadFailed` about the first file that is not as registered."""
        self._held += chunk
        while self._step():
            pass

    def _step(self) -> bool:
        """Take one header or one file from what is held, if it is there whole."""
        size_bytes = tarfile.BLOCKSIZE if self._member is None else self._member.size
        padded = size_bytes + -size_bytes % tarfile.BLOCKSIZE
        if len(self._held) < padded:
            return False
        piece = bytes(memoryview(self._held)[:size_bytes])
        del self._held[:padded]
        if self._member is not None:
            member, self._member = self._member, None
            self._take_content(member, piece)
        elif piece.count(0) < tarfile.BLOCKSIZE:  # two blocks of nothing are the end
            self._member = self._header(piece)
        return True

    def _header(self, block: bytes) -> tarfile.TarInfo:
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise DownloadFailed("BUNDLE_DAMAGED", f"what the server sent is no tar: {error}") from error
        most = EXTENSION_BYTES_MAX
        if member.type != tarfile.XHDTYPE:
            wanted = self._wanted(member)
            most = wanted.size_bytes
            if member.size < most:
                raise _other_bytes(wanted, member.size)
        if not 0 <= member.size <= most:
            raise DownloadFailed("BUNDLE_DAMAGED", f"{member.name}: {member.size} bytes come, {most} were expected")
        return member

    def _wanted(self, member: tarfile.TarInfo) -> Wanted:
        path = self._longer_name or member.name
        wanted = self._left.get(path)
        if wanted is None or member.type != tarfile.REGTYPE:
            raise DownloadFailed("BUNDLE_DAMAGED", f"{path!r} came, which was not asked for")
        return wanted

    def _take_content(self, member: tarfile.TarInfo, content: bytes) -> None:
        if member.type == tarfile.XHDTYPE:
            try:
                self._longer_name = _path_in(content)
            except ValueError as error:
                raise DownloadFailed("BUNDLE_DAMAGED", "a header of the bundle cannot be read") from error
            return
        wanted = self._wanted(member)
        self._longer_name = None
        if hashlib.sha256(content).hexdigest() != wanted.sha256:
            raise _other_bytes(wanted, len(content))
        _write(wanted.target, content)
        del self._left[wanted.path]
        self._moved(wanted.size_bytes)


def _other_bytes(wanted: Wanted, came_bytes: int) -> DownloadFailed:
    message = f"{wanted.path}: {came_bytes} bytes arrived that are not the {wanted.size_bytes} bytes registered"
    return DownloadFailed("DIGEST_MISMATCH", message)


def _path_in(content: bytes) -> str | None:
    """The path in an extended header, whose records are `LENGTH KEY=VALUE` and a line feed. Raises ValueError."""
    while content:
        digits, _, _ = content.partition(b" ")
        length = int(digits)
        if not 0 < length <= len(content):
            raise ValueError(length)
        key, _, value = content[len(digits) + 1 : length - 1].partition(b"=")
        if key == b"path":
            return value.decode()
        content = content[length:]
    return None


def _write(target: Path, content: bytes) -> None:
    """Whole or not at all; raises `OSError` that names the file."""
    partial = partial_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        error.filename = str(partial)
        raise
