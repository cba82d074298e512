"""The tree of RFC 6962 (hashes, roots, proofs), kept as the tiles of C2SP tlog-tiles: 256 hashes of one level each.

A tile of level 0 holds leaf hashes, one of level 1 the roots of 256 full tiles of level 0, and so on. Only the last
tile of a level is not full; it grows at its end, so that what was ever in a tile stays where it was.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

HASH_BYTES = 32
TILE_HASHES = 256
LEVELS_MAX = 8
"""Tiles of this many levels hold 2^64 leaves."""

EMPTY_ROOT = hashlib.sha256(b"").digest()

TileReader = Callable[[int, int], Awaitable[bytes]]
"""Gives the hashes of the tile with that level and number, one after the other."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf with that entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over subtrees that are whole and of one size; only the last may be smaller."""
    if len(hashes) == 1:
        return hashes[0]
    middle = _split(len(hashes))
    return node_hash(root_of(hashes[:middle]), root_of(hashes[middle:]))


class Edge:
    """The right edge of a tree: what is needed to add leaves and to tell the root, a few hundred hashes."""

    def __init__(self, size: int = 0, last_tiles: Mapping[int, bytes] | None = None) -> None:
        self.size = size
        held = last_tiles or {}
        self._levels = [hashes_of(held.get(level, b"")) for level in range(LEVELS_MAX)]
        counts = [(size >> 8 * level) % TILE_HASHES for level in range(LEVELS_MAX)]
        assert [len(level) for level in self._levels] == counts, "these are not the last tiles of a tree of that size"

    def append(self, leaf: bytes) -> dict[tuple[int, int], bytes]:
        """Add the hash of a leaf; returns the tiles that are full now, by level and number."""
        full: dict[tuple[int, int], bytes] = {}
        self._levels[0].append(leaf)
        self.size += 1
        level = 0
        while len(hashes := self._levels[level]) == TILE_HASHES:
            number = (self.size >> 8 * (level + 1)) - 1
            full[level, number] = b"".join(hashes)
            self._levels[level + 1].append(root_of(hashes))
            hashes.clear()
            level += 1
        return full

    def growing(self) -> dict[tuple[int, int], bytes]:
        """The tiles that are not full, by level and number."""
        return {
            (level, self.size >> 8 * (level + 1)): b"".join(hashes)
            for level, hashes in enumerate(self._levels)
            if hashes
        }

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        right: bytes | None = None
        for hashes in self._levels:
            whole = hashes if right is None else [*hashes, right]
            right = root_of(whole) if whole else None
        return EMPTY_ROOT if right is None else right


def hashes_of(tile: bytes) -> list[bytes]:
    """The single hashes of a tile."""
    return [tile[start : start + HASH_BYTES] for start in range(0, len(tile), HASH_BYTES)]


async def root_at(size: int, read: TileReader) -> bytes:
    """The root that the tree had when it was that large."""
    return await _range_hash(0, size, read) if size else EMPTY_ROOT


async def inclusion_proof(number: int, size: int, read: TileReader) -> list[bytes]:
    """The hashes that lead from that leaf to the root of that size (RFC 6962, 2.1.1)."""
    assert 0 <= number < size, "the leaf is in the tree"
    start, end, proof = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if number < middle:
            proof.append(await _range_hash(middle, end, read))
            end = middle
        else:
            proof.append(await _range_hash(start, middle, read))
            start = middle
    return proof[::-1]


async def consistency_proof(earlier: int, size: int, read: TileReader) -> list[bytes]:
    """The hashes that show that the tree of the earlier size is the beginning of this one (RFC 6962, 2.1.2)."""
    assert 0 <= earlier <= size, "a tree never shrinks"
    if earlier in {0, size}:
        return []
    start, end, proof, whole = 0, size, [], True
    while end != earlier:
        middle = start + _split(end - start)
        if earlier <= middle:
            proof.append(await _range_hash(middle, end, read))
            end = middle
        else:
            proof.append(await _range_hash(start, middle, read))
            start, whole = middle, False
    return ([] if whole else [await _range_hash(start, end, read)]) + proof[::-1]


def tile_path(level: int | str, number: int, width: int = TILE_HASHES) -> str:
    """Where C2SP tlog-tiles has that tile: `tile/0/x001/234`, with `.p/17` while it has only 17 hashes."""
    text = f"{number % 1000:03d}"
    while number := number // 1000:
        text = f"x{number % 1000:03d}/{text}"
    return f"tile/{level}/{text}" + ("" if width == TILE_HASHES else f".p/{width}")


async def _range_hash(start: int, end: int, read: TileReader) -> bytes:
    """The root over the leaves from `start` to before `end`, which the splits of RFC 6962 lead to."""
    count = end - start
    if count & (count - 1) or start % count:
        middle = start + _split(count)
        return node_hash(await _range_hash(start, middle, read), await _range_hash(middle, end, read))
    level = (count.bit_length() - 1) // 8
    first = start >> 8 * level
    hashes = hashes_of(await read(level, first // TILE_HASHES))
    begins = first % TILE_HASHES
    wanted = hashes[begins : begins + (count >> 8 * level)]
    return root_of(wanted)


def _split(count: int) -> int:
    """The largest power of two below the count."""
    return 1 << (count - 1).bit_length() - 1
