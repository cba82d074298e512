"""Registering what the command left: listed with digests, uploaded in parts, resumed after a cut."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Callable

from . import bundles
from .api import Api, Refused
from .failures import OutputInvalid

FILES_MAX = 10_000
READ_BYTES = 1 << 20


def list_files(folder: Path) -> list[dict[str, Any]]:
    """List the plain files below ``folder`` as ``{path, sizeBytes, sha256}``, sorted by path.

    Links are refused rather than followed: they may lead to what is not this job's output.
    """
    if not folder.is_dir():
        raise OutputInvalid(f"the command ended well but left no output folder {folder.name}")
    files = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            raise OutputInvalid(f"{path.relative_to(folder)}: a link cannot be registered", code="OUTPUT_INVALID")
        if path.is_dir():
            continue
        if not path.is_file():
            raise OutputInvalid(f"{path.relative_to(folder)}: not a plain file", code="OUTPUT_INVALID")
        files.append(
            {
                "path": path.relative_to(folder).as_posix(),
                "sizeBytes": path.stat().st_size,
                "sha256": _digest(path),
            }
        )
        if len(files) > FILES_MAX:
            raise OutputInvalid(f"the output folder holds more than {FILES_MAX} files", code="OUTPUT_INVALID")
    if not files:
        raise OutputInvalid(f"the command ended well but its output folder {folder.name} is empty")
    return files


def register(api: Api, folder: Path, described: dict[str, Any], progress: Callable[[float, str], None]) -> None:
    """Announce, upload and complete the output; what the API misses at the end is sent once more."""
    files = list_files(folder)
    body = {"files": files, **described}
    missing: list[dict[str, Any]] = []
    try:
        for _ in range(2):
            answer = api.call("POST", "runner/v1/outputs", body)
            _upload_all(api, folder, answer["uploads"], {file["path"]: file["sizeBytes"] for file in files}, progress)
            missing = api.call("POST", "runner/v1/outputs/complete", {})["missing"]
            if not missing:
                return
    except Refused as error:
        raise OutputInvalid(error.message, code=error.code) from error
    first = missing[0]
    raise OutputInvalid(f"{first['path']}: {first['message']}", code=first["code"])


def _upload_all(
    api: Api,
    folder: Path,
    uploads: list[dict[str, Any]],
    sizes: dict[str, int],
    progress: Callable[[float, str], None],
) -> None:
    total_bytes = sum(sizes[upload["path"]] for upload in uploads) or 1
    sent_bytes = 0

    def sent(size_bytes: int) -> None:
        nonlocal sent_bytes
        sent_bytes += size_bytes
        progress(sent_bytes / total_bytes, "uploading small files")

    small = [
        {**upload, "sizeBytes": sizes[upload["path"]]}
        for upload in uploads
        if sizes[upload["path"]] <= min(bundles.FILE_BYTES_MAX, upload["partSizeBytes"])
        and not upload.get("partsReceived")
    ]
    if len(small) > 1:
        bundles.upload(api, folder, small, sent)
        done = {upload["path"] for upload in small}
        uploads = [upload for upload in uploads if upload["path"] not in done]
    for upload in uploads:
        progress(sent_bytes / total_bytes, f"uploading {upload['path']}")
        _upload(api, folder / upload["path"], upload)
        sent_bytes += sizes[upload["path"]]


def _upload(api: Api, path: Path, upload: dict[str, Any]) -> None:
    headers = {header["name"]: header["value"] for header in upload["headers"]}
    part_bytes = upload["partSizeBytes"]
    received = set(upload.get("partsReceived", ()))
    separator = "&" if "?" in upload["url"] else "?"
    with path.open("rb") as file:
        part = 1
        while True:
            data = file.read(part_bytes)
            if not data and part > 1:
                break
            if part not in received:
                api.put(f"{upload['url']}{separator}part={part}", data, headers)
            part += 1


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
