"""What a document may cost before any of it is executed; bytes and tokens are limited before it is parsed."""

from collections.abc import Iterator, Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)

from guildhall.errors import LimitExceeded

DEPTH_MAX = 15
INTROSPECTION_DEPTH_MAX = 20
ALIASES_MAX = 50
SELECTIONS_MAX = 2_000
DIRECTIVES_MAX = 50


class DocumentTooLarge(LimitExceeded):
    """More bytes than a document may have."""

    code = "DOCUMENT_TOO_LARGE"


class VariablesTooLarge(LimitExceeded):
    """More bytes than variables may have."""

    code = "VARIABLES_TOO_LARGE"


class DocumentTooComplex(LimitExceeded):
    """Too deep, too many aliases, directives or fields after fragments are opened."""

    code = "DOCUMENT_TOO_COMPLEX"


class QueryTooCostly(LimitExceeded):
    """Pages within pages that could come to more rows than one answer may have."""

    code = "QUERY_TOO_COSTLY"


def check_document(document: DocumentNode, operation: OperationDefinitionNode) -> None:
    """Raises DocumentTooComplex. Fragments count each time they are used; validation has refused cycles before."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    introspects = any(
        isinstance(node, FieldNode) and node.name.value in {"__schema", "__type"}
        for node in operation.selection_set.selections
    )
    depth_max = INTROSPECTION_DEPTH_MAX if introspects else DEPTH_MAX
    aliases = directives = 0
    for fields, (node, depth) in enumerate(_walk(operation.selection_set, fragments, 1), start=1):
        directives += len(node.directives or ())
        aliases += isinstance(node, FieldNode) and node.alias is not None
        if depth > depth_max:
            raise DocumentTooComplex(f"The document is deeper than {depth_max} fields.")
        if fields > SELECTIONS_MAX:
            raise DocumentTooComplex(f"The document selects more than {SELECTIONS_MAX} fields, fragments opened.")
        if aliases > ALIASES_MAX:
            raise DocumentTooComplex(f"The document has more than {ALIASES_MAX} aliases, fragments opened.")
        if directives > DIRECTIVES_MAX:
            raise DocumentTooComplex(f"The document has more than {DIRECTIVES_MAX} directives, fragments opened.")


def check_rows(
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
    *,
    page_max: int,
    rows_max: int,
) -> None:
    """Raises QueryTooCostly where the pages, each as large as its `first`, could hold more rows than the maximum.

    For a document that `check_document` has passed. A page beyond `page_max` counts as one of that size: it is refused
    where it stands.
    """
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    defaults = {node.variable.name.value: node.default_value for node in operation.variable_definitions or ()}

    def size(field: FieldNode) -> int:
        value: Any = next((each.value for each in field.arguments or () if each.name.value == "first"), None)
        if isinstance(value, VariableNode):
            name = value.name.value
            value = variables[name] if name in variables else defaults.get(name)
        number = int(value.value) if isinstance(value, IntValueNode) else value
        return min(max(number, 0), page_max) if isinstance(number, int) else 0

    def rows(selection_set: SelectionSetNode, times: int) -> int:
        total = 0
        for node in selection_set.selections:
            if isinstance(node, FieldNode):
                page = size(node)
                total += page * times
                if node.selection_set is not None:
                    total += rows(node.selection_set, times * (page or 1))
            elif isinstance(node, InlineFragmentNode):
                total += rows(node.selection_set, times)
            elif isinstance(node, FragmentSpreadNode):
                total += rows(fragments[node.name.value].selection_set, times)
        return total

    asked = rows(operation.selection_set, 1)
    if asked > rows_max:
        raise QueryTooCostly(
            f"The pages of this document could hold {asked} rows, and {rows_max} is the most: ask for smaller pages."
        )


def find_operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    """The one operation to run; a document with several needs a name."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if name is not None:
        operations = [node for node in operations if node.name is not None and node.name.value == name]
    if not operations:
        message = (
            "The document has no operation." if name is None else f"The document has no operation named {name[:80]!r}."
        )
        raise GraphQLError(message, extensions={"code": "OPERATION_RESOLUTION_FAILURE"})
    if len(operations) > 1:
        raise GraphQLError(
            "The document has several operations; say which one with operationName.",
            extensions={"code": "OPERATION_RESOLUTION_FAILURE"},
        )
    return operations[0]


def root_fields(document: DocumentNode, operation: OperationDefinitionNode) -> set[str]:
    """The names of the fields that the operation selects at its root, fragments opened."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    return {
        node.name.value
        for node, depth in _walk(operation.selection_set, fragments, 1)
        if depth == 1 and isinstance(node, FieldNode)
    }


Selection = FieldNode | InlineFragmentNode | FragmentSpreadNode


def _walk(
    selection_set: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode], depth: int
) -> Iterator[tuple[Selection, int]]:
    for node in selection_set.selections:
        assert isinstance(node, Selection)
        yield node, depth
        if isinstance(node, FieldNode):
            if node.selection_set is not None:
                yield from _walk(node.selection_set, fragments, depth + 1)
        elif isinstance(node, InlineFragmentNode):
            yield from _walk(node.selection_set, fragments, depth)
        else:
            yield from _walk(fragments[node.name.value].selection_set, fragments, depth)
