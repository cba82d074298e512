"""What of a request decides which fields its statement has: the variables of @skip and @include, the type of an id."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphql import DirectiveNode, DocumentNode, FieldNode, GraphQLField, VariableNode
from graphql.language import REMOVE, Visitor, visit

from guildhall.graphql.compiler.runs import FieldCall, Run
from guildhall.graphql.ids import split_id


@dataclass(frozen=True)
class Switches:
    """Where to look in a request; `key` is the same for requests that one plan serves.

    `any_directive` is true also where all directives have fixed values, so that no request decides.
    """

    booleans: Sequence[str]
    nodes: Sequence[FieldCall]
    any_directive: bool

    def key(self, run: Run) -> tuple[object, ...]:
        """The values of the variables, and the types of the ids that `node` fields ask for."""
        coerced = run.variables.coerced
        return (*(coerced.get(name) for name in self.booleans), *(named_type(run, call) for call in self.nodes))


def named_type(run: Run, call: FieldCall) -> str | None:
    """The type in the id that a `node` field asks for, as the id says it; it may not exist."""
    found = split_id(run.arguments(call)["id"])
    return None if found is None else found[0]


def switches_of(document: DocumentNode, node_field: GraphQLField) -> Switches:
    """Found once for a document; `node_field` is the root field whose `id` argument names a type."""
    finder = _Switches()
    visit(document, finder)
    nodes = tuple(FieldCall(node_field, node, "Query.node") for node in finder.nodes)
    return Switches(tuple(dict.fromkeys(finder.names)), nodes, finder.any_directive)


def without_switches(document: DocumentNode) -> DocumentNode:
    """The document with all that it may ever select, to see whether all of it can be compiled."""
    stripped: DocumentNode = visit(document, _Stripper())
    return stripped


class _Switches(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.nodes: list[FieldNode] = []
        self.any_directive = False

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:  # noqa: ANN401 -- what graphql-core gives
        self.any_directive = True
        values = [argument.value for argument in node.arguments or ()]
        self.names += [value.name.value for value in values if isinstance(value, VariableNode)]

    def enter_field(self, node: FieldNode, *_: Any) -> None:  # noqa: ANN401
        if node.name.value == "node" and node.arguments:
            self.nodes.append(node)


class _Stripper(Visitor):
    def enter_directive(self, *_: Any) -> object:  # noqa: ANN401 -- what graphql-core gives
        return REMOVE
