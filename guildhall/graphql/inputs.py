"""Input types: dataclasses that strawberry reads; plain Python enums in them become GraphQL enums by themselves."""

import typing
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, dataclass_transform

import strawberry
from strawberry.utils.str_converters import to_camel_case

Class = TypeVar("Class", bound=type[Any])


@dataclass_transform(kw_only_default=True)
def input_type(cls: Class) -> Class:
    """An input object: annotated fields, optional where they have a default (mostly `X | None = None`)."""
    return _declare(cls, one_of=False)


@dataclass_transform(kw_only_default=True)
def one_of_input(cls: Class) -> Class:
    """An @oneOf input object: every field is `X | None = None`, and callers set exactly one."""
    return _declare(cls, one_of=True)


def adopt_enums(annotation: Any) -> None:  # noqa: ANN401 -- any annotation
    """Make GraphQL enums of the Python enums in an annotation, so that domain modules need not know strawberry."""
    if (
        isinstance(annotation, type)
        and issubclass(annotation, Enum)
        and "__strawberry_definition__" not in vars(annotation)
    ):
        strawberry.enum(annotation, description=_one_line(annotation.__doc__))
    for argument in typing.get_args(annotation):
        adopt_enums(argument)


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """A function's annotations, evaluated."""
    return typing.get_type_hints(function, include_extras=True)


def _declare(cls: Class, *, one_of: bool) -> Class:
    for annotation in typing.get_type_hints(cls, include_extras=True).values():
        adopt_enums(annotation)
    if one_of:  # a default, even None, would count as given; strawberry fills in None for what a caller leaves out
        for name in [name for name, value in vars(cls).items() if value is None and name in cls.__annotations__]:
            delattr(cls, name)
    declared: Class = strawberry.input(cls, one_of=one_of, description=_one_line(cls.__doc__))
    for field in declared.__strawberry_definition__.fields:
        if field.python_name.endswith("_") and field.graphql_name is None:
            field.graphql_name = to_camel_case(field.python_name.removesuffix("_"))
    return declared


def _one_line(text: str | None) -> str | None:
    return None if text is None else " ".join(text.split())


@input_type
class MutationInput:
    """What every mutation's input has."""

    idempotency_key: str | None = strawberry.field(
        default=None,
        description="The same key with the same input gives the first answer again and does nothing twice.",
    )
