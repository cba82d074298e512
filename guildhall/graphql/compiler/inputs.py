"""Variables and arguments, coerced as graphql-core does it, with all that a document decides done once."""

from collections.abc import Mapping, Sequence
from typing import Any

from graphql import (
    ArgumentNode,
    FieldNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLSchema,
    Undefined,
    is_non_null_type,
    is_scalar_type,
    is_specified_scalar_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, coerce_argument, get_argument_values
from graphql.language import ListValueNode, ObjectValueNode, ValueNode, VariableDefinitionNode, VariableNode
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_value


class FallBack(Exception):
    """graphql-core is to answer this request: it holds a mistake, or something that no statement says.

    Whatever has to be said to the caller about a mistake is said by graphql-core alone, so there is one wording.
    """


_PLAIN: Mapping[str, type] = {"String": str, "ID": str, "Boolean": bool, "Int": int}
"""Of GraphQL's own scalars, those whose values in JSON are taken as they are; of Int only what has 32 bits."""

_INT_MAX = 2**31


class Variables:
    """The variables that an operation declares."""

    def __init__(self, schema: GraphQLSchema, definitions: Sequence[VariableDefinitionNode]) -> None:
        self._declared: list[tuple[GraphQLVariableSignature, Any, type | None, bool]] = []
        for definition in definitions:
            signature = get_variable_signature(schema, definition)
            assert isinstance(signature, GraphQLVariableSignature), "the document was validated"
            required = is_non_null_type(signature.type)
            self._declared.append((signature, coerce_default_value(signature), _plain_type(signature), required))

    def coerced(self, given: Mapping[str, Any]) -> VariableValues:
        """The values; raises FallBack for one that is wrong or missing."""
        sources, values = {}, {}
        for signature, default, plain, required in self._declared:
            name = signature.name
            value = given.get(name, Undefined)
            sources[name] = VariableValueSource(signature, value)
            if _is_plain(value, plain):
                values[name] = value
            elif value is not Undefined:
                values[name] = _coerced(value, signature)
            elif default is not Undefined:
                values[name] = default
            elif required:
                raise FallBack
        return VariableValues(sources, values)


class Arguments:
    """The arguments of one field of a document."""

    def __init__(self, definition: GraphQLField, node: FieldNode) -> None:
        self._definition = definition
        self._node = node
        given = {argument.name.value: argument for argument in node.arguments or ()}
        self.fixed: dict[str, Any] = {}
        self._variables: list[tuple[str, str, GraphQLArgument, bool]] = []
        self._nested = False
        for name, argument in definition.args.items():
            self._prepare(name, argument, given.get(name))
        self.constant = not self._variables and not self._nested
        """Whether the values are the same for every request: `fixed`."""

    def values(self, variables: VariableValues) -> dict[str, Any]:
        """The coerced values by their GraphQL names; not to be changed by whoever reads them."""
        if self.constant:
            return self.fixed
        if self._nested:
            return get_argument_values(self._definition, self._node, variables)
        found = dict(self.fixed)
        for name, variable, argument, required in self._variables:
            value = variables.coerced.get(variable, Undefined)
            if value is Undefined and not required and argument.default is None:
                continue
            if value is Undefined or (value is None and required):
                return get_argument_values(self._definition, self._node, variables)
            found[argument.out_name or name] = value
        return found

    def _prepare(self, name: str, argument: GraphQLArgument, given: ArgumentNode | None) -> None:
        """A variable that stands for a whole argument is taken as it is; graphql-core finds those within one."""
        if given is not None and isinstance(given.value, VariableNode):
            self._variables.append((name, given.value.name.value, argument, is_non_null_type(argument.type)))
        elif given is not None and _has_variables(given.value):
            self._nested = True
        else:
            coerce_argument(self.fixed, self._node, name, argument, given, None, None)


def _plain_type(signature: GraphQLVariableSignature) -> type | None:
    named = signature.type.of_type if is_non_null_type(signature.type) else signature.type
    return _PLAIN.get(named.name) if is_scalar_type(named) and is_specified_scalar_type(named) else None


def _is_plain(value: object, plain: type | None) -> bool:
    if type(value) is not plain:
        return False
    return not isinstance(value, int) or -_INT_MAX <= value < _INT_MAX


def _coerced(value: Any, signature: GraphQLVariableSignature) -> Any:  # noqa: ANN401 -- what JSON holds
    try:
        found = coerce_input_value(value, signature.type)
    except RecursionError as error:
        raise FallBack from error
    if found is Undefined:
        raise FallBack
    return found


def _has_variables(value: ValueNode) -> bool:
    """Whether a variable stands anywhere in a value; brackets have a maximum, and so does the recursion."""
    match value:
        case VariableNode():
            return True
        case ListValueNode():
            return any(map(_has_variables, value.values))
        case ObjectValueNode():
            return any(_has_variables(each.value) for each in value.fields)
        case _:
            return False
