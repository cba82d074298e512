"""What a declaration is: plain data about types and their fields, gathered from decorated classes."""

import typing
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import FromClause
from strawberry.utils.str_converters import to_camel_case

from guildhall.graphql.context import Visible
from guildhall.graphql.recording import Recorded
from guildhall.graphql.sources import Column, Expression, Operand, Source, Table


@dataclass
class FieldDeclaration:
    """One field: `annotation` is a Python type for leaves, None where the source knows the type."""

    source: Source
    permission: str | None = None
    description: str | None = None
    deprecated: str | None = None
    name: str | None = None
    python_name: str = ""
    graphql_name: str = ""
    annotation: Any = None
    module: str = ""


@dataclass
class TypeDeclaration:
    """One object type with its fields by GraphQL name; `table` None means: made from a mapping."""

    name: str
    origin: type[Any]
    table: FromClause | None
    key: Expression | None
    visible: Visible | None
    permission: str | None
    team: Operand | None
    is_node: bool
    description: str | None
    fields: dict[str, FieldDeclaration] = field(default_factory=dict)
    is_payload: bool = False
    recorded: Recorded | None = None


@dataclass
class Extension:
    """Fields that an upper package adds to a lower one's type, or to Query."""

    name: str
    fields: dict[str, FieldDeclaration]


def selectable_of(table: Table) -> FromClause:
    """The table of a mapped class, or what is selectable already."""
    return table if isinstance(table, FromClause) else table.__table__


def docstring_of(cls: type[Any]) -> str | None:
    """A class's docstring in one line."""
    return None if cls.__doc__ is None else " ".join(cls.__doc__.split())


def fields_of(cls: type[Any]) -> dict[str, FieldDeclaration]:
    """The fields in the order written; a bare annotation reads the key of its own name."""
    hints = typing.get_type_hints(cls, include_extras=True)
    own = {name: value for name, value in vars(cls).items() if isinstance(value, FieldDeclaration)}
    names = [*own, *(name for name in vars(cls).get("__annotations__", {}) if name not in own)]
    fields = {}
    for name in names:
        declared = own.get(name) or FieldDeclaration(Column(name))
        declared.python_name = name
        declared.graphql_name = declared.name or to_camel_case(name.removesuffix("_"))
        declared.annotation = hints.get(name)
        declared.module = cls.__module__
        declared.description = None if declared.description is None else " ".join(declared.description.split())
        assert not (isinstance(declared.source, Column) and declared.annotation is None), (
            f"{cls.__name__}.{name}: annotate it"
        )
        fields[declared.graphql_name] = declared
    return fields
