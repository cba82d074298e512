"""Reading the stored tree: tiles and bundles of entries as C2SP tlog-tiles has them, and the signed head."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.merkle import HASH_BYTES, TILE_HASHES, TileReader
from guildhall.audit.tables import AuditLeaf, AuditSeal, AuditTile, AuditTreeHead
from guildhall.errors import NotFound

ENTRY_BYTES = 32
_LENGTH = ENTRY_BYTES.to_bytes(2, "big")


class NoSuchTile(NotFound):
    """The tree has not grown that far, or there is no such level."""

    code = "NO_SUCH_TILE"


async def read_checkpoint(session: AsyncSession) -> str:
    """The newest signed head, with the witness's signature where it has one already. Raises NoSuchTile."""
    statement = (
        select(func.coalesce(AuditTreeHead.note, AuditSeal.note))
        .select_from(AuditSeal)
        .outerjoin(AuditTreeHead, AuditTreeHead.size == AuditSeal.size)
    )
    note = (await session.scalars(statement)).one()
    if note is None:
        raise NoSuchTile("Nothing is sealed yet.")
    return str(note)


async def read_tile(session: AsyncSession, level: int, number: int, width: int) -> bytes:
    """The first `width` hashes of a tile. Raises NoSuchTile where there are fewer."""
    statement = select(AuditTile.hashes).where(AuditTile.level == level, AuditTile.number == number)
    hashes = (await session.scalars(statement)).one_or_none() or b""
    return _cut(hashes, width, HASH_BYTES)


async def read_entries(session: AsyncSession, number: int, width: int) -> bytes:
    """The first `width` entries of a bundle of 256, each with its length before it. Raises NoSuchTile."""
    first = number * TILE_HASHES
    statement = select(AuditLeaf.entry).where(AuditLeaf.number.between(first, first + width - 1))
    entries = (await session.scalars(statement.order_by(AuditLeaf.number))).all()
    return _cut(b"".join(_LENGTH + entry for entry in entries), width, len(_LENGTH) + ENTRY_BYTES)


def tile_reader(session: AsyncSession) -> TileReader:
    """What proofs are made from; a tile is asked for once."""
    held: dict[tuple[int, int], bytes] = {}

    async def read(level: int, number: int) -> bytes:
        if (level, number) not in held:
            held[level, number] = await read_tile(session, level, number, 0)
        return held[level, number]

    return read


def _cut(content: bytes, width: int, item_bytes: int) -> bytes:
    if len(content) < max(width, 1) * item_bytes:
        raise NoSuchTile("The tree has no such tile, or it is not that wide yet.")
    return content[: width * item_bytes] if width else content
