"""Which fields of a type a document selects: what the statement of a level must load, and no more."""

from collections.abc import Iterable, Iterator
from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLIncludeDirective,
    GraphQLSkipDirective,
    SelectionNode,
    get_directive_values,
)

from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.declarations import FieldDeclaration, TypeDeclaration
from guildhall.graphql.resolving import Info
from guildhall.graphql.sources import Embedded


def selected(nodes: Iterable[FieldNode], info: Info, type_names: frozenset[str]) -> Iterator[FieldNode]:
    """The fields selected below the nodes that may apply to one of the types: fragments opened, directives obeyed."""
    for node in nodes:
        if node.selection_set is not None:
            yield from _open(node.selection_set.selections, info, type_names)


def _open(selections: Iterable[SelectionNode], info: Info, type_names: frozenset[str]) -> Iterator[FieldNode]:
    for selection in selections:
        if _is_left_out(selection, info):
            continue
        if isinstance(selection, FieldNode):
            yield selection
            continue
        fragment: Any = selection
        if isinstance(selection, FragmentSpreadNode):
            fragment = info.fragments[selection.name.value]
        if fragment.type_condition is None or fragment.type_condition.name.value in type_names:
            yield from _open(fragment.selection_set.selections, info, type_names)


def _is_left_out(selection: SelectionNode, info: Info) -> bool:
    if not selection.directives:
        return False
    skip = get_directive_values(GraphQLSkipDirective, selection, info.variable_values)
    include = get_directive_values(GraphQLIncludeDirective, selection, info.variable_values)
    return (skip is not None and skip["if"]) or (include is not None and not include["if"])


def names(nodes: Iterable[FieldNode], info: Info, type_name: str) -> set[str]:
    """The GraphQL names of the fields selected below the nodes."""
    return {node.name.value for node in selected(nodes, info, frozenset({type_name}))}


def children(nodes: Iterable[FieldNode], info: Info, type_name: str, *path: str) -> list[FieldNode]:
    """The field nodes reached by a path of field names below generated types such as connections and edges."""
    found = list(nodes)
    for name in path:
        found = [node for node in selected(found, info, frozenset({type_name})) if node.name.value == name]
    return found


def labels(nodes: Iterable[FieldNode], info: Info, declared: TypeDeclaration, catalogue: Catalogue) -> frozenset[str]:
    """The labels to load for objects of the type: those of the selected fields, also of types embedded in its row."""
    matching = frozenset({declared.name, "Node"} if declared.is_node else {declared.name})
    by_name: dict[str, list[FieldNode]] = {}
    for node in selected(nodes, info, matching):
        by_name.setdefault(node.name.value, []).append(node)
    found: set[str] = set()
    for name, below in by_name.items():
        field = declared.fields.get(name)
        if field is None:
            continue
        found |= needed(declared, field, catalogue)
        if isinstance(field.source, Embedded):
            found |= labels(below, info, catalogue.types[field.source.target], catalogue)
    if found and declared.recorded is not None:
        found.add(catalogue.recorded_label(declared))
    return frozenset(found)


def needed(declared: TypeDeclaration, field: FieldDeclaration, catalogue: Catalogue) -> set[str]:
    """The labels of one field: its operands, and the team where its permission must be asked about the row."""
    parts = {catalogue.label(declared, field, part) for part in field.source.operands()}
    if catalogue.is_guarded(declared, field) and declared.team is not None:
        parts.add(catalogue.team_label(declared))
    return parts
