"""One run of a compiled document: the request's context, its variables and the arguments of its fields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import FieldNode, GraphQLField
from graphql.execution.values import VariableValues, get_argument_values
from graphql.language import VariableNode, Visitor, visit

from guildhall.graphql.context import Context


class FallBack(Exception):
    """graphql-core is to answer this request: it holds a mistake, or something that no statement says.

    Whatever has to be said to the caller about a mistake is said by graphql-core alone, so there is one wording.
    """


@dataclass(frozen=True, eq=False)
class FieldCall:
    """One field of a document with its arguments."""

    definition: GraphQLField
    node: FieldNode
    coordinate: str
    constant: bool

    @property
    def convert(self) -> "Callable[[Mapping[str, Any]], dict[str, Any]]":
        """From coerced GraphQL arguments to the Python ones of a declared function."""
        converter: Callable[[Mapping[str, Any]], dict[str, Any]] = self.definition.extensions["arguments"]
        return converter


@dataclass
class Run:
    """The context and coerced variables of one request; arguments are coerced once for each field.

    `given` is what Python gave before the statement, by the field that asked.
    """

    context: Context
    variables: VariableValues
    given: dict[object, str] = field(default_factory=dict)
    _arguments: dict[FieldCall, dict[str, Any]] = field(default_factory=dict)

    def arguments(self, call: FieldCall) -> dict[str, Any]:
        """The coerced arguments of a field, by their GraphQL names."""
        found = self._arguments.get(call)
        if found is None:
            found = self._arguments[call] = get_argument_values(call.definition, call.node, self.variables)
        return found


def field_call(definition: GraphQLField, node: FieldNode, coordinate: str) -> FieldCall:
    """Whether the arguments hold a variable decides if they are the same for every request."""
    found = _Variables()
    visit(node, found)
    return FieldCall(definition, node, coordinate, constant=not found.seen)


class _Variables(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def enter_selection_set(self, *_: Any) -> object:  # noqa: ANN401 -- what graphql-core gives
        return self.SKIP

    def enter_directive(self, *_: Any) -> object:  # noqa: ANN401
        return self.SKIP

    def enter_variable(self, _node: VariableNode, *_: Any) -> None:  # noqa: ANN401
        self.seen = True
