"""Small files many to a request, as a tar: inputs on their way in, outputs on their way out."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Callable

from .failures import DigestMismatch, OutputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .api import Api

FILE_BYTES_MAX = 1 << 20
"""Larger files go by themselves; of a bundle on its way in one file is in memory at a time."""
FILES_MAX = 500
BYTES_MAX = 8 << 20
"""Every API takes bundles of this size; one on its way out is in memory."""


def parcels(files: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """What goes in one request each, by ``sizeBytes``."""
    parcel: list[dict[str, Any]] = []
    size_bytes = 0
    for file in files:
        if parcel and (len(parcel) >= FILES_MAX or size_bytes + file["sizeBytes"] > BYTES_MAX):
            yield parcel
            parcel, size_bytes = [], 0
        parcel.append(file)
        size_bytes += file["sizeBytes"]
    if parcel:
        yield parcel


def download(api: Api, files: list[dict[str, Any]], folder: Path) -> None:
    """Fetch small files into ``folder``; a bundle that breaks off is asked for again without what has arrived."""
    for parcel in parcels(files):
        left = {file["path"]: file for file in parcel}

        def asked(left: dict[str, dict[str, Any]] = left) -> dict[str, Any] | None:
            return {"files": [file["url"].rpartition("/")[2] for file in left.values()]} if left else None

        def take(stream: IO[bytes], left: dict[str, dict[str, Any]] = left) -> None:
            _unpack(stream, left, folder)

        api.fetch(_beside(parcel[0]["url"]), asked, take)
        if left:
            raise DigestMismatch(f"{next(iter(left))} was asked for, and did not come")


def upload(api: Api, folder: Path, uploads: list[dict[str, Any]], sent: Callable[[int], None]) -> None:
    """Send small files, each with its ``sizeBytes``; ``sent`` is called with the bytes of each request."""
    for parcel in parcels(uploads):
        headers = {header["name"]: header["value"] for header in parcel[0]["headers"]}
        content = _pack(folder, parcel)
        api.put(_beside(parcel[0]["url"]), content, headers)
        sent(sum(each["sizeBytes"] for each in parcel))


def _beside(url: str) -> str:
    """The address for many files lies beside those of single ones."""
    return url.rpartition("/")[0] + "/bundle"


def _unpack(stream: IO[bytes], left: dict[str, dict[str, Any]], folder: Path) -> None:
    """The archive's names are only looked up; what is written was asked for, and found right before."""
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8") as tar:
        for member in tar:
            file = left.get(member.name)
            content = tar.extractfile(member) if member.isreg() else None
            if file is None or content is None or member.size != file["sizeBytes"]:
                raise DigestMismatch(f"{member.name}: {member.size} bytes arrived that were not asked for")
            data = content.read()
            if hashlib.sha256(data).hexdigest() != file["sha256"]:
                raise DigestMismatch(f"{member.name}: {len(data)} bytes arrived that are not the registered ones")
            target = folder.joinpath(*PurePosixPath(file["path"]).parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(target.name + ".part")
            partial.write_bytes(data)
            partial.replace(target)
            del left[member.name]


def _pack(folder: Path, uploads: list[dict[str, Any]]) -> bytes:
    packed = io.BytesIO()
    for upload in uploads:
        data = folder.joinpath(upload["path"]).read_bytes()
        if len(data) != upload["sizeBytes"]:
            raise OutputInvalid(f"{upload['path']} has changed while it was uploaded", code="OUTPUT_INVALID")
        member = tarfile.TarInfo(upload["path"])
        member.size = len(data)
        packed.write(member.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))
        packed.write(data)
        packed.write(bytes(-len(data) % tarfile.BLOCKSIZE))
    packed.write(bytes(2 * tarfile.BLOCKSIZE))
    return packed.getvalue()
