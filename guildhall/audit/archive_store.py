"""Where archives of the audit record are kept: a folder or a bucket, one file a month, added and never replaced."""

import asyncio
from pathlib import Path
from typing import Self

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from guildhall.errors import Unavailable
from guildhall.object_stores import open_store, reason_of


class ArchiveStoreUnavailable(Unavailable):
    """The store of archives refused or could not be reached; nothing has left the database."""

    code = "ARCHIVE_STORE_UNAVAILABLE"


class ArchiveStore:
    """The archives of one record, by file name."""

    def __init__(self, store: ObjectStore, where: str) -> None:
        self._store = store
        self.where = where

    @classmethod
    def open(cls, where: str) -> Self:
        """The store at a folder (made if missing), or at s3://bucket/prefix, gs://… or az://…."""
        try:
            return cls(open_store(where if "://" in where else Path(where).absolute().as_uri()), where)
        except (BaseError, OSError, ValueError) as error:
            raise ArchiveStoreUnavailable(f"{where} is no store of archives: {reason_of(error)}.") from error

    async def add(self, path: Path, name: str) -> None:
        """Add a file; one that is there already stays as it is. Raises ArchiveStoreUnavailable."""
        try:
            try:
                await obstore.head_async(self._store, name)
            except FileNotFoundError:
                await obstore.put_async(self._store, name, path)
        except (BaseError, OSError) as error:
            raise ArchiveStoreUnavailable(f"{name} cannot be written to {self.where}: {reason_of(error)}.") from error

    async def fetch(self, name: str, path: Path) -> bool:
        """Copy a file to the path; False where there is none. Raises ArchiveStoreUnavailable."""
        try:
            return await asyncio.to_thread(self._copy, name, path)
        except (BaseError, OSError) as error:
            raise ArchiveStoreUnavailable(f"{name} cannot be read from {self.where}: {reason_of(error)}.") from error

    def _copy(self, name: str, path: Path) -> bool:
        try:
            got = obstore.get(self._store, name)
        except FileNotFoundError:
            return False
        with path.open("wb") as file:
            for chunk in got.stream():
                file.write(chunk)
        return True
