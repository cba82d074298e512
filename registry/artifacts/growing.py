"""Files that come part by part, in order, grow in one file of the store and are digested on the way.

So completing one gives it a second name: nothing is read or written again. Only a folder lets a file grow, and only the
process that began it goes on with it, because no other holds its digest. What comes out of order, or through another
process, lies under a key of its own, and is joined at completion.
"""

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from registry.artifacts.tables import ArtifactPart
from registry.storage import ArtifactStore

GROWTHS_MAX = 1_024
"""How many files one process goes on with. Of those beyond, the one that waited longest is joined at completion."""


@dataclass
class Growth:
    """One file that grows: its key, its last part, its bytes up to there and their digest.

    Bytes that a row names are never written again; what comes next goes behind them.
    """

    key: str
    number: int = 0
    size_bytes: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)


class Growths:
    """Those of one process and its store."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._waiting: OrderedDict[UUID, Growth] = OrderedDict()

    def take(self, artifact_id: UUID, before: ArtifactPart | None, *, number: int, new_key: str) -> Growth | None:
        """What the part can be appended to, if there is something; nobody else gets it until it is kept again.

        `before` is the row of the part before this one: somebody may have sent that anew.
        """
        if not self._store.is_folder:
            return None
        if number == 1:
            return Growth(new_key)
        growth = self._waiting.get(artifact_id)
        if growth is None or growth.number != number - 1 or before is None:
            return None
        ends_there = (before.storage_key, before.storage_offset + before.size_bytes) == (growth.key, growth.size_bytes)
        return self._waiting.pop(artifact_id) if ends_there else None

    async def append(self, artifact_id: UUID, growth: Growth, chunks: AsyncIterator[bytes], *, number: int) -> Growth:
        """The growth with the part in it. Where the chunks raise, it is as before, and waits for the part again."""
        digest = growth.digest.copy()
        try:
            written = await self._store.append(growth.key, chunks, offset=growth.size_bytes, digest=digest)
        except Exception:
            if growth.number:
                self.keep(artifact_id, growth)
            raise
        return Growth(growth.key, number, growth.size_bytes + written, digest)

    def keep(self, artifact_id: UUID, growth: Growth) -> None:
        """Wait for its next part. Never after its row may or may not have been written: both would be written over."""
        self._waiting[artifact_id] = growth
        self._waiting.move_to_end(artifact_id)
        if len(self._waiting) > GROWTHS_MAX:
            self._waiting.popitem(last=False)


def grown(parts: Sequence[ArtifactPart]) -> ArtifactPart | None:
    """The last of the parts, if all of them lie in one file one after the other, so that its digest is of the file."""
    offset = 0
    for part in parts:
        if part.storage_key is None or part.storage_key != parts[0].storage_key or part.storage_offset != offset:
            return None
        offset += part.size_bytes
    return parts[-1] if parts and parts[-1].sha256_so_far is not None else None
