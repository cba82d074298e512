"""Plans of connections: which of its rows, counts and facts a document wants, and one level for all of them."""

from collections.abc import Mapping
from typing import Any, Protocol

from graphql import GraphQLField, GraphQLObjectType, GraphQLSchema
from graphql.execution.collect_fields import FieldDetailsList

from guildhall.graphql.compiler import shapes, slots
from guildhall.graphql.compiler.frames import Frame, RowFrame
from guildhall.graphql.compiler.plan import NotCompilable, Plan, at, told_by
from guildhall.graphql.compiler.runs import FieldCall
from guildhall.graphql.compiler.selections import Selections
from guildhall.graphql.compiler.shapes import Leaf, Level, Link, Member, Object, Page, SlotPart, Value
from guildhall.graphql.declarations import FieldDeclaration, TypeDeclaration
from guildhall.graphql.pages import connection_names, list_orders
from guildhall.graphql.sources import Column, Connection, JsonValue, Scope


class FieldAsked(Protocol):
    """One field that a document selects."""

    declared: TypeDeclaration
    field: FieldDeclaration
    definition: GraphQLField
    details: FieldDetailsList

    @property
    def call(self) -> FieldCall:
        """The field with its arguments."""


class Planning(Protocol):
    """What plans the objects that a page leads to."""

    plan: Plan
    schema: GraphQLSchema
    selections: Selections

    def body(self, type_name: str, details: FieldDetailsList, frame: Frame) -> Object:
        """What a document selects of an object."""

    def chosen(self, asked: Any, kind: Value, key: Value, types: Mapping[str, str]) -> shapes.Chosen:  # noqa: ANN401
        """One node of a stored kind."""

    def json(self, asked: Any, source: JsonValue, value: Value) -> shapes.JsonObject:  # noqa: ANN401
        """An object, or a list of objects, kept as JSON."""

    def field(self, declared: TypeDeclaration, name: str, details: FieldDetailsList) -> Any:  # noqa: ANN401
        """A field below another."""


class PagePlanner:
    """Plans one field that is a connection."""

    def __init__(self, planning: Planning, asked: FieldAsked, source: Connection, frame: Frame) -> None:
        self._planning, self._asked, self._source = planning, asked, source
        self._plan = planning.plan
        self._above = frame
        self._names = connection_names(source)
        catalogue = self._plan.catalogue
        self._target = None if source.reference is not None else catalogue.types[source.target]
        self._link: Link | None = None
        if source.local is not None:
            assert source.remote is not None, "a list with a parent says which column holds its key"
            local = frame.value(catalogue.label(asked.declared, asked.field, "local"), source.local)
            self._link = Link(source.remote, local)
        self._listing = slots.Listing(source, self._target, asked.call, self._link is not None)
        self._slot: int | None = None
        if self._depends_on_request():
            self._slot = self._plan.slot(self._listing)
        self._signing: int | None = None
        self._level: Level | None = None
        self._frame: RowFrame | None = None

    def page(self) -> Page:
        """The connection's members over one level of rows, where any of them needs the rows."""
        members = []
        for key, name, details in self._fields(self._names.connection, self._asked.details):
            with at(key):
                members.append((key, self._member(name, details)))
        checked = None
        if self._level is not None and self._has_after() and self._link is not None:
            assert self._slot is not None, "where a page begins depends on the request"
            checked = shapes.CursorCheck(self._slot, self._link.local)
        return Page(members, self._level, None if self._level is None else self._listing.first, checked)

    def _member(self, name: str, details: FieldDetailsList) -> Member:
        match name:
            case "__typename":
                return shapes.Fixed(f'"{self._names.connection}"')
            case "nodes":
                return self._rows(self._node(details))
            case "edges":
                return self._rows(self._edge(details))
            case "pageInfo":
                return self._page_info(details)
            case "totalCount":
                return shapes.Count(self._counted())
            case "count":
                return self._count(details)
            case _:
                return self._fact(name)

    def _rows(self, body: Member) -> shapes.Rows:
        """Lists of several types leave out rows whose node is not there for the caller."""
        if self._source.reference is None:
            return shapes.Rows(body)
        return shapes.Rows(body, self._reference([]))

    def _node(self, details: FieldDetailsList) -> Member:
        self._rows_level()
        if self._source.reference is not None:
            return self._reference(details)
        assert self._target is not None, "a list of one type"
        assert self._frame is not None, "made with the level"
        return self._planning.body(self._target.name, details, self._frame)

    def _reference(self, details: FieldDetailsList) -> Member:
        level = self._rows_level()
        assert self._source.reference is not None, "a list of several types"
        asked = self._planning.field(self._asked.declared, self._asked.field.graphql_name, details)
        kind, key = (self._part(level, part) for part in ("kind", "key"))
        return self._planning.chosen(asked, kind, key, self._source.reference[2])

    def _edge(self, details: FieldDetailsList) -> Member:
        level = self._rows_level()
        members: list[tuple[str, Member]] = []
        for key, name, below in self._fields(self._names.edge, details):
            if name == "__typename":
                members.append((key, shapes.Fixed(f'"{self._names.edge}"')))
            elif name == "cursor":
                level.placed = True
                members.append((key, self._cursor(level)))
            elif name == "node":
                with at(key):
                    members.append((key, self._node(below)))
            else:
                with at(key):
                    members.append((key, self._edge_value(level, name, below)))
        return Object(members)

    def _edge_value(self, level: Level, name: str, details: FieldDetailsList) -> Member:
        """A value of the edge's own, which the scope gives."""
        asked = self._planning.field(self._plan.catalogue.types[self._names.edge], name, details)
        source = asked.field.source
        match source:
            case Column(expression=str() as key):
                return Leaf(self._part(level, f"edge {key}"), asked.definition.type)
            case JsonValue(expression=str() as key):
                value = self._part(level, f"edge {key}")
                made: Member = self._planning.json(asked, source, value)
                return made
            case _:
                raise NotCompilable(f"a {type(source).__name__.lower()} of an edge")

    def _page_info(self, details: FieldDetailsList) -> Member:
        level = self._rows_level()
        level.numbered = True
        members: list[tuple[str, Member]] = []
        for key, name, _ in self._fields("PageInfo", details):
            match name:
                case "__typename":
                    members.append((key, shapes.Fixed('"PageInfo"')))
                case "hasNextPage":
                    members.append((key, shapes.HasNext()))
                case "hasPreviousPage":
                    members.append((key, shapes.Fixed("false")))
                case _:
                    level.placed = True
                    members.append((key, shapes.EndOf(self._cursor(level), last=name == "endCursor")))
        return Object(members)

    def _count(self, details: FieldDetailsList) -> Member:
        maximum = self._source.count_maximum
        assert maximum is not None, "the field is there for lists with a maximum"
        members = [(key, name) for key, name, _ in self._fields("Count", details)]
        return shapes.CountTo(self._counted(), maximum, members)

    def _fact(self, name: str) -> Member:
        asked = self._planning.field(self._plan.catalogue.types[self._names.connection], name, [])
        source = asked.field.source
        if not isinstance(source, Column) or not isinstance(source.expression, str) or self._slot is None:
            raise NotCompilable(f"a {type(source).__name__.lower()} of a list")
        return shapes.Fact(SlotPart(self._slot, f"fact {source.expression}"), asked.definition.type)

    def _cursor(self, level: Level) -> shapes.CursorOf:
        if self._signing is None:
            self._signing = self._plan.slot(slots.Signing(self._listing))
        return shapes.CursorOf(self._signing, None if self._link is None else self._link.local, level)

    def _part(self, level: Level, part: str) -> shapes.RowValue:
        assert self._slot is not None, "what has a scope depends on the request"
        if part not in level.columns:
            level.columns[part] = (f"c{len(level.columns) + 1}", SlotPart(self._slot, part))
        return shapes.RowValue(level.alias, level.columns[part][0])

    def _rows_level(self) -> Level:
        if self._level is None:
            self._level, self._frame = self._new_level()
            self._level.limit = self._listing.first
        return self._level

    def _counted(self) -> Level:
        level, _ = self._new_level()
        return level

    def _new_level(self) -> tuple[Level, RowFrame]:
        source = self._source
        if self._target is None:
            level = Level(self._plan.alias(), None, link=self._link)
            frame = RowFrame(level, self._plan.computed)
        else:
            told = None
            if source.local is not None and source.through is None:
                told = told_by(self._above, source.local, source.remote)
            known = () if callable(source.where) else source.where
            level, frame = self._plan.level(
                self._target, link=self._link, through=source.through, told=told, where=known
            )
        level.listing = self._slot
        if self._slot is None:
            assert not callable(source.where), "what depends on the request has a slot"
            level.where = source.where
            level.order_by = list_orders(source, self._target, Scope(), None)
        return level, frame

    def _fields(self, type_name: str, details: FieldDetailsList) -> list[tuple[str, str, FieldDetailsList]]:
        type_ = self._planning.schema.type_map[type_name]
        assert isinstance(type_, GraphQLObjectType), f"{type_name} is no object type"
        found = list(self._planning.selections.below(details, type_))
        self._plan.fields += len(found)
        return found

    def _depends_on_request(self) -> bool:
        given = {argument.name.value for argument in self._asked.details[0].node.arguments or ()}
        return callable(self._source.where) or self._source.scope is not None or bool(given - {"first"})

    def _has_after(self) -> bool:
        return any(argument.name.value == "after" for argument in self._asked.details[0].node.arguments or ())
