"""From a document and the declared sources to the plan of its statement; what has no source in SQL is not compiled."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from graphql import FieldNode, GraphQLField, GraphQLObjectType, GraphQLSchema
from graphql.execution.collect_fields import FieldDetailsList

from guildhall.auth.permissions import PERMISSIONS
from guildhall.graphql import statements
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.compiler import shapes, slots
from guildhall.graphql.compiler.frames import Frame, JsonFrame, RowFrame
from guildhall.graphql.compiler.leaves import check_written
from guildhall.graphql.compiler.page_planner import PagePlanner
from guildhall.graphql.compiler.plan import ITEMS, Change, NotCompilable, Plan, Told, at, told_by, told_by_key
from guildhall.graphql.compiler.python_fields import Called, Prepared, reader_of
from guildhall.graphql.compiler.runs import FallBack, FieldCall, Run
from guildhall.graphql.compiler.selections import Selections
from guildhall.graphql.compiler.shapes import Link, Member, Object
from guildhall.graphql.compiler.switches import named_type
from guildhall.graphql.declarations import FieldDeclaration, TypeDeclaration, selectable_of
from guildhall.graphql.ids import split_id
from guildhall.graphql.sources import (
    Batched,
    Calculated,
    Column,
    Connection,
    Embedded,
    Find,
    GlobalId,
    JsonValue,
    Many,
    ManyByIds,
    Mutation,
    NodeById,
    One,
    Operand,
    Reference,
    References,
    Resolve,
    Source,
    ViewerCan,
)

NULL = shapes.Fixed("null")


class Planner:
    """Plans one selection. Without a `run` everything is planned that any request could ask for."""

    def __init__(self, schema: GraphQLSchema, catalogue: Catalogue, selections: Selections, run: Run | None) -> None:
        self.schema = schema
        self._catalogue = catalogue
        self.selections = selections
        self._run = run
        self.plan = Plan(catalogue)
        self._makers: dict[type[Source], Callable[[_Field, Any, Frame], Member]] = {
            Column: self._column,
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
            NodeById: self._node_by_id,
            Connection: self._connection,
            Resolve: self._resolve,
            Batched: self._batched,
            Calculated: self._calculated,
        }

    def make(self) -> Plan:
        """The plan; raises NotCompilable."""
        root = self.schema.query_type
        assert root is not None, "a schema has a query type"
        frame = JsonFrame("'{}'::jsonb")
        self.plan.root = self._object(root, self.selections.root(root), frame)
        return self.plan

    def make_payload(self) -> Plan:
        """The plan of a mutation's payload, which a statement is given as JSON; raises NotCompilable."""
        root = self.schema.mutation_type
        assert root is not None, "the document was validated"
        entries = list(self.selections.root(root))
        if len(entries) != 1 or entries[0][1].startswith("__"):
            raise NotCompilable("a statement tells of one change, and the document makes another number of them")
        ((key, name, details),) = entries
        asked = self.field(self._catalogue.types[root.name], name, details)
        source = asked.field.source
        assert isinstance(source, Mutation), "all fields below Mutation are"
        self.plan.change = Change(key, asked.call, source)
        with at(key):
            self.plan.root = self.body(source.payload.__name__, details, JsonFrame(f"{ITEMS}.v", ours=True))
        return self.plan

    def body(self, type_name: str, details: FieldDetailsList, frame: Frame) -> Object:
        """What a document selects of an object of the type."""
        type_ = self.schema.type_map[type_name]
        assert isinstance(type_, GraphQLObjectType), f"{type_name} is no object type"
        made = self._object(type_, self.selections.below(details, type_), frame)
        declared = self._catalogue.types[type_name]
        if isinstance(frame, RowFrame) and frame.level.target is declared:
            return Object(made.members, self.plan.recorded(declared, frame))
        return made

    def _object(
        self, type_: GraphQLObjectType, entries: Iterable[tuple[str, str, FieldDetailsList]], frame: Frame
    ) -> Object:
        declared = self._catalogue.types[type_.name]
        members: list[tuple[str, Member]] = []
        for key, name, details in entries:
            if name == "__typename":
                members.append((key, shapes.Fixed(f'"{type_.name}"')))
                continue
            if name.startswith("__"):
                raise NotCompilable("the schema itself is told by graphql-core", [key])
            self.plan.fields += 1
            asked = _Field(declared, declared.fields[name], type_.fields[name], details)
            with at(key):
                members.append((key, self._member(asked, frame)))
        return Object(members)

    def field(self, declared: TypeDeclaration, name: str, details: FieldDetailsList) -> "_Field":
        """A field of a type, selected by these nodes."""
        type_ = self.schema.type_map[declared.name]
        assert isinstance(type_, GraphQLObjectType), f"{declared.name} is no object type"
        return _Field(declared, declared.fields[name], type_.fields[name], details)

    def _member(self, asked: "_Field", frame: Frame) -> Member:
        make = self._makers[type(asked.field.source)]
        declared, permission = asked.declared, asked.field.permission
        if permission is None or not self._catalogue.is_guarded(declared, asked.field):
            return make(asked, asked.field.source, frame)
        if declared.name == "Query":
            self.plan.permissions.append(permission)
            return make(asked, asked.field.source, frame)
        team = None
        if declared.team is not None:
            team = frame.value(self._catalogue.team_label(declared), declared.team)
        slot = self.plan.slot(slots.Permitted(lambda _run: permission))
        return shapes.Guarded(make(asked, asked.field.source, frame), shapes.Allowed(slot, team))

    def _value(self, asked: "_Field", frame: Frame, part: str, operand: Operand) -> shapes.Value:
        return frame.value(self._catalogue.label(asked.declared, asked.field, part), operand)

    def _column(self, asked: "_Field", source: Column, frame: Frame) -> Member:
        leaf = shapes.Leaf(self._value(asked, frame, "", source.expression), asked.definition.type)
        check_written(leaf, source.expression)
        return leaf

    def _global_id(self, asked: "_Field", source: GlobalId, frame: Frame) -> Member:
        value = self._value(asked, frame, "", source.key)
        return shapes.Leaf(value, asked.definition.type, asked.declared.name)

    def _viewer_can(self, asked: "_Field", source: ViewerCan, frame: Frame) -> Member:
        call = asked.call

        def permission(run: Run) -> str:
            named: str = run.arguments(call)["permission"]
            if named not in PERMISSIONS:
                raise FallBack
            return named

        team = None if source.team is None else self._value(asked, frame, "team", source.team)
        return shapes.Allowed(self.plan.slot(slots.Permitted(permission, asked=True)), team)

    def _one(self, asked: "_Field", source: One, frame: Frame) -> Member:
        target = self._catalogue.types[source.target]
        local = self._value(asked, frame, "local", source.local)
        remote = source.remote if source.remote is not None else target.key
        assert remote is not None, f"{target.name} has no key to be found by"
        told = told_by(frame, source.local, remote)
        return self._single(target, Link(remote, local), asked, nullable=source.nullable, told=told)

    def _single(
        self,
        target: TypeDeclaration,
        link: Link | None,
        asked: "_Field",
        *,
        nullable: bool = True,
        told: Told | None = None,
        where: slots.Source | None = None,
        seen: bool = False,
    ) -> shapes.Single:
        level, frame = self.plan.level(target, link=link, told=told, seen=seen)
        if where is not None:
            level.listing = self.plan.slot(where)
        return shapes.Single(level, self.body(target.name, asked.details, frame), nullable)

    def _many(self, asked: "_Field", source: Many, frame: Frame) -> Member:
        target = self._catalogue.types[source.target]
        link, told = None, None
        if source.local is not None:
            assert source.remote is not None, "a list with a parent says which column holds its key"
            link = Link(source.remote, self._value(asked, frame, "local", source.local))
            told = told_by(frame, source.local, source.remote)
        known = () if callable(source.where) else source.where
        level, below = self.plan.level(target, link=link, through=source.through, told=told, where=known)
        level.order_by = [statements.read_order(order) for order in source.order_by]
        level.limit = source.maximum
        if callable(source.where):
            level.listing = self.plan.slot(slots.Narrowed(source.where))
        else:
            level.where = source.where
        return shapes.Listed(level, self.body(target.name, asked.details, below))

    def _many_by_ids(self, asked: "_Field", source: ManyByIds, frame: Frame) -> Member:
        target, alias = self._catalogue.types[source.target], self.plan.alias()
        assert target.key is not None, f"{target.name} has no key to be found by"
        ids = self._value(asked, frame, "ids", source.ids)
        single = self._single(target, Link(target.key, shapes.RowValue(alias, "key")), asked)
        return shapes.ByIds(ids, alias, source.maximum, single)

    def _embedded(self, asked: "_Field", source: Embedded, frame: Frame) -> Member:
        when = None if source.when is None else self._value(asked, frame, "when", source.when)
        return shapes.Embedded(self.body(source.target, asked.details, frame), when)

    def _json(self, asked: "_Field", source: JsonValue, frame: Frame) -> Member:
        return self.json(asked, source, self._value(asked, frame, "", source.expression), ours=frame.ours)

    def json(self, asked: "_Field", source: JsonValue, value: shapes.Value, *, ours: bool = False) -> shapes.JsonObject:
        """An object, or a list of objects, kept as JSON."""
        alias = self.plan.alias() if source.many else None
        body = self.body(source.target, asked.details, JsonFrame(shapes.json_text(value, alias), ours=ours))
        return shapes.JsonObject(value, body, source.nullable, alias)

    def chosen(
        self, asked: "_Field", kind: shapes.Value, key: shapes.Value, types: Mapping[str, str], *, seen: bool = False
    ) -> shapes.Chosen:
        """One node whose kind is a value; kinds that lead nowhere are left out."""
        choices: dict[str, shapes.Single | Object] = {}
        for stored, name in types.items():
            target = self._catalogue.types.get(name)
            if target is not None and target.key is not None:
                row = self._single(target, Link(target.key, key), asked, seen=seen)
                choices[stored] = (told_by_key(row.body, key) if seen else None) or row
        return shapes.Chosen(kind, choices)

    def _reference(self, asked: "_Field", source: Reference, frame: Frame) -> Member:
        kind = self._value(asked, frame, "kind", source.kind)
        return self.chosen(asked, kind, self._value(asked, frame, "key", source.key), source.types, seen=source.seen)

    def _references(self, asked: "_Field", source: References, frame: Frame) -> Member:
        alias = self.plan.alias()
        body = self.chosen(asked, shapes.RowValue(alias, "kind"), shapes.RowValue(alias, "key"), source.types)
        if source.local is None:
            arrays = (
                self._value(asked, frame, "kind", source.kind),
                self._value(asked, frame, "key", source.key),
            )
            return shapes.Pairs(alias, body, arrays=arrays, maximum=source.maximum)
        assert source.remote is not None, "references of a table say which column holds our key"
        assert source.table is not None, "references of a table name it"
        level = shapes.Level(alias, selectable_of(source.table), limit=source.maximum)
        level.link = Link(source.remote, self._value(asked, frame, "local", source.local))
        level.order_by = [statements.read_order(order) for order in source.order_by]
        level.columns = {"kind": ("kind", source.kind), "key": ("key", source.key)}
        return shapes.Pairs(alias, body, level=level)

    def _find(self, asked: "_Field", source: Find, _frame: Frame) -> Member:
        target = self._catalogue.types[source.target]
        return self._single(target, None, asked, where=slots.Found(source, asked.call))

    def _node_by_id(self, asked: "_Field", _source: NodeById, _frame: Frame) -> Member:
        call = asked.call
        if self._run is None:
            for target in self._told_apart([each for each in self._catalogue.types.values() if each.is_node], asked):
                self._node(target, call, asked)
            return NULL
        target_name = named_type(self._run, call)
        found = None if target_name is None else self._catalogue.types.get(target_name)
        return self._node(found, call, asked) if found is not None and found.is_node else NULL

    def _told_apart(self, types: Sequence[TypeDeclaration], asked: "_Field") -> Sequence[TypeDeclaration]:
        """The types that a document has fragments for, and one that stands for all others, which select the same."""
        conditions = self.selections.conditions(asked.details)
        others = [each for each in types if each.name not in conditions]
        return [*(each for each in types if each.name in conditions), *others[:1]]

    def _node(self, target: TypeDeclaration, call: FieldCall, asked: "_Field") -> Member:
        def key(run: Run) -> Any:  # noqa: ANN401 -- a UUID
            found = split_id(run.arguments(call)["id"])
            assert found is not None, "the plan was chosen by the id's type"
            return found[1]

        return self._single(target, None, asked, where=slots.Known(target.key, key))

    def _resolve(self, asked: "_Field", source: Resolve, frame: Frame) -> Member:
        if source.needs:
            return self._called(asked, source, frame)
        prepared = Prepared(source, asked.call)
        self.plan.prepared.append(prepared)
        if source.target is None:
            return shapes.Bound(prepared)
        alias = self.plan.alias()
        body = self.body(source.target, asked.details, JsonFrame(f"{alias}.v", ours=True))
        return shapes.Bound(prepared, alias, body, source.nullable)

    def _batched(self, asked: "_Field", source: Batched, frame: Frame) -> Member:
        return self._called(asked, source, frame)

    def _called(self, asked: "_Field", source: Resolve | Batched, frame: Frame) -> Member:
        """A function after the statement; the objects that it returns have a plan of their own."""
        operands = [(part, self._value(asked, frame, part, operand)) for part, operand in source.operands().items()]
        readers = {part: reader_of(getattr(operand, "type", None)) for part, operand in source.operands().items()}
        below: Plan | None = None
        if source.target is not None:
            outer, self.plan = self.plan, Plan(self._catalogue)
            self.plan.root = self.body(source.target, asked.details, JsonFrame(f"{ITEMS}.v", ours=True))
            below, self.plan = self.plan, outer
            self.plan.fields += below.fields
        self.plan.called.append((Called(source, asked.call, readers), below))
        return shapes.Called(len(self.plan.called) - 1, operands)

    def _calculated(self, asked: "_Field", source: Calculated, frame: Frame) -> Member:
        if not isinstance(frame, RowFrame):
            raise NotCompilable("SQL over a row, and the object is JSON")
        twin = self.plan.twin(asked.call.coordinate)
        slot = self.plan.slot(slots.Calculation(source, asked.call, self._catalogue.types, twin))
        value = frame.part(self._catalogue.label(asked.declared, asked.field, ""), slot)
        if source.target is None:
            return shapes.Leaf(value, asked.definition.type)
        return self.json(asked, JsonValue(source.target, "", source.many, source.nullable), value)

    def _connection(self, asked: "_Field", source: Connection, frame: Frame) -> Member:
        return PagePlanner(self, asked, source, frame).page()


class _Field:
    """One field that a document selects, with its declaration and its nodes."""

    def __init__(
        self, declared: TypeDeclaration, field: FieldDeclaration, definition: GraphQLField, details: FieldDetailsList
    ) -> None:
        self.declared = declared
        self.field = field
        self.definition = definition
        self.details = details

    @property
    def node(self) -> FieldNode:
        """Where it stands first, which is where its arguments stand."""
        return self.details[0].node

    @property
    def call(self) -> FieldCall:
        """The field with its arguments."""
        return FieldCall(self.definition, self.node, f"{self.declared.name}.{self.field.graphql_name}")
