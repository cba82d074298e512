"""Connections: pages by keyset for many parents in one statement, totals only where they are selected."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import FieldNode
from sqlalchemy import ColumnElement, FromClause, Table, UniqueConstraint, select

from guildhall.auth.actor import Actor
from guildhall.errors import Invalid, LimitExceeded
from guildhall.graphql import selection, statements
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.cursors import InvalidCursor
from guildhall.graphql.declarations import FieldDeclaration, TypeDeclaration
from guildhall.graphql.filters import filter_clauses
from guildhall.graphql.loaders import as_key, group
from guildhall.graphql.record import Record
from guildhall.graphql.resolve import Arguments, FieldResolvers, Resolver
from guildhall.graphql.resolving import Info
from guildhall.graphql.sources import Connection, Scope
from guildhall.graphql.statements import Listing, Order

PAGED = frozenset({"edges", "nodes", "pageInfo"})

NO_ARGUMENTS = "{}"
"""What `given_text` says of none, or of none that makes a list another list."""

_GIVEN = json.JSONEncoder(sort_keys=True, default=str)


class FirstRequired(Invalid):
    """A connection whose rows are selected without saying how many."""

    code = "FIRST_REQUIRED"


class InvalidFirst(Invalid):
    """A page of a negative size."""

    code = "BAD_USER_INPUT"


class PageTooLarge(LimitExceeded):
    """More rows than a page has."""

    code = "PAGE_TOO_LARGE"


@dataclass(frozen=True)
class Names:
    """What the generated types of one connection are called."""

    connection: str
    edge: str


def connection_names(source: Connection) -> Names:
    """`ModelConnection` and `ModelEdge`, or after the name that the declaration gives."""
    stem = source.name or source.target
    return Names(f"{stem}Connection", f"{stem}Edge")


class Pages:
    """Makes the resolvers of connections."""

    def __init__(self, catalogue: Catalogue, resolvers: FieldResolvers) -> None:
        self._catalogue = catalogue
        self._resolvers = resolvers

    def make(self, declared: TypeDeclaration, field: FieldDeclaration, arguments: Arguments) -> Resolver:
        """The resolver of one connection field; `arguments` are those of its scope."""
        source = field.source
        assert isinstance(source, Connection)
        read = None if source.local is None else self._resolvers.reader(declared, field, "local")
        names = connection_names(source)

        async def resolve(record: Record | None, info: Info, **given: Any) -> Record:  # noqa: ANN401 -- arguments
            first, after = given.pop("first", None), given.pop("after", None)
            key = None
            if read is not None and record is not None:
                key = read(record)
                if source.remote is not None:
                    key = as_key(key, source.remote)
            wanted = selection.names(info.field_nodes, info, names.connection)
            page = _Page(
                self._catalogue, f"{declared.name}.{field.graphql_name}", source, names, info, given, arguments(given)
            )
            values: dict[str, Any] = {}
            loads = []
            if wanted & PAGED:
                _check_first(first, info.context.settings.graphql_page_max)
                loads.append(page.load(key, first, after, read is not None))
            if wanted & {"totalCount", "count"}:
                loads.append(page.count(key, read is not None))
            if source.facts is not None and wanted - PAGED - {"totalCount", "count", "__typename"}:
                loads.append(page.facts())
            for found in await asyncio.gather(*loads):
                values |= found
            if "nodes" in values and source.reference is not None:
                await self._load_references(values, source, names, info)
            return Record(names.connection, values)

        return resolve

    async def _load_references(self, values: dict[str, Any], source: Connection, names: Names, info: Info) -> None:
        """For lists of several types: load each edge's node by its kind, and leave out what is not visible."""
        assert source.reference is not None
        types = source.reference[2]
        edges = values["edges"]
        found = await asyncio.gather(
            *(_load_node(self._catalogue, types, names, edge.values["node"], info) for edge in edges)
        )
        kept = [(edge, node) for edge, node in zip(edges, found, strict=True) if node is not None]
        values["edges"] = [Record(names.edge, {**edge.values, "node": node}) for edge, node in kept]
        values["nodes"] = [node for _, node in kept]


class _Page:
    """One call of a connection: its listing, and what is loaded of it."""

    def __init__(
        self,
        catalogue: Catalogue,
        coordinate: str,
        source: Connection,
        names: Names,
        info: Info,
        given: Mapping[str, Any],
        scope_arguments: Mapping[str, Any],
    ) -> None:
        self._catalogue = catalogue
        self._source = source
        self._names = names
        self._context = info.context
        self._target = None if source.reference is not None else catalogue.types[source.target]
        self._scope = Scope() if source.scope is None else source.scope(self._context, **scope_arguments)
        below = node_fields(info, names)
        labels = frozenset[str]() if self._target is None else selection.labels(below, info, self._target, catalogue)
        self._labels = sorted(labels)
        self._wanted_edge = selection.names(
            selection.children(info.field_nodes, info, names.connection, "edges"), info, names.edge
        )
        self._edge = sorted(set(self._scope.edge) & _python_names(source.edge, self._wanted_edge))
        self._given = given_text(given)
        self._where = (coordinate, self._given, tuple(self._labels), tuple(self._edge))
        self._listing = self._make_listing(given)
        self._binding = binding_of(coordinate, self._given, self._context.actor)

    async def load(self, key: object, first: int, after: str | None, has_parent: bool) -> dict[str, Any]:
        """Edges, nodes and page info of one parent's page."""

        async def load(keys: list[Any]) -> list[Any]:
            return await self._load_pages(keys if has_parent else None, keys, first, after)

        where = ("page", first, after, *self._where)
        found: dict[str, Any] = await self._context.loaders.batch(where, key, load)
        return found

    async def count(self, key: object, has_parent: bool) -> dict[str, Any]:
        """The exact total, or one that stops at the declared maximum."""
        maximum = self._source.count_maximum

        async def load(keys: list[Any]) -> list[int]:
            statement = statements.count_of(self._listing, keys if has_parent else None, maximum)
            found = dict(tuple(row) for row in await self._context.loaders.fetch(statement))
            return [found.get(wanted, 0) for wanted in keys]

        rows: int = await self._context.loaders.batch(("count", *self._where), key, load)
        if maximum is None:
            return {"totalCount": rows}
        return {"count": Record("Count", {"value": min(rows, maximum), "exact": rows <= maximum})}

    async def facts(self) -> dict[str, Any]:
        """The values about the whole list."""
        names = sorted(self._scope.facts)
        rows = await self._context.loaders.fetch(select(*(self._scope.facts[name] for name in names)))
        return dict(zip(names, rows[0], strict=True))

    async def _load_pages(self, parents: list[Any] | None, keys: list[Any], first: int, after: str | None) -> list[Any]:
        listing, orders = self._listing, self._listing.order_by
        refused: dict[Any, InvalidCursor] = {}
        if after is not None:
            values, refused = self._open(after, keys)
            if values is None:
                return [refused[key] for key in keys]
            clause = statements.after_clause(orders, values)
            listing = Listing(listing.base, listing.remote, [*listing.where, clause], orders)
        columns = self._columns()
        rows = group(await self._context.loaders.fetch(statements.rows_of(listing, columns, parents, first + 1)))
        return [refused.get(key) or self._answer(key, rows.get(key, []), first) for key in keys]

    def _open(self, after: str, keys: Sequence[Any]) -> tuple[list[Any] | None, dict[Any, InvalidCursor]]:
        """A cursor belongs to one parent's list; siblings that share the argument are refused one by one."""
        values, refused = None, {}
        for key in keys:
            try:
                values = self._context.signer.open(self._binding, after, key)
            except InvalidCursor as error:
                refused[key] = error
        return values, refused

    def _columns(self) -> list[ColumnElement[Any]]:
        """What a row holds: the node's labels (or kind and key), the edge's values, the order's values."""
        if self._source.reference is None:
            own = [self._catalogue.expression(label, self._context) for label in self._labels]
        else:
            kind, key, _ = self._source.reference
            own = [self._rows().c[kind], self._rows().c[key]]
        edge = [self._scope.edge[name] for name in self._edge]
        return [*own, *edge, *(order.expression for order in self._listing.order_by)]

    def _answer(self, key: object, rows: Sequence[Sequence[Any]], first: int) -> dict[str, Any]:
        own = 2 if self._source.reference is not None else len(self._labels)
        edges = []
        for row in rows[:first]:
            values = dict(zip(self._edge, row[own:], strict=False))
            values["cursor"] = self._context.signer.sign(self._binding, row[own + len(self._edge) :], key)
            if self._target is None:
                values["node"] = (row[0], row[1])
            else:
                values["node"] = self._context.loaders.made(self._target, self._labels, row)
            edges.append(Record(self._names.edge, values))
        info = {
            "has_next_page": len(rows) > first,
            "has_previous_page": False,
            "start_cursor": edges[0].values["cursor"] if edges else None,
            "end_cursor": edges[-1].values["cursor"] if edges else None,
        }
        return {"edges": edges, "nodes": [edge.values["node"] for edge in edges], "pageInfo": Record("PageInfo", info)}

    def _make_listing(self, given: Mapping[str, Any]) -> Listing:
        source, context, scope = self._source, self._context, self._scope
        where = [*statements.where_clauses(source.where, context), *scope.where]
        if self._target is not None:
            where += statements.visible_clauses(self._target, context)
        if source.filter is not None:
            where += filter_clauses(source.filter.__filter__, given.get("filter"), context)
        return Listing(self._base(), source.remote, where, self._orders(given))

    def _base(self) -> FromClause:
        if self._target is None:
            return self._rows()
        assert self._target.table is not None, f"{self._target.name} has no table to list"
        base = statements.joined(self._target.table, self._source.through)
        rows = self._scope.rows
        return base if rows is None else base.join(rows, rows.c.id == self._target.key)

    def _rows(self) -> FromClause:
        assert self._scope.rows is not None, "a list of several types is read from its scope's rows"
        return self._scope.rows

    def _orders(self, given: Mapping[str, Any]) -> list[Order]:
        return list_orders(self._source, self._target, self._scope, given.get("orderBy"))


def list_orders(
    source: Connection, target: TypeDeclaration | None, scope: Scope, chosen: Mapping[str, Any] | None
) -> list[Order]:
    """How a list is ordered: as `orderBy` says, else by its scope or declaration; the key is always the last order."""
    if chosen is not None and source.orders is not None:
        field = chosen["field"]
        expression = source.orders.fields[getattr(field, "value", field)]
        direction = getattr(chosen["direction"], "value", chosen["direction"])
        orders = [Order(statements.read_order(expression).expression, direction == "DESC")]
    else:
        orders = [statements.read_order(order) for order in (scope.order_by or source.default_order)]
    key: Any = target.key if target is not None else None if scope.rows is None else scope.rows.c.id
    assert key is not None, f"{source.target} has no key to page by"
    if not _is_unique(orders, source, statements.read_order(key).expression):
        orders.append(Order(statements.read_order(key).expression, orders[-1].descending if orders else True))
    return orders


def _is_unique(orders: Sequence[Order], source: Connection, key: ColumnElement[Any]) -> bool:
    """Whether no two rows of one list have the same place: the key decides, or a unique key with the parent's column.

    One more order than the index has costs a sort for every list.
    """
    columns = {order.expression for order in orders}
    if key in columns:
        return True
    table = getattr(key, "table", None)
    if source.remote is None or source.through is not None or not isinstance(table, Table):
        return False
    columns.add(statements.read_order(source.remote).expression)
    uniques = (each for each in table.constraints if isinstance(each, UniqueConstraint))
    return any(all(column in columns and not column.nullable for column in unique.columns) for unique in uniques)


def given_text(arguments: Mapping[str, Any]) -> str:
    """The arguments that make a list another list, in one way of writing."""
    given = {name: value for name, value in arguments.items() if name not in {"first", "after"}}
    if not given:  # as mostly
        return NO_ARGUMENTS
    return _GIVEN.encode(given)


def binding_of(coordinate: str, given: str, viewer: Actor) -> bytes:
    """What a list's cursors are bound to beside the object that it belongs to: the field, its arguments, the viewer."""
    return "\n".join((coordinate, given, str(viewer.id))).encode()


def node_fields(info: Info, names: Names) -> list[FieldNode]:
    """The field nodes that select from the connection's nodes, by `nodes` and by `edges { node }`."""
    direct = selection.children(info.field_nodes, info, names.connection, "nodes")
    edges = selection.children(info.field_nodes, info, names.connection, "edges")
    return [*direct, *selection.children(edges, info, names.edge, "node")]


async def _load_node(
    catalogue: Catalogue, types: Mapping[str, str], names: Names, pair: tuple[str, Any], info: Info
) -> Record | None:
    kind, key = pair
    if kind not in types:
        return None
    target = catalogue.types[types[kind]]
    labels = selection.labels(node_fields(info, names), info, target, catalogue)
    context = info.context
    return await context.loaders.one(target, key, labels)


def _python_names(edge: type[Any] | None, selected: set[str]) -> set[str]:
    """The keys of the edge's values that the selected fields read."""
    if edge is None:
        return set()
    fields = edge.__declaration__.fields.values()
    return {
        operand
        for field in fields
        if field.graphql_name in selected
        for operand in field.source.operands().values()
        if isinstance(operand, str)
    }


def _check_first(first: int | None, maximum: int) -> None:
    if first is None:
        raise FirstRequired(
            "Say how many with `first`, wherever edges, nodes or pageInfo of a list are selected.", field="first"
        )
    if first < 0:
        raise InvalidFirst("`first` cannot be negative.", field="first")
    if first > maximum:
        raise PageTooLarge(f"`first` is {maximum} at most; page on with `after`.", field="first")
