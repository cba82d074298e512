"""Where a field's value comes from: plain data beside each type, read by the loaders now and by a compiler later.

An `Operand` is a SQL expression over the type's own table, a function of the request's `Context` that gives one, or
(for types without a table: payloads, JSON, resolved objects) the key of a value in the mapping that the object is
made from.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, FromClause
from sqlalchemy.orm import InstrumentedAttribute
from typing_extensions import override

from guildhall.graphql.context import Context

Expression: TypeAlias = ColumnElement[Any] | InstrumentedAttribute[Any]
Operand: TypeAlias = Expression | str | Callable[[Context], ColumnElement[Any]]
Clauses: TypeAlias = Sequence[ColumnElement[bool]]
Where: TypeAlias = Clauses | Callable[[Context], Clauses]
Table: TypeAlias = type[Any] | FromClause


class Source:
    """The base of every source; `operands` are what must be loaded with the object for the field to be answered."""

    def operands(self) -> Mapping[str, Operand]:
        """Part name to operand."""
        return {}


@dataclass(frozen=True)
class Column(Source):
    """A column or a SQL expression of the object's own row, or a value of its mapping."""

    expression: Operand

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {"": self.expression}


@dataclass(frozen=True)
class GlobalId(Source):
    """The global id of a node: its type's name and its key."""

    key: Operand

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {"": self.key}


@dataclass(frozen=True)
class ViewerCan(Source):
    """Whether the caller may do something with the object: a question to the policy, with the object's team."""

    team: Operand | None

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {} if self.team is None else {"team": self.team}


@dataclass(frozen=True)
class One(Source):
    """At most one object of another type: the row whose `remote` column (its key, if None) equals our `local`."""

    target: str
    local: Operand
    remote: Expression | None
    nullable: bool

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {"local": self.local}


@dataclass(frozen=True)
class Many(Source):
    """A short list: the rows whose `remote` equals our `local`, through a table of pairs where one is named."""

    target: str
    local: Operand | None
    remote: Expression | None
    order_by: Sequence[Expression]
    maximum: int
    where: Where = ()
    through: "tuple[Table, ColumnElement[bool]] | None" = None

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {} if self.local is None else {"local": self.local}


@dataclass(frozen=True)
class ManyByIds(Source):
    """A short list: the rows named by an array of keys in our own row, in its order."""

    target: str
    ids: Operand
    maximum: int

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {"ids": self.ids}


@dataclass(frozen=True)
class Embedded(Source):
    """An object of another type made from our own row; null where `when` is false."""

    target: str
    when: Operand | None

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {} if self.when is None else {"when": self.when}


@dataclass(frozen=True)
class JsonValue(Source):
    """An object, or a list of objects, kept as JSON in our own row."""

    target: str
    expression: Operand
    many: bool
    nullable: bool

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {"": self.expression}


@dataclass(frozen=True)
class Reference(Source):
    """At most one node whose type is itself a value: `types` maps the stored kind to the type's name.

    `seen` where the SQL that made the object gives only what exists for the caller, so that nobody asks again.
    """

    kind: Operand
    key: Operand
    types: Mapping[str, str]
    seen: bool = False

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {"kind": self.kind, "key": self.key}


@dataclass(frozen=True)
class References(Source):
    """A short list of nodes of several types: from two arrays of our row, or from a table of (remote, kind, key)."""

    kind: Operand
    key: Operand
    types: Mapping[str, str]
    maximum: int
    local: Operand | None = None
    remote: Expression | None = None
    table: "Table | None" = None
    order_by: Sequence[Expression] = ()

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {"kind": self.kind, "key": self.key} if self.local is None else {"local": self.local}


@dataclass(frozen=True)
class Scope:
    """What one call of a connection adds to its statement, made from the arguments.

    `rows` is a subquery with a column `id` (the target's key) that is joined in, for ranks, distances and the like;
    `edge` are values of each edge, `facts` scalar expressions about the whole list. `order_by` replaces the default
    order and must be free of NULLs; each may be `.desc()`, or a `statements.Order`.
    """

    where: "Sequence[ColumnElement[bool]]" = ()
    rows: FromClause | None = None
    order_by: "Sequence[Any]" = ()
    edge: "Mapping[str, ColumnElement[Any]]" = field(default_factory=dict)
    facts: "Mapping[str, ColumnElement[Any]]" = field(default_factory=dict)


@dataclass(frozen=True)
class Connection(Source):
    """A Relay connection. For the target "Node" only `scope.rows` is read; `reference` says (kind, key, types)."""

    target: str
    local: Operand | None
    remote: Expression | None
    where: Where
    through: "tuple[Table, ColumnElement[bool]] | None"
    filter: type[Any] | None
    orders: "Orders | None"
    default_order: "Sequence[Any]"
    total_count: bool
    count_maximum: int | None
    name: str | None
    scope: "Callable[..., Scope] | None"
    edge: type[Any] | None
    facts: type[Any] | None
    reference: "tuple[str, str, Mapping[str, str]] | None"

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {} if self.local is None else {"local": self.local}


@dataclass(frozen=True)
class Orders:
    """What a list of one type can be ordered by: the enum `<name>OrderField`, its values' expressions free of NULLs."""

    name: str
    fields: Mapping[str, Expression]


@dataclass(frozen=True)
class Find(Source):
    """At most one object, found by the field's arguments: the function gives the clauses of its WHERE."""

    target: str
    clauses: "Callable[..., Clauses]"


@dataclass(frozen=True)
class Resolve(Source):
    """Python for one object: `function(context, values, **arguments)`; for what no statement can say."""

    function: "Callable[..., Awaitable[Any] | Any]"
    needs: Mapping[str, Operand]
    target: str | None
    many: bool
    nullable: bool

    @override
    def operands(self) -> Mapping[str, Operand]:
        return self.needs


@dataclass(frozen=True)
class Batched(Source):
    """Python for all objects of a level at once: `function(context, keys, **arguments)` gives a mapping by key."""

    function: "Callable[..., Awaitable[Mapping[Any, Any]]]"
    key: Operand
    target: str | None
    many: bool
    nullable: bool

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {"key": self.key}


@dataclass(frozen=True)
class Calculated(Source):
    """SQL over our own row that depends on arguments or on the caller alone: `function(viewing, **arguments)`.

    JSON where `target` names a type, else a value of the annotation `value`. `key` is the row's own key.
    """

    function: "Callable[..., ColumnElement[Any]]"
    key: Expression
    target: str | None
    value: Any
    many: bool
    nullable: bool

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {"key": self.key}


@dataclass(frozen=True)
class Given(Source):
    """A value of the mapping that is already made of records: the parts of generated types such as connections."""

    key: str
    target: str
    many: bool = False
    nullable: bool = False

    @override
    def operands(self) -> Mapping[str, Operand]:
        return {"": self.key}


@dataclass(frozen=True)
class NodeById(Source):
    """The root field `node(id:)`."""


@dataclass(frozen=True)
class Mutation(Source):
    """The root field of one mutation; `guildhall.graphql.mutations` says what it does."""

    function: "Callable[..., Awaitable[Mapping[str, Any]]]"
    prepare: "Callable[..., Awaitable[Any]] | None"
    payload: type[Any]
    input: type[Any]
    secret: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Subscription(Source):
    """The root field of one subscription; `guildhall.graphql.subscriptions` says what becomes of it."""

    function: "Callable[..., Any]"
    target: str
