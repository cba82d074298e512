"""The second store: signed heads in a folder or a bucket that the database's role cannot write, one object each.

Objects are only ever added. Whoever changes the record, or puts an old copy of the database back together with its own
heads, cannot take back what is here.
"""

from collections.abc import Sequence
from typing import Self

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore

from guildhall.audit.checkpoints import read_head
from guildhall.errors import Conflict, Unavailable
from guildhall.object_stores import open_store, reason_of

_FOLDER = "heads"


class HeadStoreUnavailable(Unavailable):
    """The store of heads refused or could not be reached; the head is published again later."""

    code = "HEAD_STORE_UNAVAILABLE"


class HeadsDisagree(Conflict):
    """A head was published before that says otherwise: the record was changed, cut or put back."""

    code = "HEADS_DISAGREE"


class HeadStore:
    """The published heads of one log, by size."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str) -> Self:
        """The store at an address, as `guildhall.object_stores` takes them."""
        return cls(open_store(url))

    async def publish(self, note: str) -> None:
        """Add a head. Raises HeadsDisagree where another root of that size was published, HeadStoreUnavailable."""
        head = read_head(note)
        try:
            await obstore.put_async(self._store, _key(head.size), note.encode(), mode="create")
        except AlreadyExistsError:
            held = read_head(await self._read(_key(head.size)))
            if held.root != head.root:
                raise HeadsDisagree(
                    f"A head of {head.size} leaves was published before, with another root: the record was changed."
                ) from None
        except (BaseError, OSError) as error:
            raise HeadStoreUnavailable(f"The head cannot be published: {reason_of(error)}.") from error

    async def notes(self, *, above: int = -1) -> Sequence[str]:
        """The heads of more than that many leaves, the smallest first. Raises HeadStoreUnavailable."""
        try:
            listed = obstore.list(self._store, prefix=f"{_FOLDER}/", offset=_key(above) if above >= 0 else None)
            keys = sorted([entry["path"] async for batch in listed for entry in batch])
        except (BaseError, OSError) as error:
            raise HeadStoreUnavailable(f"The published heads cannot be listed: {reason_of(error)}.") from error
        return [await self._read(key) for key in keys if key > _key(max(above, 0)) or above < 0]

    async def _read(self, key: str) -> str:
        try:
            got = await obstore.get_async(self._store, key)
            return bytes(await got.bytes_async()).decode()
        except (BaseError, OSError) as error:
            raise HeadStoreUnavailable(f"A published head cannot be read: {reason_of(error)}.") from error


def _key(size: int) -> str:
    return f"{_FOLDER}/{size:020d}"
