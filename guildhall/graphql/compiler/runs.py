"""One run of a compiled document: the request's context, its variables and the arguments of its fields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphql import FieldNode, GraphQLField
from graphql.execution.values import VariableValues

from guildhall.graphql.compiler.inputs import Arguments, FallBack
from guildhall.graphql.context import Context
from guildhall.graphql.pages import given_text

__all__ = ["FallBack", "FieldCall", "Run"]


@dataclass(frozen=True, eq=False)
class FieldCall:
    """One field of a document with its arguments."""

    definition: GraphQLField
    node: FieldNode
    coordinate: str

    @cached_property
    def arguments(self) -> Arguments:
        """The arguments, with all that the document decides done once."""
        return Arguments(self.definition, self.node)

    @cached_property
    def text(self) -> str | None:
        """The arguments as `given_text` writes them, None where they differ from request to request."""
        return given_text(self.arguments.fixed) if self.arguments.constant else None

    @property
    def convert(self) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """From coerced GraphQL arguments to the Python ones of a declared function."""
        converter: Callable[[Mapping[str, Any]], dict[str, Any]] = self.definition.extensions["arguments"]
        return converter


@dataclass
class Run:
    """The context and coerced variables of one request; arguments are coerced once for each field.

    `given` is what Python gave before the statement, by the field that asked; `rules` what is kept for the caller.
    """

    context: Context
    variables: VariableValues
    given: dict[object, str] = field(default_factory=dict)
    rules: dict[Any, Any] | None = None
    _arguments: dict[FieldCall, dict[str, Any]] = field(default_factory=dict)

    @property
    def caller(self) -> tuple[object, ...]:
        """Who asks, as far as rules may tell callers apart; the policy is apart."""
        actor = self.context.actor
        return (actor.kind, actor.id, actor.team_id, actor.on_behalf_of, actor.job)

    def arguments(self, call: FieldCall) -> dict[str, Any]:
        """The coerced arguments of a field, by their GraphQL names."""
        found = self._arguments.get(call)
        if found is None:
            found = self._arguments[call] = call.arguments.values(self.variables)
        return found

    def text(self, call: FieldCall) -> str:
        """What of the arguments makes a list another list, in one way of writing."""
        return given_text(self.arguments(call)) if call.text is None else call.text
