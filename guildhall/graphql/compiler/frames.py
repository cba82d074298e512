"""Where the values of an object come from: the row of a level, or a JSON value."""

from collections.abc import Callable
from typing import Any, Protocol

from sqlalchemy import ColumnElement

from guildhall.graphql.compiler.shapes import JsonKey, Level, RowValue, SlotPart, Value
from guildhall.graphql.sources import Operand


class NoOperand(Exception):
    """An operand that an object of this kind does not have."""


class Frame(Protocol):
    """What an object is made from."""

    ours: bool

    def value(self, label: str, operand: Operand) -> Value:
        """The value of an operand."""


class RowFrame:
    """A row: operands become columns of its level, each once. `slot` numbers what depends on the request."""

    ours = False

    def __init__(self, level: Level, slot: Callable[[str, Callable[[Any], ColumnElement[Any]]], int]) -> None:
        self.level = level
        self._slot = slot

    def value(self, label: str, operand: Operand) -> RowValue:
        """The column of the operand."""
        if isinstance(operand, str):
            raise NoOperand(f"{label} is a key, and the object is a row")
        if label not in self.level.columns:
            made: Any = operand
            if callable(operand) and not hasattr(operand, "__clause_element__"):
                made = SlotPart(self._slot(label, operand), "column")
            self.level.columns[label] = (f"c{len(self.level.columns) + 1}", made)
        return RowValue(self.level.alias, self.level.columns[label][0])

    def part(self, label: str, slot: int) -> RowValue:
        """A column of its own, which a slot gives."""
        name = f"c{len(self.level.columns) + 1}"
        self.level.columns[f"{label} {slot}"] = (name, SlotPart(slot, "column"))
        return RowValue(self.level.alias, name)


class JsonFrame:
    """A JSON object: operands are its keys. `ours` says that the request made it, and not the database."""

    def __init__(self, value: str, *, ours: bool = False) -> None:
        self._value = value
        self.ours = ours

    def value(self, label: str, operand: Operand) -> JsonKey:
        """The key of the operand."""
        if not isinstance(operand, str):
            raise NoOperand(f"{label} is SQL, and the object is JSON")
        return JsonKey(self._value, operand, self.ours)
