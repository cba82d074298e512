"""The plan of a document: what its statement reads and what text it makes of it, as plain data.

A `Level` is one SELECT over the rows of one type. Everything else is about text: an object is its members, and a member
is a value of the row (`Leaf`), something made for a level below, or a fixed text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphql import GraphQLOutputType
from sqlalchemy import FromClause

from guildhall.graphql.compiler.python_fields import Prepared
from guildhall.graphql.compiler.runs import Run
from guildhall.graphql.declarations import TypeDeclaration
from guildhall.graphql.sources import Expression
from guildhall.graphql.statements import Order

Slot: TypeAlias = int
"""The number of a fragment that each request makes anew."""


@dataclass(frozen=True)
class RowValue:
    """A column of a level's SELECT."""

    alias: str
    column: str


@dataclass(frozen=True)
class JsonKey:
    """A key of a JSON object; `ours` says that the request made the object, and not the database."""

    value: str
    key: str
    ours: bool = False


Value: TypeAlias = RowValue | JsonKey


def json_text(value: Value, alias: str | None) -> str:
    """Where SQL finds the JSON of an object: in an element of a list, or in the value itself."""
    if alias is not None:
        return f"{alias}.v"
    if isinstance(value, RowValue):
        return f"{value.alias}.{value.column}"
    return f"({value.value} -> '{value.key}')"


@dataclass(frozen=True)
class SlotPart:
    """One clause of a slot's fragment: of those that play the part, the one in this place."""

    slot: Slot
    part: str
    place: int = 0


@dataclass(frozen=True)
class Link:
    """A level's rows are those whose `remote` equals a value of the object above."""

    remote: Expression
    local: Value


@dataclass
class Level:
    """One SELECT over `base`; `columns` by label, each a name and the expression or the part of a slot that gives it.

    `listing` is the slot of what follows from arguments: WHERE, ORDER BY, where the page begins, rows joined in.
    `numbered` gives each row its number and the total of those fetched; `placed` adds the values it is ordered by.
    """

    alias: str
    base: FromClause | None
    target: TypeDeclaration | None = None
    columns: "dict[str, tuple[str, Any]]" = field(default_factory=dict)
    link: Link | None = None
    visible: Slot | None = None
    where: Sequence[Any] = ()
    order_by: Sequence[Order] = ()
    listing: Slot | None = None
    limit: "int | Callable[[Run], int] | None" = None
    numbered: bool = False
    placed: bool = False


@dataclass(frozen=True)
class Fixed:
    """A text known when the plan is made."""

    text: str


@dataclass(frozen=True)
class Leaf:
    """A scalar or an enum, as its GraphQL type writes it."""

    value: Value
    type: GraphQLOutputType
    global_id_of: str | None = None


@dataclass(frozen=True)
class Object:
    """The members in the order of the document; a `level` whose reads are recorded puts its mark before them."""

    members: Sequence[tuple[str, "Member"]]
    recorded: "tuple[int, RowValue] | None" = None


@dataclass(frozen=True)
class Embedded:
    """An object of the same row, null where `when` is not true."""

    body: Object
    when: Value | None


@dataclass(frozen=True)
class Single:
    """At most one row of a level."""

    level: Level
    body: Object
    nullable: bool


@dataclass(frozen=True)
class Listed:
    """The rows of a level, as a list."""

    level: Level
    body: Object


@dataclass(frozen=True)
class JsonObject:
    """An object kept as JSON; a list of them where `alias` names the elements."""

    value: Value
    body: Object
    nullable: bool
    alias: str | None = None


@dataclass(frozen=True)
class Chosen:
    """One node of a stored kind: the kind decides which level is read, or that the key alone tells all."""

    kind: Value
    choices: Mapping[str, "Single | Object"]


@dataclass(frozen=True)
class ByIds:
    """The rows named by an array of keys, in its order, without those that are not there."""

    ids: Value
    alias: str
    maximum: int
    body: Single


@dataclass(frozen=True)
class Pairs:
    """Nodes of several kinds: from the rows of a level, or from two arrays."""

    alias: str
    body: Chosen
    level: Level | None = None
    arrays: "tuple[Value, Value] | None" = None
    maximum: int = 0


@dataclass(frozen=True)
class CursorOf:
    """The place of a row in its list, signed with the keys that `signing` gives."""

    signing: Slot
    parent: Value | None
    level: Level


@dataclass(frozen=True)
class CursorCheck:
    """That the cursor which a page begins at belongs to the list of `listing`, asked when the text is finished."""

    listing: Slot
    parent: Value


@dataclass(frozen=True)
class Page:
    """A connection. The parts tell what of its rows is wanted; `level` is None where no rows are."""

    members: Sequence[tuple[str, "Member"]]
    level: Level | None
    first: "Callable[[Run], int] | None"
    check: "CursorCheck | None" = None


@dataclass(frozen=True)
class Rows:
    """In a page: its rows as a list of objects; those whose `kept` is not there are left out."""

    body: "Member"
    kept: "Member | None" = None


@dataclass(frozen=True)
class HasNext:
    """In a page: whether there is a row beyond it."""


@dataclass(frozen=True)
class EndOf:
    """In a page: the cursor of its first or last row, or null."""

    cursor: CursorOf
    last: bool


@dataclass(frozen=True)
class Count:
    """In a page: the number of a level's rows."""

    level: Level


@dataclass(frozen=True)
class CountTo:
    """In a page: the number of a level's rows as an object `{value exact}`, counted no further than the maximum."""

    level: Level
    maximum: int
    members: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Fact:
    """In a page: a value about the whole list, given by a slot."""

    part: SlotPart
    type: GraphQLOutputType


@dataclass(frozen=True)
class Bound:
    """What Python gave before the statement: objects as JSON, or without a `body` a finished text."""

    prepared: Prepared
    alias: str = ""
    body: "Object | None" = None
    nullable: bool = True


@dataclass(frozen=True)
class Called:
    """What Python says when the statement has returned: a mark with the operands, by the field's number in the plan."""

    number: int
    operands: Sequence[tuple[str, Value]]


@dataclass(frozen=True)
class Allowed:
    """Whether the caller may do in a team what `slot` asks about."""

    slot: Slot
    team: Value | None


@dataclass(frozen=True)
class Guarded:
    """A member that asks for a permission of the row's team; without it the answer holds a mistake."""

    member: "Member"
    allowed: Allowed


Member: TypeAlias = (
    Fixed | Leaf | Object | Embedded | Single | Listed | JsonObject | Chosen | ByIds | Pairs | CursorOf | Page | Rows
    | HasNext | EndOf | Count | CountTo | Fact | Bound | Called | Allowed | Guarded
)  # fmt: skip
