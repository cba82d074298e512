"""Filters of lists: an input type whose fields say which SQL clause they become, beside the type that is listed.

    @filters("JobFilter")
    class JobFilter:
        state: JobState = matches(Job.state)                        # {state: {eq: …, in: […]}}
        created_at: datetime = matches(Job.created_at)              # {createdAt: {from: …, to: …}}, half open
        team: str = matches(Team.name, via=lambda clause: Job.team_id.in_(select(Team.id).where(clause)))
        text: str = matching(lambda value, context: Job.name.contains(value, autoescape=True))   # {text: …}

All fields are optional, and those given are joined by AND; an empty filter is none.
"""

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, false
from strawberry.utils.str_converters import to_camel_case

from guildhall.errors import LimitExceeded
from guildhall.graphql.context import Context
from guildhall.graphql.scalars import BigInt, Credits
from guildhall.graphql.sources import Expression

IN_MAXIMUM = 200
"""The most values of one `in`."""

Class = TypeVar("Class", bound=type[Any])
RANGES: dict[Any, str] = {
    datetime: "DateTime",
    date: "Date",
    int: "Int",
    float: "Float",
    BigInt: "BigInt",
    Credits: "Credits",
}
CHOICES: dict[Any, str] = {str: "String", bool: "Boolean"}


class TooManyValues(LimitExceeded):
    """An `in` with more values than a filter takes."""

    code = "TOO_MANY_VALUES"


@dataclass
class FilterField:
    """One field of a filter; `expression` with the operators of its type, or `clause` of the plain value."""

    expression: Expression | None = None
    via: Callable[[ColumnElement[bool]], ColumnElement[bool]] | None = None
    clause: Callable[[Any, Context], ColumnElement[bool]] | None = None
    description: str | None = None
    python_name: str = ""
    graphql_name: str = ""
    annotation: Any = None


@dataclass
class FilterDeclaration:
    """A filter's name and its fields by GraphQL name."""

    name: str
    origin: type[Any]
    fields: dict[str, FilterField]


def filters(name: str) -> Callable[[Class], Class]:
    """Declare an input type of filter fields."""

    def declare(cls: Class) -> Class:
        hints = typing.get_type_hints(cls, include_extras=True)
        fields = {}
        for python_name, declared in vars(cls).items():
            if isinstance(declared, FilterField):
                declared.python_name = python_name
                declared.graphql_name = to_camel_case(python_name.removesuffix("_"))
                declared.annotation = hints[python_name]
                fields[declared.graphql_name] = declared
        cls.__filter__ = FilterDeclaration(name, cls, fields)
        return cls

    return declare


def matches(
    expression: Expression,
    *,
    via: Callable[[ColumnElement[bool]], ColumnElement[bool]] | None = None,
    description: str | None = None,
) -> Any:  # noqa: ANN401 -- stands where the annotated value will be
    """Compare an expression: `{eq in}` for texts, enums and booleans, `{from to}` (half open) for what has an order.

    `via` carries the clause to the listed table, where the expression belongs to another one.
    """
    return FilterField(expression=expression, via=via, description=description)


def matching(clause: Callable[[Any, Context], ColumnElement[bool]], *, description: str | None = None) -> Any:  # noqa: ANN401
    """A field that takes a plain value of the annotated type; `clause(value, context)` is what it means."""
    return FilterField(clause=clause, description=description)


def operator_type(annotation: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 -- an annotation
    """Name and fields (name to annotation) of the input type that compares values of the annotated type."""
    if annotation in RANGES:
        return f"{RANGES[annotation]}Range", {"from_": annotation | None, "to": annotation | None}
    if annotation in CHOICES:
        return f"{CHOICES[annotation]}Choice", {"eq": annotation | None, "in_": list[annotation] | None}
    assert isinstance(annotation, type), f"no filter operators for {annotation!r}"
    assert issubclass(annotation, Enum), f"no filter operators for {annotation!r}"
    return f"{annotation.__name__}Choice", {"eq": annotation | None, "in_": list[annotation] | None}


def filter_clauses(
    declared: FilterDeclaration, value: Mapping[str, Any] | None, context: Context
) -> list[ColumnElement[bool]]:
    """The clauses of a filter value (by GraphQL names, as graphql-core has coerced it)."""
    clauses = []
    for name, given in (value or {}).items():
        if given is None:
            continue
        field = declared.fields[name]
        if field.clause is not None:
            clauses.append(field.clause(given, context))
            continue
        clauses.extend(_comparisons(field, given))
    return clauses


def _comparisons(field: FilterField, given: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    expression: Any = field.expression
    comparisons: list[ColumnElement[bool]] = []
    for operator, value in given.items():
        if value is None:
            continue
        if operator == "eq":
            comparisons.append(expression == value)
        elif operator == "in":
            if len(value) > IN_MAXIMUM:
                raise TooManyValues(f"A filter compares with {IN_MAXIMUM} values at most; {len(value)} were given.")
            comparisons.append(expression.in_(value) if value else false())
        elif operator == "from":
            comparisons.append(expression >= value)
        else:
            assert operator == "to", f"unknown operator {operator}"
            comparisons.append(expression < value)
    return [field.via(clause) for clause in comparisons] if field.via is not None else comparisons
