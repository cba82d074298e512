"""Whether the fields that one key of an answer stands for are one field: asked of all of them together.

graphql-core's rule compares every two fields of a key, and every two fragments side by side: the square of what a
document repeats, so that two kilobytes cost a second. Here all that comes to lie at one place of the answer is looked
at once, as Simon Adameit found for Sangria: its values must have one form, whatever type they are asked of; and where
one object may be asked for two of them, they must be one field with the same arguments. The work is that of the fields,
their fragments opened, which have a maximum already. Which wording a conflict has is graphql-core's to say.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLNamedType,
    GraphQLOutputType,
    GraphQLSchema,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    SelectionSetNode,
    ValidationContext,
    ValueNode,
    get_named_type,
    is_interface_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
    validate,
)
from graphql.language import InlineFragmentNode, ListValueNode, ObjectValueNode, StringValueNode, VariableNode
from graphql.validation.validate import ValidationAbortedError

WORDING_MAX = 2_000
"""What graphql-core may spend on saying which fields conflict, in its own units: under 3 ms."""

_KEY_SHOWN = 80

_Kind = TypeVar("_Kind")

Within = tuple[GraphQLNamedType | None, ...]
"""From the root down, the object types that a field and those around it are asked of; None for any others."""


class _Selected(NamedTuple):
    """A field at one place of the answer, and by which types it was reached."""

    node: FieldNode
    definition: GraphQLField | None
    within: Within


class _Below(NamedTuple):
    """A selection set, the type that it selects from, and the object types around it."""

    selections: SelectionSetNode
    type: GraphQLNamedType | None
    within: Within


class _OneWording(OverlappingFieldsCanBeMergedRule):
    """graphql-core's rule, ended by a maximum of ours: its own is half a million."""

    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        work = self.rule_context
        work.remaining_complexity_budget = min(work.remaining_complexity_budget, WORDING_MAX)


def merging_errors(schema: GraphQLSchema, document: DocumentNode, errors_max: int) -> list[GraphQLError]:
    """What graphql-core says of fields that cannot be merged, or one sentence of ours where that would take long.

    The document is right by every other rule: it has no fragment within itself and no field that does not exist.
    """
    key = conflicting_key(schema, document)
    if key is None:
        return []
    errors = validate(schema, document, [_OneWording], max_errors=errors_max)
    if errors and isinstance(errors[0], ValidationAbortedError):
        shown = key if len(key) <= _KEY_SHOWN else key[:_KEY_SHOWN] + "…"
        told = (
            f"Fields '{shown}' conflict: one key of an answer stands for one field with the same arguments and one form"
            " of value. Use different aliases on the fields to fetch all of them."
        )
        return [GraphQLError(told)]
    return errors


def conflicting_key(schema: GraphQLSchema, document: DocumentNode) -> str | None:
    """Where in an answer the fields of one key cannot be merged, as the path of keys that lead there; None if nowhere.

    For documents that are right by every other rule.
    """
    merging = _Merging(schema, document)
    places = [("", [merging.root(each)]) for each in document.definitions if isinstance(each, OperationDefinitionNode)]
    for path, merged in places:  # grows while it is read
        for key, selected in merging.fields(merged).items():
            place = f"{path}.{key}" if path else key
            if len(selected) > 1 and merging.conflict(selected):
                return place
            below = list(_below(selected))
            if below:
                places.append((place, below))
    return None


def _below(selected: Sequence[_Selected]) -> Iterator[_Below]:
    for node, definition, within in selected:
        if node.selection_set is not None:
            yield _Below(node.selection_set, get_named_type(definition.type) if definition else None, within)


class _Merging:
    """One document against one schema; what two fields are called with is read once."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self._schema = schema
        self._fragments = {
            each.name.value: each for each in document.definitions if isinstance(each, FragmentDefinitionNode)
        }
        self._calls: dict[int, int] = {}
        self._numbers: dict[object, int] = {}

    def root(self, operation: OperationDefinitionNode) -> _Below:
        """The whole of an operation."""
        return _Below(operation.selection_set, self._schema.get_root_type(operation.operation), ())

    def fields(self, merged: Sequence[_Below]) -> Mapping[str, list[_Selected]]:
        """The fields of some selection sets by their keys; a fragment counts once for the same types around it."""
        found: dict[str, list[_Selected]] = {}
        spread: set[tuple[str, Within]] = set()

        def gather(selections: SelectionSetNode, parent: GraphQLNamedType | None, around: Within) -> None:
            within = (*around, parent if is_object_type(parent) else None)
            fields = parent.fields if is_object_type(parent) or is_interface_type(parent) else {}
            for node in selections.selections:
                if isinstance(node, FieldNode):
                    name = node.name.value
                    key = node.alias.value if node.alias else name
                    found.setdefault(key, []).append(_Selected(node, fields.get(name), within))
                elif isinstance(node, InlineFragmentNode):
                    condition = node.type_condition
                    type_ = self._schema.get_type(condition.name.value) if condition else parent
                    gather(node.selection_set, type_, around)
                elif isinstance(node, FragmentSpreadNode) and (node.name.value, around) not in spread:
                    spread.add((node.name.value, around))
                    fragment = self._fragments[node.name.value]
                    type_ = self._schema.get_type(fragment.type_condition.name.value)
                    gather(fragment.selection_set, type_, around)

        for selections, type_, around in merged:
            gather(selections, type_, around)
        return found

    def conflict(self, selected: Sequence[_Selected]) -> bool:
        """Whether the fields of one key have values of different forms, or are different where one object has both."""
        definitions = {id(each.definition): each.definition for each in selected if each.definition is not None}
        if len(definitions) > 1 and len({_form(each.type) for each in definitions.values()}) > 1:
            return True
        calls = [self._call(each.node) for each in selected]
        return len(set(calls)) > 1 and _differ_together(calls, [each.within for each in selected])

    def _call(self, node: FieldNode) -> int:
        """A number for a field's name and arguments: the same for the same, in whatever order they stand."""
        number = self._calls.get(id(node))
        if number is None:
            given = sorted((each.name.value, _value(each.value)) for each in node.arguments or ())
            number = self._numbers.setdefault((node.name.value, *given), len(self._numbers))
            self._calls[id(node)] = number
        return number


def _differ_together(calls: Sequence[int], within: Sequence[Within]) -> bool:
    """Whether one object may be asked for two that differ: at no level are they asked of two different object types.

    Each number is a set of fields by its bits, so that all that one field meets is found at once.
    """
    everyone = (1 << len(calls)) - 1
    together = [everyone] * len(calls)
    for level in zip(*within, strict=True):
        members = _members(level)
        anywhere = members.pop(None, 0)
        if len(members) > 1:
            for place, type_ in enumerate(level):
                if type_ is not None:
                    together[place] &= members[type_] | anywhere
    same = _members(calls)
    return any(met & ~same[call] for met, call in zip(together, calls, strict=True))


def _members(kinds: Sequence[_Kind]) -> dict[_Kind, int]:
    """Of which places each kind is, as a set by its bits."""
    found: dict[_Kind, int] = {}
    for place, kind in enumerate(kinds):
        found[kind] = found.get(kind, 0) | 1 << place
    return found


def _form(type_: GraphQLOutputType) -> str:
    """How a value looks in an answer: objects of all types look alike, what they are asked for is compared below."""
    if is_non_null_type(type_):
        return _form(type_.of_type) + "!"
    if is_list_type(type_):
        return f"[{_form(type_.of_type)}]"
    return type_.name if is_leaf_type(type_) else "{}"


def _value(node: ValueNode) -> str:
    """A value as text: the same for the same, in whatever order an object's fields stand."""
    match node:
        case VariableNode():
            return "$" + node.name.value
        case ListValueNode():
            return f"[{','.join(map(_value, node.values))}]"
        case ObjectValueNode():
            return f"{{{','.join(sorted(f'{each.name.value}:{_value(each.value)}' for each in node.fields))}}}"
        case StringValueNode():
            return f"{'block ' if node.block else ''}{node.value!r}"
        case _:
            return f"{node.kind} {getattr(node, 'value', None)}"
