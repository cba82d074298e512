"""The files of one version in a folder of their own, as `download` and `run` bring them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guildhall_client.client import Client
from guildhall_client.command.printing import file_count, print_json, print_line, size
from guildhall_client.command.references import Found, Reference
from guildhall_client.command.transfers import fetch_all, files_of


@dataclass(frozen=True)
class Brought:
    """Where they lie, which they are, and a sentence about it."""

    folder: Path
    files: list[dict[str, Any]]
    sentence: str


def bring(client: Client, document: str, version_id: str, name: str, number: int, into: Path | None) -> Brought:
    """Download all files of a version of `TEAM/NAME`, by default into NAME-vNUMBER."""
    files = files_of(client, document, version_id)
    folder = into or Path(f"{name.rpartition('/')[2]}-v{number}")
    total_bytes = fetch_all(client, files, folder)
    return Brought(folder, files, f"{name}@{number}: {file_count(len(files))}, {size(total_bytes)} in {folder}.")


def download_version(
    client: Client, document: str, version: Reference, found: Found, into: Path | None, *, as_json: bool
) -> None:
    """What both commands `download` do once they have found the version."""
    brought = bring(client, document, found.version_id, f"{version.team}/{version.name}", found.number, into)
    if as_json:
        told = {"id": found.version_id, "number": found.number, "folder": str(brought.folder), "files": brought.files}
        print_json(told)
    else:
        print_line(brought.sentence)
