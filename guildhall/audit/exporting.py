"""The whole sealed record in a folder, for others to check without us: lines, tiles, entries, the head and all heads.

`events.jsonl` has an event a line in the order of the leaves, each line as it was hashed. What is personal is not in
it. The tiles lie as C2SP tlog-tiles has them, so that programs for any such log read the folder.
"""

import heapq
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from guildhall.audit.archives import read_lines
from guildhall.audit.checkpoints import read_head
from guildhall.audit.mac import line_of
from guildhall.audit.merkle import LEVELS_MAX, TILE_HASHES, tile_path
from guildhall.audit.sealing import NAMES
from guildhall.audit.tables import AuditSeal, AuditTreeHead
from guildhall.audit.tiles import read_entries, read_tile
from guildhall.audit.verifying import leaves
from guildhall.db.transaction import Database
from guildhall.errors import Conflict

NOTHING = (sys.maxsize, b"")
"""After the last archived event."""


class FolderInUse(Conflict):
    """An export goes into a folder of its own."""

    code = "FOLDER_IN_USE"


class NothingSealed(Conflict):
    """There is no head yet."""

    code = "NOTHING_SEALED"


@dataclass(frozen=True)
class Export:
    """What was written: the number of leaves, and how many of their events are nowhere."""

    size: int
    missing: int


async def export_record(
    database: Database, folder: Path, published: Sequence[str], archives: Sequence[Path] = ()
) -> Export:
    """Write everything up to the present head, with what is in these archives. Raises FolderInUse and NothingSealed."""
    if folder.exists() and any(folder.iterdir()):
        raise FolderInUse(f"The folder {folder} is not empty; name a new one.")
    folder.mkdir(parents=True, exist_ok=True)
    async with database.read() as session:
        held = (await session.scalars(select(AuditTreeHead.note))).all()  # before the head, which is never older then
        note = (await session.get_one(AuditSeal, 1)).note
    if note is None:
        raise NothingSealed("Nothing is sealed yet: start `python -m guildhall sealer`.")
    size = read_head(note).size
    missing = await _write_lines(database, folder / "events.jsonl", size, archives)
    await _write_tiles(database, folder, size)
    (folder / "checkpoint").write_text(note, encoding="utf-8")
    _write_heads(folder / "heads", [*held, *published])
    return Export(size, missing)


async def _write_lines(database: Database, path: Path, size: int, archives: Sequence[Path]) -> int:
    missing = 0
    archived = heapq.merge(*map(read_lines, archives))
    number, line = next(archived, NOTHING)
    with path.open("wb") as file:
        async for page in leaves(database, size):
            for row in page:
                while number < row["number"]:
                    number, line = next(archived, NOTHING)
                if row["id"] is not None:
                    file.write(line_of({name: row[name] for name in NAMES}) + b"\n")
                elif number == row["number"]:
                    file.write(line + b"\n")
                else:
                    missing += 1
    return missing


async def _write_tiles(database: Database, folder: Path, size: int) -> None:
    async with database.read() as session:
        for level in range(LEVELS_MAX):
            for number, width in _tiles_of(size >> 8 * level):
                _write(folder / tile_path(level, number, width), await read_tile(session, level, number, width))
        for number, width in _tiles_of(size):
            _write(folder / tile_path("entries", number, width), await read_entries(session, number, width))


def _tiles_of(count: int) -> Iterable[tuple[int, int]]:
    """The numbers and widths of the tiles that hold that many hashes."""
    for number in range(count // TILE_HASHES):
        yield number, TILE_HASHES
    if count % TILE_HASHES:
        yield count // TILE_HASHES, count % TILE_HASHES


def _write_heads(folder: Path, notes: Sequence[str]) -> None:
    """Every head that was published, one of them for each size and text."""
    folder.mkdir()
    for index, note in enumerate(dict.fromkeys(notes)):
        (folder / f"{read_head(note).size:020d}-{index}").write_text(note, encoding="utf-8")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
