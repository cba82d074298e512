"""How a type is declared: decorators for types, functions for fields. README.md beside this file has one of each.

Types are named by their GraphQL name wherever one refers to another, so that no module needs another's for it. A
declaration is only data; `guildhall.graphql.compose` makes a schema of all of them at once.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, case, func, null
from sqlalchemy.dialects.postgresql import JSONB

from guildhall.graphql.context import Visible
from guildhall.graphql.declarations import (
    Extension,
    FieldDeclaration,
    TypeDeclaration,
    docstring_of,
    fields_of,
    selectable_of,
)
from guildhall.graphql.recording import Recorded
from guildhall.graphql.sources import (
    Batched,
    Calculated,
    Clauses,
    Column,
    Connection,
    Embedded,
    Expression,
    Find,
    GlobalId,
    JsonValue,
    Many,
    ManyByIds,
    One,
    Operand,
    Orders,
    Reference,
    References,
    Resolve,
    Scope,
    Table,
    ViewerCan,
    Where,
)

PUBLIC = "PUBLIC"
"""Permission marker: anybody, also without a token."""

SIGNED_IN = "SIGNED_IN"
"""Permission marker: every caller who is known."""

LIST_MAXIMUM = 200
"""The most items of a plain list that names no maximum of its own."""

Class = TypeVar("Class", bound=type[Any])


def node(
    name: str,
    *,
    table: Table,
    permission: str,
    visible: Visible | None,
    team: Operand | None = None,
    key: Expression | None = None,
    recorded: Recorded | None = None,
    description: str | None = None,
) -> Callable[[Class], Class]:
    """An object type with a global id, resolvable by `node(id:)`.

    `visible(actor)` gives the SQL predicate over `table` that decides which rows exist for a caller; None says that
    whoever holds `permission` anywhere sees all. `team` is the operand of the owning team's id, for field permissions
    and `viewerCan`. `recorded` says which rows are closed records, of which each read goes on the audit record.
    """

    def declare(cls: Class) -> Class:
        selectable = selectable_of(table)
        own_key = key if key is not None else selectable.c.id
        declared = TypeDeclaration(
            name,
            cls,
            selectable,
            own_key,
            visible,
            permission,
            team,
            True,
            description or docstring_of(cls),
            fields_of(cls),
            recorded=recorded,
        )
        identity = FieldDeclaration(
            GlobalId(own_key), description="The global id.", python_name="id", graphql_name="id"
        )
        can = FieldDeclaration(
            ViewerCan(team),
            permission=SIGNED_IN,
            description="Whether the caller holds a permission for this object.",
            python_name="viewer_can",
            graphql_name="viewerCan",
        )
        declared.fields = {"id": identity, **declared.fields, "viewerCan": can}
        cls.__declaration__ = declared
        return cls

    return declare


def object_type(
    name: str,
    *,
    permission: str | None = None,
    table: Table | None = None,
    key: Expression | None = None,
    visible: Visible | None = None,
    team: Operand | None = None,
    description: str | None = None,
) -> Callable[[Class], Class]:
    """An object type without a global id: rows of a table, a part of another type's row (`embedded`), or a mapping.

    With a table, operands are SQL; without, keys of the mapping, and a bare annotation reads the key of its own name.
    Without a permission, the field that leads here has decided.
    """

    def declare(cls: Class) -> Class:
        selectable = None if table is None else selectable_of(table)
        own_key = key if key is not None or selectable is None else selectable.c.get("id")
        cls.__declaration__ = TypeDeclaration(
            name,
            cls,
            selectable,
            own_key,
            visible,
            permission or SIGNED_IN,
            team,
            False,
            description or docstring_of(cls),
            fields_of(cls),
        )
        return cls

    return declare


def payload(cls: Class) -> Class:
    """The answer of a mutation: an object type over the mapping that the mutation returns, and `errors`."""
    declared = TypeDeclaration(
        cls.__name__, cls, None, None, None, SIGNED_IN, None, False, docstring_of(cls), fields_of(cls), is_payload=True
    )
    errors = FieldDeclaration(
        JsonValue("InputError", "errors", many=True, nullable=False),
        description="What the caller can mend; empty where all went well.",
        python_name="errors",
        graphql_name="errors",
    )
    declared.fields["errors"] = errors
    cls.__declaration__ = declared
    return cls


def extend(name: str, *, permission: str | None = None) -> Callable[[Class], Class]:
    """Add the fields of the class to the type of that name; `permission` is for those that name none."""

    def declare(cls: Class) -> Class:
        fields = fields_of(cls)
        for one_field in fields.values():
            one_field.permission = one_field.permission or permission
        cls.__extension__ = Extension(name, fields)
        return cls

    return declare


def column(
    expression: Operand, *, permission: str | None = None, description: str | None = None, name: str | None = None
) -> Any:  # noqa: ANN401 -- stands where the annotated value will be
    """A column or SQL expression (or the key of a value); the annotation says its GraphQL type."""
    return FieldDeclaration(Column(expression), permission, description, name=name)


def one(
    target: str,
    *,
    local: Operand,
    remote: Expression | None = None,
    nullable: bool = True,
    permission: str | None = None,
    description: str | None = None,
) -> Any:  # noqa: ANN401
    """One object of another type. `nullable=False` only where every caller who sees us sees the target."""
    return FieldDeclaration(One(target, local, remote, nullable), permission, description)


def many(
    target: str,
    *,
    local: Operand | None,
    remote: Expression | None,
    order_by: Sequence[Expression],
    maximum: int = LIST_MAXIMUM,
    where: Where = (),
    through: tuple[Table, ColumnElement[bool]] | None = None,
    permission: str | None = None,
    description: str | None = None,
) -> Any:  # noqa: ANN401
    """A plain list with a named maximum. `through=(table, clause)` joins a table of pairs, whose column is `remote`."""
    return FieldDeclaration(Many(target, local, remote, order_by, maximum, where, through), permission, description)


def many_by_ids(
    target: str,
    ids: Operand,
    *,
    maximum: int = LIST_MAXIMUM,
    permission: str | None = None,
    description: str | None = None,
) -> Any:  # noqa: ANN401
    """A plain list of the objects whose keys stand in an array of our row (or mapping); invisible ones are left out."""
    return FieldDeclaration(ManyByIds(target, ids, maximum), permission, description)


def connection(
    target: str,
    *,
    local: Operand | None = None,
    remote: Expression | None = None,
    where: Where = (),
    through: tuple[Table, ColumnElement[bool]] | None = None,
    filter: type[Any] | None = None,  # noqa: A002 -- the argument's name in GraphQL
    orders: Orders | None = None,
    default_order: Sequence[Any] = (),
    total_count: bool = True,
    count_maximum: int | None = None,
    name: str | None = None,
    scope: Callable[..., Scope] | None = None,
    edge: type[Any] | None = None,
    facts: type[Any] | None = None,
    reference: tuple[str, str, Mapping[str, str]] | None = None,
    permission: str | None = None,
    description: str | None = None,
) -> Any:  # noqa: ANN401
    """A Relay connection `(first, after[, filter][, orderBy][, arguments of scope])`; without `local` a list of all.

    `default_order` without one is the key, newest first; the key is always added as the last order. `count_maximum`
    gives `count { value exact }` that stops counting there. `name` is needed where a target has two kinds of
    connection: it names `<name>Connection` and `<name>Edge`. `edge` and `facts` are `object_type`s without a table,
    whose fields are the keys of `Scope.edge` and `Scope.facts`.
    """
    source = Connection(
        target, local, remote, where, through, filter, orders, default_order, total_count, count_maximum, name, scope,
        edge, facts, reference,
    )  # fmt: skip
    return FieldDeclaration(source, permission, description)


def embedded(
    target: str, *, when: Operand | None = None, permission: str | None = None, description: str | None = None
) -> Any:  # noqa: ANN401
    """An object of another type made from our own row; null where the boolean `when` is not true."""
    return FieldDeclaration(Embedded(target, when), permission, description)


def json_list(
    target: str, expression: Operand, *, permission: str | None = None, description: str | None = None
) -> Any:  # noqa: ANN401
    """A list of objects kept as a JSON array; NULL is an empty list."""
    return FieldDeclaration(JsonValue(target, expression, many=True, nullable=False), permission, description)


def json_object(
    target: str,
    expression: Operand,
    *,
    nullable: bool = True,
    permission: str | None = None,
    description: str | None = None,
) -> Any:  # noqa: ANN401
    """An object kept as a JSON object."""
    return FieldDeclaration(JsonValue(target, expression, many=False, nullable=nullable), permission, description)


def reason(
    code: Expression, message: Expression, *, permission: str | None = None, description: str | None = None
) -> Any:  # noqa: ANN401
    """A `Reason { code message }` kept in two columns of our row; null where the code is."""
    pair = case(
        (code.is_not(None), func.jsonb_build_object("code", code, "message", func.coalesce(message, ""), type_=JSONB)),
        else_=null(),
    )
    return FieldDeclaration(JsonValue("Reason", pair, many=False, nullable=True), permission, description)


def reference(
    kind: Operand,
    key: Operand,
    *,
    types: Mapping[str, str],
    seen: bool = False,
    permission: str | None = None,
    description: str | None = None,
) -> Any:  # noqa: ANN401
    """A `Node` whose type is stored beside its key; null where it is absent or not visible, which `seen` rules out."""
    return FieldDeclaration(Reference(kind, key, types, seen), permission, description)


def references(
    kind: Operand,
    key: Operand,
    *,
    types: Mapping[str, str],
    local: Operand | None = None,
    remote: Expression | None = None,
    table: Table | None = None,
    order_by: Sequence[Expression] = (),
    maximum: int = LIST_MAXIMUM,
    permission: str | None = None,
    description: str | None = None,
) -> Any:  # noqa: ANN401
    """A list of `Node`s: `kind` and `key` are two arrays of our row, or with `local` two columns of `table`."""
    source = References(kind, key, types, maximum, local, remote, table, order_by)
    return FieldDeclaration(source, permission, description)


def find(target: str, *, permission: str, description: str | None = None) -> Callable[[Callable[..., Clauses]], Any]:
    """Decorates a function from the field's arguments to the clauses that find one visible object, or null."""

    def declare(clauses: Callable[..., Clauses]) -> FieldDeclaration:
        return FieldDeclaration(Find(target, clauses), permission, description or clauses.__doc__)

    return declare


def resolver(
    *,
    needs: Mapping[str, Operand] | None = None,
    returns: str | None = None,
    many: bool = False,
    nullable: bool = True,
    permission: str | None = None,
    description: str | None = None,
) -> Callable[[Callable[..., Awaitable[Any] | Any]], Any]:
    """Decorates `function(context, values, *, …arguments)`: Python for one object, where nothing declared fits.

    `values` holds the operands of `needs` by name. Never a statement here: use `batched` for those. What it returns:
    with an annotation a plain value; with `returns` a mapping, a `Record` or, for a type with a table, a key.
    """

    def declare(function: Callable[..., Awaitable[Any] | Any]) -> FieldDeclaration:
        source = Resolve(function, needs or {}, returns, many, nullable)
        return FieldDeclaration(source, permission, description or function.__doc__)

    return declare


def batched(
    *,
    key: Operand,
    returns: str | None = None,
    many: bool = False,
    nullable: bool = True,
    permission: str | None = None,
    description: str | None = None,
) -> Callable[[Callable[..., Awaitable[Mapping[Any, Any]]]], Any]:
    """Decorates `async function(context, keys, *, …arguments)` that answers for all objects of a level in one go.

    It returns a mapping from key to what `resolver` would return; a key left out is null (or an empty list). The
    function's return annotation is `Mapping[UUID, X]`, with X the field's type unless `returns` names one.
    """

    def declare(function: Callable[..., Awaitable[Mapping[Any, Any]]]) -> FieldDeclaration:
        source = Batched(function, key, returns, many, nullable)
        return FieldDeclaration(source, permission, description or function.__doc__)

    return declare


def calculated(
    *,
    key: Expression,
    returns: str | None = None,
    value: Any = None,  # noqa: ANN401 -- an annotation
    many: bool = False,
    nullable: bool = True,
    permission: str | None = None,
    description: str | None = None,
) -> Callable[[Callable[..., ColumnElement[Any]]], Any]:
    """Decorates `function(viewing, *, …arguments)` that gives SQL over the type's own row, for a column with arguments.

    With `returns` the SQL is JSON of that type's keys, else a value of the annotation `value`. `viewing` says who asks
    and what exists for them (`guildhall.graphql.viewing`); nothing else of the request may decide what the SQL is.
    """

    def declare(function: Callable[..., ColumnElement[Any]]) -> FieldDeclaration:
        source = Calculated(function, key, returns, value, many, nullable)
        return FieldDeclaration(source, permission, description or function.__doc__)

    return declare
