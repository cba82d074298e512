"""Which fields of a type a document selects, as graphql-core itself collects them: merged, and in their order."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
)
from graphql.execution.collect_fields import FieldDetailsList, FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues


@dataclass(frozen=True)
class Selections:
    """One operation with its fragments; `variables` decide @skip and @include."""

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: Mapping[str, FragmentDetails]
    variables: VariableValues

    def root(self, type_: GraphQLObjectType) -> Iterator[tuple[str, str, FieldDetailsList]]:
        """(response key, field name, nodes) of the operation's own fields."""
        found = collect_fields(self.schema, dict(self.fragments), self.variables, type_, self.operation)
        yield from _entries(found.grouped_field_set)

    def below(self, details: FieldDetailsList, type_: GraphQLObjectType) -> Iterator[tuple[str, str, FieldDetailsList]]:
        """(response key, field name, nodes) below a field, for an object of the type."""
        found = collect_subfields(self.schema, dict(self.fragments), self.variables, self.operation, type_, details)
        yield from _entries(found.grouped_field_set)

    def conditions(self, details: FieldDetailsList) -> frozenset[str]:
        """The types that fragments below a field are about; objects of no such type select the same."""
        found: set[str] = set()
        opened: set[str] = set()
        waiting = [each.node.selection_set for each in details]
        while waiting:
            below = waiting.pop()
            for selection in () if below is None else below.selections:
                fragment: InlineFragmentNode | FragmentDefinitionNode
                if isinstance(selection, InlineFragmentNode):
                    fragment = selection
                elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in opened:
                    opened.add(selection.name.value)
                    fragment = self.fragments[selection.name.value].definition
                else:
                    continue
                if fragment.type_condition is not None:
                    found.add(fragment.type_condition.name.value)
                waiting.append(fragment.selection_set)
        return frozenset(found)


def fragments_of(document: DocumentNode) -> dict[str, FragmentDetails]:
    """The document's fragments by name."""
    return {
        node.name.value: FragmentDetails(node)
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }


def _entries(grouped: Mapping[str, FieldDetailsList]) -> Iterator[tuple[str, str, FieldDetailsList]]:
    for key, details in grouped.items():
        yield key, details[0].node.name.value, details
