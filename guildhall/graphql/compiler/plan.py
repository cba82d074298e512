"""The plan of one document while it is made: levels, slots, and what is asked of each request."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement

from guildhall.auth.permissions import PERMISSIONS
from guildhall.graphql import statements
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.compiler.frames import Frame, NoOperand, RowFrame
from guildhall.graphql.compiler.leaves import NoText
from guildhall.graphql.compiler.python_fields import Called, Prepared
from guildhall.graphql.compiler.runs import FieldCall
from guildhall.graphql.compiler.shapes import Fixed, Leaf, Level, Link, Member, Object, Slot, Value
from guildhall.graphql.compiler.slots import Computed, Source, Visible
from guildhall.graphql.declarations import TypeDeclaration
from guildhall.graphql.recording import Recorded
from guildhall.graphql.sources import Mutation, Operand, Table

ITEMS = "items"
"""What a statement calls the objects that Python gave it as JSON."""


class NotCompilable(Exception):
    """No statement answers this document; `path` is the field that only Python can."""

    def __init__(self, reason: str, path: Sequence[str] = ()) -> None:
        super().__init__(f"{'.'.join(path)}: {reason}" if path else reason)
        self.reason = reason
        self.path = tuple(path)


@dataclass(frozen=True)
class Change:
    """The one mutation of a document: under which key it answers, what it runs and with which arguments."""

    key: str
    call: FieldCall
    source: Mutation


Told: TypeAlias = tuple[TypeDeclaration, tuple[Any, Any]]
"""The type whose rule the row above was found under, and the pair of expressions (its, ours) that links the two."""


def told_by(frame: Frame, local: Operand, remote: Any) -> Told | None:  # noqa: ANN401 -- an expression
    """What a row tells of those that it leads to; a JSON object tells nothing."""
    if not isinstance(frame, RowFrame) or frame.level.target is None:
        return None
    return frame.level.target, (local, remote)


def told_by_key(body: Object, key: Value) -> Object | None:
    """The same object made from its key; None where more of its row is wanted, or that it was read is recorded."""
    members: list[tuple[str, Member]] = []
    for name, member in body.members:
        if isinstance(member, Leaf) and member.global_id_of is not None:
            members.append((name, replace(member, value=key)))
        elif isinstance(member, Fixed):
            members.append((name, member))
        else:
            return None
    return Object(members) if body.recorded is None else None


class at:  # noqa: N801 -- read as a word: `with at(key)`
    """What is not compilable within is so at this response key."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __enter__(self) -> None:
        """Nothing to do; a document has hundreds of these."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """The same refusal, with where it is."""
        if isinstance(error, NotCompilable):
            raise NotCompilable(error.reason, [self._key, *error.path]) from error
        if isinstance(error, NoText | NoOperand):
            raise NotCompilable(str(error), [self._key]) from error


@dataclass(eq=False)
class Plan:
    """What the statement is made of, and what each request is asked for it.

    `slots` are the fragments that a request makes, `records` the permission and rule of reads that are recorded,
    `permissions` those without which the root refuses. `prepared` is what Python gives before the statement, `called`
    what it does after it, with the plan of the objects that it returns. `change` is the mutation whose payload the root
    is. `statements` are kept by the shapes of the fragments.
    """

    catalogue: Catalogue
    root: Object = field(default_factory=lambda: Object(()))
    slots: list[Source] = field(default_factory=list)
    records: list[tuple[str, Recorded]] = field(default_factory=list)
    permissions: list[str] = field(default_factory=list)
    prepared: list[Prepared] = field(default_factory=list)
    called: "list[tuple[Called, Plan | None]]" = field(default_factory=list)
    change: "Change | None" = None
    statements: "OrderedDict[tuple[int, ...], Any]" = field(default_factory=OrderedDict)
    fields: int = 0
    _names: int = 0
    _twins: Counter[str] = field(default_factory=Counter)
    _rules: dict[tuple[object, ...], Slot] = field(default_factory=dict)

    def alias(self) -> str:
        """A name for the rows of a level, or for the elements of a list."""
        self._names += 1
        return f"r{self._names}"

    def slot(self, source: Source) -> Slot:
        """The number of a new slot."""
        self.slots.append(source)
        return len(self.slots) - 1

    def computed(self, label: str, operand: Callable[[Any], ColumnElement[Any]]) -> Slot:
        """The slot of a column that depends on the request."""
        return self.slot(Computed(label, operand))

    def twin(self, coordinate: str) -> int:
        """How many columns of this field with arguments there are already."""
        self._twins[coordinate] += 1
        return self._twins[coordinate] - 1

    def level(
        self,
        target: TypeDeclaration,
        *,
        link: Link | None = None,
        through: "tuple[Table, ColumnElement[bool]] | None" = None,
        told: Told | None = None,
        where: Sequence[Any] = (),
        seen: bool = False,
    ) -> tuple[Level, RowFrame]:
        """The rows of a type that exist for the caller, and the frame of one of them.

        Where a row exists with the one above, which `told` names, that is not asked twice; `where` is known to hold.
        A row that was `seen` is known to exist.
        """
        assert target.table is not None, f"{target.name} has no table"
        level = Level(self.alias(), statements.joined(target.table, through), target, link=link)
        if seen:
            return level, RowFrame(level, self.computed)
        if target.visible is not None or (target.is_node and target.permission in PERMISSIONS):
            above, pair = (None, None) if told is None else told
            rule = Visible(target, above, pair, tuple(where))
            if rule.place not in self._rules:
                self._rules[rule.place] = self.slot(rule)
            level.visible = self._rules[rule.place]
        return level, RowFrame(level, self.computed)

    def recorded(self, target: TypeDeclaration, frame: RowFrame) -> "tuple[int, Any] | None":
        """Where reads of the type are recorded: the number of the rule, and the keys to record; after all members.

        An object of which nothing was read but that it is there is none that was read.
        """
        if target.recorded is None or target.permission is None or not frame.level.columns:
            return None
        keys = frame.value(self.catalogue.recorded_label(target), target.recorded.operand)
        self.records.append((target.permission, target.recorded))
        return len(self.records) - 1, keys
