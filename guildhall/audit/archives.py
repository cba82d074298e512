"""A month of the record as one file that proves itself: its events, and what leads from them to a signed head.

The file is a ZIP. `archive.json` says which month and which leaves; `events.jsonl` has an event a line, as it was
hashed, in the order of the leaves; `checkpoint` is the signed head. Of the tree it has the tiles of level 0 that hold
those leaves, all of level 1 and the right edge, under the names of C2SP tlog-tiles: the root follows from these alone.
"""

import hashlib
import json
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from sqlalchemy import RowMapping

from guildhall.audit.checkpoints import Head, NotACheckpoint, Verifier, open_head, read_head
from guildhall.audit.mac import AuditKeys, line_of
from guildhall.audit.merkle import TILE_HASHES, TileReader, hashes_of, leaf_hash, root_of, tile_path
from guildhall.audit.offline import NoExport, parsed_line
from guildhall.audit.sealing import NAMES
from guildhall.audit.verifying import Verification, check_code
from guildhall.errors import Invalid

FORMAT = "guildhall audit archive 1"


class NoArchive(Invalid):
    """A file that is not what `archive-audit` writes."""

    code = "NO_ARCHIVE"


@dataclass(frozen=True)
class Month:
    """The month of an archive: its name like 2026-03, and the moments that it lies between."""

    name: str
    begins_at: datetime
    ends_at: datetime

    @property
    def file_name(self) -> str:
        """What its archive is called, wherever it is kept."""
        return f"audit-{self.name}.zip"


async def write_archive(
    path: Path, month: Month, note: str, pages: AsyncIterator[Sequence[RowMapping]], read: TileReader
) -> int:
    """Write the month's events, which come in the order of their leaves; returns how many there were."""
    head = read_head(note)
    ranges: list[list[int]] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("events.jsonl", "w", force_zip64=True) as file:
            async for page in pages:
                for row in page:
                    _extend(ranges, row["number"])
                    file.write(line_of({name: row[name] for name in NAMES}) + b"\n")
        events = sum(last - first + 1 for first, last in ranges)
        about = {
            "format": FORMAT,
            "name": month.name,
            "begins_at": month.begins_at.isoformat(),
            "ends_at": month.ends_at.isoformat(),
            "events": events,
            "leaves": ranges,
        }
        archive.writestr("archive.json", json.dumps(about, sort_keys=True))
        archive.writestr("checkpoint", note)
        for level, number, width in _tiles_needed(head.size, ranges):
            archive.writestr(tile_path(level, number, width), (await read(level, number))[: width * 32])
    return events


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The number of each leaf with its event's line. Raises NoArchive."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("events.jsonl") as file:
            ranges = json.loads(archive.read("archive.json"))["leaves"]
            numbers = (number for first, last in ranges for number in range(first, last + 1))
            for number, line in zip(numbers, file, strict=True):
                yield number, line.removesuffix(b"\n")
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise NoArchive(f"{path.name} is no archive of the audit record: {error}.") from error


def verify_archive(path: Path, month: Month, keys: AuditKeys | None, verifiers: Sequence[Verifier]) -> Verification:
    """Check every event of the file against its code and the tree, and the tree against the signed head.

    Raises NoArchive for a file that is none, or one of another month.
    """
    found = Verification()
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("archive.json"))
            if (about["format"], about["name"]) != (FORMAT, month.name):
                raise NoArchive(f"{path.name} is not the archive of {month.name}.")
            if any(last >= first for (_, last), (first, _) in pairwise(about["leaves"])):
                found.find(f"The leaves of {path.name} are not in order.")
            try:
                head = open_head(archive.read("checkpoint").decode(), verifiers)
            except NotACheckpoint as error:
                found.find(f"{path.name}: {error.message}")
                return found
            tree = _Tree(archive, head)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError, AssertionError) as error:
        raise NoArchive(f"{path.name} is no archive of the audit record: {error}.") from error
    if tree.root != head.root:
        found.find(f"The tiles of {path.name} do not lead to its signed head.")
    with zipfile.ZipFile(path) as archive:
        for number, line in read_lines(path):
            found.sealed += 1
            _check_line(found, month, number, line, tree.leaf(archive, number), keys)
    if found.sealed != about["events"]:
        found.find(f"{path.name} holds {found.sealed} events and says {about['events']}.")
    found.heads = 1
    return found


def _check_line(
    found: Verification, month: Month, number: int, line: bytes, leaf: bytes | None, keys: AuditKeys | None
) -> None:
    if leaf_hash(hashlib.sha256(line).digest()) != leaf:
        found.find(f"Leaf {number} of the archive {month.name} is not the one that was sealed.")
        return
    try:
        event = parsed_line(line)
        act_at = datetime.fromisoformat(event["act_at"])
    except (NoExport, KeyError, ValueError) as error:
        raise NoArchive(f"Leaf {number} of the archive {month.name} is no event.") from error
    if not month.begins_at <= act_at < month.ends_at:
        found.find(f"Event {event['id']} of the archive {month.name} is of another month.")
    if keys is not None:
        check_code(found, keys, event)


class _Tree:
    """What the file has of the tree: all of level 1, the right edge, and the tiles of its leaves, checked by these."""

    def __init__(self, archive: zipfile.ZipFile, head: Head) -> None:
        self._size = head.size
        roots = [archive.read(tile_path(1, number, width)) for number, width in _tiles_of(head.size >> 8)]
        self._roots = hashes_of(b"".join(roots))
        if head.size % TILE_HASHES:
            self._roots.append(root_of(hashes_of(archive.read(self._path(head.size >> 8)))))
        self.root = root_of(self._roots)
        self._held: tuple[int, list[bytes]] = (-1, [])

    def leaf(self, archive: zipfile.ZipFile, number: int) -> bytes | None:
        """The hash of the leaf; None where its tile is missing, or does not lead to the root."""
        tile = number // TILE_HASHES
        if self._held[0] != tile:
            self._held = tile, self._proven(archive, tile)
        hashes = self._held[1]
        place = number % TILE_HASHES
        return hashes[place] if place < len(hashes) else None

    def _proven(self, archive: zipfile.ZipFile, tile: int) -> list[bytes]:
        try:
            hashes = hashes_of(archive.read(self._path(tile)))
        except KeyError:
            return []
        return hashes if tile < len(self._roots) and root_of(hashes) == self._roots[tile] else []

    def _path(self, tile: int) -> str:
        return tile_path(0, tile, min(TILE_HASHES, self._size - tile * TILE_HASHES))


def _tiles_needed(size: int, ranges: Sequence[Sequence[int]]) -> Iterator[tuple[int, int, int]]:
    """Level, number and width of each tile that goes into the file."""
    edge = size // TILE_HASHES
    held = {number for first, last in ranges for number in range(first // TILE_HASHES, last // TILE_HASHES + 1)}
    for number in sorted(held | ({edge} if size % TILE_HASHES else set())):
        yield 0, number, min(TILE_HASHES, size - number * TILE_HASHES)
    for number, width in _tiles_of(edge):
        yield 1, number, width


def _tiles_of(count: int) -> Iterator[tuple[int, int]]:
    """The numbers and widths of the tiles that hold that many hashes."""
    for first in range(0, count, TILE_HASHES):
        yield first // TILE_HASHES, min(TILE_HASHES, count - first)


def _extend(ranges: list[list[int]], number: int) -> None:
    if ranges and ranges[-1][1] == number - 1:
        ranges[-1][1] = number
    else:
        ranges.append([number, number])
