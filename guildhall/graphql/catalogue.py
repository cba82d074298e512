"""All declared types together, extensions merged in, with the labels under which their operands are loaded."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement

from guildhall.graphql.context import Context
from guildhall.graphql.declarations import Extension, FieldDeclaration, TypeDeclaration
from guildhall.graphql.declare import PUBLIC, SIGNED_IN
from guildhall.graphql.sources import Connection, Operand, Source

_TEAM = "team of the row"
_RECORDED = "resources of a read that is recorded"


class Catalogue:
    """The types by name; `operands` by label for every type that has a table or is embedded in one."""

    def __init__(self, types: Iterable[TypeDeclaration], extensions: Iterable[Extension]) -> None:
        self.types: dict[str, TypeDeclaration] = {}
        for declared in types:
            assert declared.name not in self.types, f"two types are named {declared.name}"
            self.types[declared.name] = declared
        for extension in extensions:
            self._extend(extension)
        self.operands: dict[str, Operand] = {}
        for declared in self.types.values():
            for field in declared.fields.values():
                for part, operand in field.source.operands().items():
                    self.operands[self.label(declared, field, part)] = operand
            if declared.team is not None:
                self.operands[self.team_label(declared)] = declared.team
            if declared.recorded is not None:
                self.operands[self.recorded_label(declared)] = declared.recorded.operand

    def _extend(self, extension: Extension) -> None:
        assert extension.name in self.types, f"{extension.name} is extended but not declared"
        declared = self.types[extension.name]
        for name, field in extension.fields.items():
            assert name not in declared.fields, f"{extension.name}.{name} is declared twice"
            declared.fields[name] = field

    def unknown_targets(self) -> list[tuple[str, str, str]]:
        """(type, field, the type it leads to) for every field that leads to a type nobody declared."""
        return [
            (declared.name, name, target)
            for declared in self.types.values()
            for name, field in declared.fields.items()
            for target in targets(field.source)
            if target not in self.types
        ]

    def fields_without_permission(self) -> list[str]:
        """Fields that have no permission of their own below a type that has none, or only PUBLIC, to fall back on."""
        return [
            f"{declared.name}.{name}"
            for declared in self.types.values()
            for name, field in declared.fields.items()
            if field.permission is None and declared.permission in {None, PUBLIC}
        ]

    def label(self, declared: TypeDeclaration, field: FieldDeclaration, part: str) -> str:
        """Where a record keeps the value of one operand."""
        return f"{declared.name}.{field.graphql_name}.{part}" if part else f"{declared.name}.{field.graphql_name}"

    def team_label(self, declared: TypeDeclaration) -> str:
        """Where a record keeps its team's id, for the permissions of fields."""
        return f"{declared.name}.{_TEAM}"

    def recorded_label(self, declared: TypeDeclaration) -> str:
        """Where a record keeps what the audit record is to say of its being read."""
        return f"{declared.name}.{_RECORDED}"

    def is_guarded(self, declared: TypeDeclaration, field: FieldDeclaration) -> bool:
        """Whether the field asks for a permission beyond the one that made the object visible."""
        return field.permission not in {None, PUBLIC, SIGNED_IN, declared.permission}

    def expression(self, label: str, context: Context) -> ColumnElement[Any]:
        """The SQL of a label; only for types made from a table's row."""
        operand = self.operands[label]
        assert not isinstance(operand, str), f"{label} is a key, but its object is made from a row"
        if hasattr(operand, "__clause_element__") or isinstance(operand, ColumnElement):
            return operand  # type: ignore[return-value]
        return operand(context)


def targets(source: Source) -> set[str]:
    """The names of the object types that a source leads to; the interface Node is none."""
    named = {getattr(source, "target", None), *getattr(source, "types", {}).values()}
    if isinstance(source, Connection) and source.reference is not None:
        named |= set(source.reference[2].values())
    return {name for name in named if name not in {None, "Node"}}
