"""What of a request decides which fields its statement has: the variables of @skip and @include, the type of an id."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    Node,
    OperationDefinitionNode,
    VariableNode,
)
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
        if not self.booleans and not self.nodes:
            return ()
        coerced = run.variables.coerced
        return (*(coerced.get(name) for name in self.booleans), *(named_type(run, call) for call in self.nodes))


def named_type(run: Run, call: FieldCall) -> str | None:
    """The type in the id that a `node` field asks for, as the id says it; it may not exist."""
    found = split_id(run.arguments(call)["id"])
    return None if found is None else found[0]


def switches_of(document: DocumentNode, node_field: GraphQLField) -> Switches:
    """Found once for a document; `node_field` is the root field whose `id` argument names a type."""
    finder = _Finder()
    for definition in document.definitions:
        assert isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode), "the document was validated"
        finder.look(definition)
    nodes = tuple(FieldCall(node_field, node, "Query.node") for node in finder.nodes)
    return Switches(tuple(dict.fromkeys(finder.names)), nodes, finder.any_directive)


def without_switches(document: DocumentNode) -> DocumentNode:
    """The document with all that it may ever select, to see whether all of it can be compiled."""
    stripped: DocumentNode = visit(document, _Stripper())
    return stripped


class _Finder:
    """Looks at selections only: graphql-core's visitor would look at every word of a document."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.nodes: list[FieldNode] = []
        self.any_directive = False

    def look(self, node: Node) -> None:
        """At a definition or selection, and at what it selects; brackets have a maximum, and so does the recursion."""
        for directive in getattr(node, "directives", None) or ():
            self.any_directive = True
            values = [argument.value for argument in directive.arguments or ()]
            self.names += [value.name.value for value in values if isinstance(value, VariableNode)]
        if isinstance(node, FieldNode) and node.name.value == "node" and node.arguments:
            self.nodes.append(node)
        below = getattr(node, "selection_set", None)
        for selection in () if below is None else below.selections:
            self.look(selection)


class _Stripper(Visitor):
    def enter_directive(self, *_: Any) -> object:  # noqa: ANN401 -- what graphql-core gives
        return REMOVE
