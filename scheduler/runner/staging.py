"""Bringing the package and the inputs into the workspace, each file checked against its digest."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Callable

from . import bundles
from .api import Api, Refused
from .archive import unpack
from .failures import DigestMismatch, InputRefused

if TYPE_CHECKING:
    from collections.abc import Iterator


def stage_package(api: Api, package: dict[str, Any], workspace: Path) -> None:
    """Download the archive, check it, unpack it into the workspace and throw the archive away."""
    archive = workspace / ".package"
    try:
        _download(api, package["artifactUrl"], archive, package["sha256"], package["sizeBytes"])
        unpack(archive, workspace)
    finally:
        archive.unlink(missing_ok=True)


def stage_inputs(
    api: Api, inputs: list[dict[str, Any]], workspace: Path, progress: Callable[[float, str], None]
) -> None:
    """Download all inputs to their mount paths. Access is decided by the API, input by input and file by file."""
    for index, staged in enumerate(inputs):
        progress(index / len(inputs), f"staging input {index + 1} of {len(inputs)}")
        try:
            opened = api.call("POST", f"runner/v1/inputs/{staged['index']}/open", {})
            folder = mount_point(workspace, staged["mountPath"])
            _stage(api, opened["files"], folder)
        except Refused as error:
            raise InputRefused(error.message, code=error.code) from error


def _stage(api: Api, files: list[dict[str, Any]], folder: Path) -> None:
    single = _in_each_others_way({file["path"] for file in files})
    small = [file for file in files if file["sizeBytes"] <= bundles.FILE_BYTES_MAX and file["path"] not in single]
    together = small if len(small) > 1 else []
    bundles.download(api, together, folder)
    fetched = {file["path"] for file in together}
    for file in sorted(files, key=lambda file: file["path"]):
        if file["path"] not in fetched:
            target = folder.joinpath(*PurePosixPath(file["path"]).parts)
            _download(api, file["url"], target, file["sha256"], file["sizeBytes"])


def _in_each_others_way(paths: set[str]) -> set[str]:
    """``x`` and ``x.part``: one by one, in this order, no half file lies over one that is whole."""
    first = {path for path in paths if f"{path}.part" in paths}
    return first | {f"{path}.part" for path in first}


def mount_point(workspace: Path, mount_path: str) -> Path:
    """Where an input lies: mount paths are rooted at the workspace, whether or not they begin with a slash."""
    parts = [part for part in PurePosixPath(mount_path).parts if part not in ("/", ".")]
    if ".." in parts:
        raise InputRefused(f"the mount path {mount_path} leaves the workspace", code="MOUNT_PATH_INVALID")
    return workspace.joinpath(*parts)


def _download(api: Api, url: str, target: Path, sha256: str, size_bytes: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".part")
    digest = hashlib.sha256()
    received_bytes = 0

    @contextmanager
    def sink(offset: int) -> Iterator[Callable[[bytes], object]]:
        with partial.open("r+b" if offset else "wb") as file:
            file.seek(offset)

            def write(chunk: bytes) -> None:
                nonlocal received_bytes
                file.write(chunk)
                digest.update(chunk)
                received_bytes += len(chunk)

            yield write

    api.download(url, sink)
    if received_bytes != size_bytes or digest.hexdigest() != sha256:
        partial.unlink()
        raise DigestMismatch(
            f"{target.name}: {received_bytes} bytes with digest {digest.hexdigest()} arrived, "
            f"registered are {size_bytes} bytes with digest {sha256}"
        )
    partial.rename(target)
