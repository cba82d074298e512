"""The loaders of one request: each collects the keys of a level and runs one statement in a short read of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Uuid
from strawberry.dataloader import DataLoader

from guildhall.graphql import statements
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.context import Context
from guildhall.graphql.declarations import TypeDeclaration
from guildhall.graphql.record import Record
from guildhall.graphql.recording import Reads
from guildhall.graphql.sources import Expression

BATCH_KEYS_MAX = 5_000
"""The most keys of one statement; a level with more takes several."""


class Loaders:
    """Made anew for each request, so that nothing outlives what its caller may see; `forget` after a commit."""

    def __init__(self, context: Context, catalogue: Catalogue) -> None:
        self.context = context
        self.catalogue = catalogue
        self.reads = Reads()
        self._loaders: dict[Hashable, DataLoader[Any, Any]] = {}

    def forget(self) -> None:
        """Drop everything loaded: what follows reads what was committed."""
        self._loaders.clear()

    async def one(
        self, target: TypeDeclaration, key: object, labels: frozenset[str], remote: Expression | None = None
    ) -> Record | None:
        """The visible object whose `remote` (its key, if None) is the key."""
        column = remote if remote is not None else target.key
        assert column is not None, f"{target.name} has no key to be found by"

        async def load(keys: list[Any]) -> list[Record | None]:
            ordered = sorted(labels)
            columns = [self.catalogue.expression(label, self.context) for label in ordered]
            statement = statements.by_key(target, column, columns, keys, self.context)
            found: dict[Any, Record] = {}
            for row in await self.fetch(statement):
                assert row[0] not in found, f"{target.name} is loaded as one, but {column} is not unique"
                found[row[0]] = self.made(target, ordered, row[1:])
            return [found.get(wanted) for wanted in keys]

        where = ("one", target.name, str(column), labels)
        record: Record | None = await self.batch(where, as_key(key, column), load)
        return record

    async def batch(self, where: Hashable, key: object, load: Callable[[list[Any]], Awaitable[Sequence[Any]]]) -> Any:  # noqa: ANN401 -- what `load` gives
        """Collect this key with those of its siblings; `where` must differ for what `load` would answer differently."""
        if where not in self._loaders:
            self._loaders[where] = DataLoader(load_fn=load, max_batch_size=BATCH_KEYS_MAX)
        # Where one field fails, graphql-core cancels its siblings; who waits for the same object must not go with them.
        return await asyncio.shield(self._loaders[where].load(key))

    async def fetch(self, statement: Select[Any]) -> Sequence[Sequence[Any]]:
        """Run one statement in a read of its own: sibling fields run at once, and a session serves one task."""
        async with self.context.database.read() as session:
            rows: Sequence[Sequence[Any]] = (await session.execute(statement)).all()
            return rows

    async def records(
        self, target: TypeDeclaration, labels: frozenset[str], statement: Callable[[list[Any]], Select[Any]]
    ) -> list[Record]:
        """Objects from a statement over the labels' expressions."""
        ordered = sorted(labels)
        columns = [self.catalogue.expression(label, self.context) for label in ordered]
        rows = await self.fetch(statement(columns))
        return [self.made(target, ordered, row) for row in rows]

    def made(self, target: TypeDeclaration, labels: Sequence[str], row: Sequence[Any]) -> Record:
        """The object of a row that begins with the labels' values; that it was read is noted where that is recorded."""
        values = dict(zip(labels, row, strict=False))
        if target.recorded is not None and target.permission is not None:
            keys = values.get(self.catalogue.recorded_label(target))
            self.reads.note(target.permission, target.recorded, keys)
        return Record(target.name, values)


def as_key(key: object, column: Expression) -> object:
    """Keys that come from JSON or a mutation's stored answer are texts; the column's may be UUIDs."""
    return UUID(key) if isinstance(key, str) and isinstance(column.type, Uuid) else key


def group(rows: Sequence[Sequence[Any]]) -> Mapping[Any, list[Sequence[Any]]]:
    """Rows by their first value, each without it."""
    grouped: dict[Any, list[Sequence[Any]]] = {}
    for row in rows:
        grouped.setdefault(row[0], []).append(row[1:])
    return grouped
