"""From a source to graphql-core's resolver of a field: one function per kind of source, made once per schema."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sqlalchemy import FromClause

from guildhall.auth.permissions import PERMISSIONS, permission_named
from guildhall.errors import Forbidden, Invalid
from guildhall.graphql import selection, statements
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.context import Context
from guildhall.graphql.declarations import FieldDeclaration, TypeDeclaration
from guildhall.graphql.ids import encode_id, split_id
from guildhall.graphql.loaders import as_key, group
from guildhall.graphql.record import Record
from guildhall.graphql.resolving import Info
from guildhall.graphql.sources import (
    Batched,
    Calculated,
    Column,
    Embedded,
    Find,
    Given,
    GlobalId,
    JsonValue,
    Many,
    ManyByIds,
    NodeById,
    One,
    Reference,
    References,
    Resolve,
    ViewerCan,
)
from guildhall.graphql.viewing import Viewing

Resolver = Callable[..., Any]
Arguments = Callable[[Mapping[str, Any]], dict[str, Any]]


class FieldRefused(Forbidden):
    """A field that asks for more than seeing the object does."""


class UnknownPermission(Invalid):
    """A permission that no part of the product knows."""

    code = "BAD_USER_INPUT"


class FieldResolvers:
    """Makes the resolvers of one schema's fields; `known` are the permissions that `viewerCan` may be asked about."""

    def __init__(self, catalogue: Catalogue, known: frozenset[str]) -> None:
        self.catalogue = catalogue
        self._known = known
        self._makers: dict[type[Any], Callable[[TypeDeclaration, FieldDeclaration, Any, Arguments], Resolver]] = {
            Column: self._plain,
            Given: self._plain,
            GlobalId: self._global_id,
            ViewerCan: self._viewer_can,
            One: self._one,
            Many: self._many,
            ManyByIds: self._many_by_ids,
            Embedded: self._embedded,
            JsonValue: self._json,
            Reference: self._reference,
            References: self._references,
            Find: self._find,
            Resolve: self._resolve,
            Batched: self._batched,
            Calculated: self._calculated,
            NodeById: self._node_by_id,
        }

    def make(self, declared: TypeDeclaration, field: FieldDeclaration, arguments: Arguments) -> Resolver:
        """The resolver of one field; `arguments` turns coerced GraphQL arguments into Python ones."""
        return self._makers[type(field.source)](declared, field, field.source, arguments)

    def reader(self, declared: TypeDeclaration, field: FieldDeclaration, part: str = "") -> Callable[[Record], Any]:
        """How to take one operand's value from a record."""
        operand = field.source.operands()[part]
        if isinstance(operand, str):
            return lambda record: record.values.get(operand)
        label = self.catalogue.label(declared, field, part)
        return lambda record: record.values[label]

    async def load(self, target: TypeDeclaration, key: object, info: Info) -> Record | None:
        """The visible object of the target's type with that key, with what the document selects of it."""
        if key is None:
            return None
        labels = selection.labels(info.field_nodes, info, target, self.catalogue)
        context = info.context
        return await context.loaders.one(target, key, labels)

    async def load_reference(self, types: Mapping[str, str], kind: str, key: object, info: Info) -> Record | None:
        """The visible node of a stored kind."""
        target = self.catalogue.types.get(types.get(kind, ""))
        return None if target is None else await self.load(target, key, info)

    async def answer(self, target: str | None, value: Any, info: Info) -> Any:  # noqa: ANN401 -- as resolvers give it
        """What a Python function returned, as records: a mapping as it is, a key loaded, "Node" as (type, key)."""
        if target is None or value is None or isinstance(value, Record):
            return value
        if isinstance(value, list | tuple) and not (target == "Node" and isinstance(value, tuple)):
            found = await asyncio.gather(*(self.answer(target, item, info) for item in value))
            return [item for item in found if item is not None]
        if target == "Node":
            return await self.load(self.catalogue.types[value[0]], value[1], info)
        if isinstance(value, Mapping):
            return Record(target, value)
        return await self.load(self.catalogue.types[target], value, info)

    def _plain(
        self, declared: TypeDeclaration, field: FieldDeclaration, _source: Column, _arguments: Arguments
    ) -> Resolver:
        operand = field.source.operands()[""]
        if isinstance(operand, str):
            return lambda record, _info: record.values.get(operand)
        label = self.catalogue.label(declared, field, "")
        return lambda record, _info: record.values[label]

    def _global_id(
        self, declared: TypeDeclaration, field: FieldDeclaration, _source: GlobalId, _arguments: Arguments
    ) -> Resolver:
        read, name = self.reader(declared, field), declared.name
        return lambda record, _info: encode_id(name, read(record))

    def _viewer_can(
        self, declared: TypeDeclaration, field: FieldDeclaration, source: ViewerCan, _arguments: Arguments
    ) -> Resolver:
        read = None if source.team is None else self.reader(declared, field, "team")

        def resolve(record: Record, info: Info, permission: str) -> bool:
            if permission not in self._known:
                raise UnknownPermission(f"There is no permission {permission[:80]!r}.", field="permission")
            actor = info.context.actor
            if permission_named(permission).in_own_team:
                return actor.teams_where(permission) != frozenset()
            return actor.may(permission, None if read is None else read(record))

        return resolve

    def _one(self, declared: TypeDeclaration, field: FieldDeclaration, source: One, _arguments: Arguments) -> Resolver:
        read, target = self.reader(declared, field, "local"), self.catalogue.types[source.target]

        async def resolve(record: Record, info: Info) -> Record | None:
            key = read(record)
            if key is None:
                return None
            labels = selection.labels(info.field_nodes, info, target, self.catalogue)
            context = info.context
            found: Record | None = await context.loaders.one(target, key, labels, source.remote)
            if found is None and not source.nullable and target.visible is None:
                _require_kind(target, context)
            return found

        return resolve

    def _many(
        self, declared: TypeDeclaration, field: FieldDeclaration, source: Many, _arguments: Arguments
    ) -> Resolver:
        target = self.catalogue.types[source.target]
        assert target.table is not None, f"{source.target} has no table to list"
        base = statements.joined(target.table, source.through)
        read = None if source.local is None else self.reader(declared, field, "local")

        async def resolve(record: Record, info: Info) -> list[Record]:
            context = info.context
            labels = sorted(selection.labels(info.field_nodes, info, target, self.catalogue))

            async def load(keys: list[Any]) -> list[list[Record]]:
                where = [*statements.where_clauses(source.where, context), *statements.visible_clauses(target, context)]
                orders = [statements.read_order(order) for order in source.order_by]
                listing = statements.Listing(base, source.remote, where, orders)
                columns = [self.catalogue.expression(label, context) for label in labels]
                parents = None if read is None else keys
                rows = group(await context.loaders.fetch(statements.rows_of(listing, columns, parents, source.maximum)))
                found = {
                    key: [context.loaders.made(target, labels, row) for row in of_key] for key, of_key in rows.items()
                }
                return [found.get(key, []) for key in keys]

            key = None if read is None else read(record)
            if read is not None and key is None:
                return []
            if source.remote is not None:
                key = as_key(key, source.remote)
            where = ("many", declared.name, field.graphql_name, tuple(labels))
            found: list[Record] = await context.loaders.batch(where, key, load)
            return found

        return resolve

    def _many_by_ids(
        self, declared: TypeDeclaration, field: FieldDeclaration, source: ManyByIds, _arguments: Arguments
    ) -> Resolver:
        read, target = self.reader(declared, field, "ids"), self.catalogue.types[source.target]

        async def resolve(record: Record, info: Info) -> list[Record]:
            keys = list(read(record) or ())[: source.maximum]
            found = await asyncio.gather(*(self.load(target, key, info) for key in keys))
            return [item for item in found if item is not None]

        return resolve

    def _embedded(
        self, declared: TypeDeclaration, field: FieldDeclaration, source: Embedded, _arguments: Arguments
    ) -> Resolver:
        when = None if source.when is None else self.reader(declared, field, "when")
        name = source.target

        def resolve(record: Record, _info: Info) -> Record | None:
            return Record(name, record.values) if when is None or when(record) else None

        return resolve

    def _json(
        self, declared: TypeDeclaration, field: FieldDeclaration, source: JsonValue, _arguments: Arguments
    ) -> Resolver:
        read, name = self.reader(declared, field), source.target

        def resolve(record: Record, _info: Info) -> Record | list[Record] | None:
            value = read(record)
            if source.many:
                return [Record(name, item) for item in value or ()]
            return None if value is None else Record(name, value)

        return resolve

    def _reference(
        self, declared: TypeDeclaration, field: FieldDeclaration, source: Reference, _arguments: Arguments
    ) -> Resolver:
        kind, key = self.reader(declared, field, "kind"), self.reader(declared, field, "key")

        async def resolve(record: Record, info: Info) -> Record | None:
            return await self.load_reference(source.types, kind(record), key(record), info)

        return resolve

    def _references(
        self, declared: TypeDeclaration, field: FieldDeclaration, source: References, _arguments: Arguments
    ) -> Resolver:
        async def load_all(pairs: list[tuple[str, Any]], info: Info) -> list[Record]:
            kept = pairs[: source.maximum]
            found = await asyncio.gather(*(self.load_reference(source.types, kind, key, info) for kind, key in kept))
            return [item for item in found if item is not None]

        if source.local is None:
            kinds, keys = self.reader(declared, field, "kind"), self.reader(declared, field, "key")

            async def resolve_arrays(record: Record, info: Info) -> list[Record]:
                return await load_all(list(zip(kinds(record) or (), keys(record) or (), strict=True)), info)

            return resolve_arrays
        read = self.reader(declared, field, "local")
        assert source.remote is not None, "references of a table say which column holds our key"
        assert source.table is not None, "references of a table name it"
        table = statements.joined(
            source.table if isinstance(source.table, FromClause) else source.table.__table__, None
        )
        listing = statements.Listing(
            table, source.remote, (), [statements.read_order(order) for order in source.order_by]
        )
        columns: list[Any] = [source.kind, source.key]

        async def resolve_rows(record: Record, info: Info) -> list[Record]:
            context = info.context

            async def load(parents: list[Any]) -> list[list[tuple[str, Any]]]:
                rows = group(await context.loaders.fetch(statements.rows_of(listing, columns, parents, source.maximum)))
                return [[(row[0], row[1]) for row in rows.get(parent, ())] for parent in parents]

            where = ("references", declared.name, field.graphql_name)
            return await load_all(await context.loaders.batch(where, read(record), load), info)

        return resolve_rows

    def _find(
        self, _declared: TypeDeclaration, _field: FieldDeclaration, source: Find, arguments: Arguments
    ) -> Resolver:
        target = self.catalogue.types[source.target]

        async def resolve(_record: object, info: Info, **given: Any) -> Record | None:  # noqa: ANN401 -- arguments
            context = info.context
            clauses = source.clauses(**arguments(given))
            labels = selection.labels(info.field_nodes, info, target, self.catalogue)
            found = await context.loaders.records(
                target, labels, lambda columns: statements.by_clauses(target, columns, clauses, context)
            )
            assert len(found) <= 1, f"the clauses of {target.name} found more than one object"
            return found[0] if found else None

        return resolve

    def _resolve(
        self, declared: TypeDeclaration, field: FieldDeclaration, source: Resolve, arguments: Arguments
    ) -> Resolver:
        readers = {part: self.reader(declared, field, part) for part in source.needs}

        async def resolve(record: Record | None, info: Info, **given: Any) -> Any:  # noqa: ANN401 -- as declared
            values = {} if record is None else {part: read(record) for part, read in readers.items()}
            value = source.function(info.context, values, **arguments(given))
            if isinstance(value, Awaitable):
                value = await value
            return await self.answer(source.target, [] if value is None and source.many else value, info)

        return resolve

    def _batched(
        self, declared: TypeDeclaration, field: FieldDeclaration, source: Batched, arguments: Arguments
    ) -> Resolver:
        read = self.reader(declared, field, "key")

        async def resolve(record: Record, info: Info, **given: Any) -> Any:  # noqa: ANN401 -- as declared
            context = info.context
            key = read(record)

            async def load(keys: list[Any]) -> list[Any]:
                found = await source.function(context, keys, **arguments(given))
                return [found.get(wanted) for wanted in keys]

            where = ("batched", declared.name, field.graphql_name, repr(sorted(given.items())))
            value = None if key is None else await context.loaders.batch(where, key, load)
            return await self.answer(source.target, [] if value is None and source.many else value, info)

        return resolve

    def _calculated(
        self, declared: TypeDeclaration, field: FieldDeclaration, source: Calculated, arguments: Arguments
    ) -> Resolver:
        read = self.reader(declared, field, "key")

        async def resolve(record: Record, info: Info, **given: Any) -> Any:  # noqa: ANN401 -- as declared
            context = info.context

            async def load(keys: list[Any]) -> list[Any]:
                made = source.function(Viewing(context, self.catalogue.types), **arguments(given))
                statement = statements.by_key(declared, source.key, [made], keys, context)
                found = dict(tuple(row) for row in await context.loaders.fetch(statement))
                return [found.get(wanted) for wanted in keys]

            where = ("calculated", declared.name, field.graphql_name, repr(sorted(given.items())))
            value = await context.loaders.batch(where, read(record), load)
            return await self.answer(source.target, [] if value is None and source.many else value, info)

        return resolve

    def _node_by_id(
        self, _declared: TypeDeclaration, _field: FieldDeclaration, _source: NodeById, _arguments: Arguments
    ) -> Resolver:
        async def resolve(_record: object, info: Info, id: str) -> Record | None:  # noqa: A002 -- GraphQL's name
            found = split_id(id)
            target = None if found is None else self.catalogue.types.get(found[0])
            if found is None or target is None or not target.is_node:
                return None
            return await self.load(target, found[1], info)

        return resolve


def _require_kind(target: TypeDeclaration, context: Context) -> None:
    """Say which permission is lacking where objects of a whole kind are not there; all else is a fault of ours."""
    permission = target.permission
    if permission is not None and permission in PERMISSIONS and not context.actor.may_somewhere(permission):
        raise FieldRefused(f"This needs the permission {permission}; an administrator can grant it.")


def guard(catalogue: Catalogue, declared: TypeDeclaration, field: FieldDeclaration, resolve: Resolver) -> Resolver:
    """Ask for the field's own permission before it is resolved; the type's is part of the row's visibility.

    Below Query and Subscription there is no row yet: who holds the permission nowhere is refused; rows are filtered.
    """
    permission = field.permission
    if permission is None or not catalogue.is_guarded(declared, field):
        return resolve
    operand = declared.team
    label = None if operand is None else operand if isinstance(operand, str) else catalogue.team_label(declared)
    at_root = declared.name in {"Query", "Subscription"}

    def resolve_guarded(record: Record, info: Info, **given: Any) -> Any:  # noqa: ANN401 -- as declared
        context = info.context
        if at_root:
            allowed = context.actor.may_somewhere(permission)
        else:
            allowed = context.actor.may(permission, None if label is None else record.values.get(label))
        if not allowed:
            raise FieldRefused(f"This needs the permission {permission}; an administrator can grant it.")
        return resolve(record, info, **given)

    return resolve_guarded
