"""Documents made ready to run: limited, parsed, validated and costed once, and kept as long as there is room.

The order is that of the price: what can be refused by looking at the tokens is never parsed, and what fits no schema is
never costed twice. Which of it a caller may run is asked each time, see `guildhall.graphql.execution`.
"""

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from graphql import (
    ASTValidationRule,
    DocumentNode,
    FragmentsOnCompositeTypesRule,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSyntaxError,
    KnownDirectivesRule,
    KnownFragmentNamesRule,
    NoFragmentCyclesRule,
    NoSchemaIntrospectionCustomRule,
    NoUndefinedVariablesRule,
    NoUnusedFragmentsRule,
    NoUnusedVariablesRule,
    OperationDefinitionNode,
    OperationType,
    OverlappingFieldsCanBeMergedRule,
    PossibleFragmentSpreadsRule,
    UniqueDirectivesPerLocationRule,
    UniqueFragmentNamesRule,
    UniqueVariableNamesRule,
    VariablesAreInputTypesRule,
    VariablesInAllowedPositionRule,
    parse,
    specified_rules,
    validate,
)
from graphql.validation import (
    DeferStreamDirectiveLabel,
    DeferStreamDirectiveOnRootField,
    DeferStreamDirectiveOnValidOperationsRule,
    StreamDirectiveOnListField,
)

from guildhall.clock import IdSource
from guildhall.errors import GuildhallError, LimitExceeded
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.compiler.compile import CompiledDocument, CompiledMutation, compile_document
from guildhall.graphql.compiler.plan import NotCompilable
from guildhall.graphql.compose import Composed
from guildhall.graphql.cost import Cost, Costing
from guildhall.graphql.limits import check_outline, check_variables
from guildhall.graphql.outline import Definition, Outline, RepeatedFragment, Selection, Unreadable, opened, outline_of
from guildhall.graphql.overlaps import merging_errors
from guildhall.settings import Settings

DOCUMENTS_MAX = 500
"""How many documents are kept ready; the one unused for longest goes first."""

DOCUMENT_TOKENS_MAX = 200_000
"""How many tokens they have together at most: a parsed one takes about half a kilobyte for each."""

_VALIDATION_ERRORS_MAX = 10
"""Each may print an input whole, and looks for names like the wrong one: milliseconds of the event loop."""

RULES_ABOUT: Mapping[str, frozenset[type[ASTValidationRule]]] = {
    "$": frozenset(
        {
            VariablesAreInputTypesRule, UniqueVariableNamesRule, NoUndefinedVariablesRule, NoUnusedVariablesRule,
            VariablesInAllowedPositionRule,
        }
    ),
    "...": frozenset(
        {
            FragmentsOnCompositeTypesRule, UniqueFragmentNamesRule, KnownFragmentNamesRule, NoUnusedFragmentsRule,
            PossibleFragmentSpreadsRule, NoFragmentCyclesRule,
        }
    ),
    "@": frozenset(
        {
            KnownDirectivesRule, UniqueDirectivesPerLocationRule, DeferStreamDirectiveOnRootField,
            DeferStreamDirectiveOnValidOperationsRule, DeferStreamDirectiveLabel, StreamDirectiveOnListField,
        }
    ),
}  # fmt: skip
"""By what a document writes wherever it has it: graphql-core's rules that are about nothing else."""

logger = logging.getLogger(__name__)


class RequestRefused(Exception):
    """The request is not executed at all."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


@dataclass(frozen=True)
class Operation:
    """One operation of a document: query, mutation or subscription, its price, and its statement where it has one."""

    kind: str
    name: str | None
    root_fields: frozenset[str]
    cost: Cost
    node: OperationDefinitionNode
    compiling: Callable[[], CompiledDocument | CompiledMutation | None]

    @cached_property
    def compiled(self) -> CompiledDocument | CompiledMutation | None:
        """Made when the operation is first run: a document may hold others that never are."""
        return self.compiling()


@dataclass(frozen=True)
class Prepared:
    """A document that may run, under its hash."""

    sha256: str
    document: DocumentNode
    operations: tuple[Operation, ...]
    tokens: int

    def operation(self, name: str | None) -> Operation:
        """The one to run; raises RequestRefused where the name does not say which."""
        if name is None and len(self.operations) == 1:
            return self.operations[0]
        found = [one for one in self.operations if name is None or one.name == name]
        if len(found) == 1:
            return found[0]
        if name is not None:
            told = f"The document has no operation named {name[:80]!r}."
        elif found:
            told = "The document has several operations; say which one with operationName."
        else:
            told = "The document has no operation."
        raise RequestRefused([GraphQLError(told, extensions={"code": "OPERATION_RESOLUTION_FAILURE"})])


EMPTY_WORLD = GraphQLSchema(GraphQLObjectType("Query", {}), assume_valid=True)
"""What there is for a caller who is not known: that it is GraphQL."""

_STRANGERS_FIELDS = frozenset({"__typename", "__schema", "__type"})


class Documents:
    """Makes documents ready against one schema, and holds those that were asked for last.

    Without `composed` they are those of callers who are not known, in an empty world: whoever asks for more is not
    told whether there is more.
    """

    def __init__(
        self, composed: Composed | None, settings: Settings, new_id: IdSource, *, compiling: bool = False
    ) -> None:
        self.schema = EMPTY_WORLD if composed is None else composed.schema
        self._for_strangers = composed is None
        self._settings = settings
        self._new_id = new_id
        self._catalogue = None if composed is None or not compiling else composed.catalogue
        catalogue = Catalogue([], []) if composed is None else composed.catalogue
        self._costing = Costing(self.schema, catalogue, settings.graphql_page_max)
        self._held: OrderedDict[str, Prepared] = OrderedDict()
        self._tokens = 0
        introspection = [] if settings.graphql_introspection else [NoSchemaIntrospectionCustomRule]
        # Its work is the square of what a document repeats; `merging_errors` finds the same.
        square = OverlappingFieldsCanBeMergedRule
        self._rules = [rule for rule in (*specified_rules, *introspection) if rule is not square]
        self._rules_by_marks: dict[frozenset[str], list[type[ASTValidationRule]]] = {}

    def prepare(
        self, text: str, operation_name: str | None, variables: Mapping[str, Any]
    ) -> tuple[Prepared, Operation]:
        """The document and its operation; raises RequestRefused with all that is wrong."""
        held = self._held.get(text)
        if held is None:
            held = self._make(text, operation_name, variables)
            self._keep(text, held)
        else:
            self._held.move_to_end(text)
        operation = held.operation(operation_name)
        if operation.kind != "mutation":
            self._require_few(variables)
        self._require_price(operation.cost, variables)
        return held, operation

    def _make(self, text: str, operation_name: str | None, variables: Mapping[str, Any]) -> Prepared:
        outline = self._outline(text)
        costs = [] if outline is None else [self._costing.of(outline, each) for each in outline.operations]
        for definition, cost in zip(() if outline is None else outline.operations, costs, strict=True):
            if operation_name is None or definition.name == operation_name:
                self._require_price(cost, variables)
        document = _parse(text)
        nodes = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        if outline is None or len(nodes) != len(costs):  # it can be parsed, so it holds definitions of types
            raise refused("A document holds operations and fragments only.", "GRAPHQL_VALIDATION_FAILED")
        root_fields = [_root_fields(outline, definition) for definition in outline.operations]
        if self._for_strangers and any(names - _STRANGERS_FIELDS for names in root_fields):
            raise refused("Sign in first: send a token as `Authorization: Bearer …`.", "UNAUTHENTICATED")
        self._validate(document, self._rules_for(outline))
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        operations = tuple(
            Operation(
                definition.kind,
                definition.name or None,
                names,
                cost,
                node,
                partial(self._compiled, sha256, document, node),
            )
            for definition, names, cost, node in zip(outline.operations, root_fields, costs, nodes, strict=True)
        )
        return Prepared(sha256, document, operations, outline.tokens)

    def _compiled(
        self, sha256: str, document: DocumentNode, node: OperationDefinitionNode
    ) -> CompiledDocument | CompiledMutation | None:
        """The statement of a query, or of what a change answers; for known callers, and not for introspection."""
        if self._catalogue is None or node.operation is OperationType.SUBSCRIPTION:
            return None
        try:
            name = None if node.name is None else node.name.value
            return compile_document(self.schema, self._catalogue, document, name)
        except NotCompilable as error:
            logger.info("document %s is answered field by field: %s", sha256, error)
            return None

    def _outline(self, text: str) -> Outline | None:
        try:
            outline = outline_of(text, self._settings.graphql_tokens_max)
            check_outline(outline, self._settings)
        except (LimitExceeded, RepeatedFragment) as error:
            raise refused_by(error) from error
        except Unreadable:
            return None
        return outline

    def _require_few(self, variables: Mapping[str, Any]) -> None:
        try:
            check_variables(variables)
        except LimitExceeded as error:
            raise refused_by(error) from error

    def _require_price(self, cost: Cost, variables: Mapping[str, Any]) -> None:
        try:
            cost.require_reads(self._settings.graphql_reads_max)
            cost.require(variables, self._settings.graphql_rows_max)
        except LimitExceeded as error:
            raise refused_by(error) from error

    def _rules_for(self, outline: Outline) -> list[type[ASTValidationRule]]:
        """Rules about what a document does not have are not asked: each would be shown all of it."""
        marks = outline.marks | ({"..."} if outline.fragments else set())
        found = self._rules_by_marks.get(marks)
        if found is None:
            idle = {rule for mark, rules in RULES_ABOUT.items() if mark not in marks for rule in rules}
            found = self._rules_by_marks[marks] = [rule for rule in self._rules if rule not in idle]
        return found

    def _validate(self, document: DocumentNode, rules: list[type[ASTValidationRule]]) -> None:
        told = self._settings.graphql_suggestions
        most = _VALIDATION_ERRORS_MAX if told else 1
        errors = validate(self.schema, document, rules, max_errors=most, hide_suggestions=not told)
        errors = errors or merging_errors(self.schema, document, most)
        if errors and told:
            raise RequestRefused([coded(error, "GRAPHQL_VALIDATION_FAILED") for error in errors])
        if errors:  # which of its names exist is what a stranger would ask for, one name after the other
            key = self._new_id()
            logger.info("document %s does not fit the schema: %s", key, errors[0].message)
            message = f"The document does not fit the schema; what is wrong with it is in the log as {key}."
            raise refused(message, "GRAPHQL_VALIDATION_FAILED", errorId=str(key))

    def _keep(self, text: str, prepared: Prepared) -> None:
        self._held[text] = prepared
        self._tokens += prepared.tokens
        while len(self._held) > DOCUMENTS_MAX or self._tokens > DOCUMENT_TOKENS_MAX:
            _, gone = self._held.popitem(last=False)
            self._tokens -= gone.tokens


def _root_fields(outline: Outline, definition: Definition) -> frozenset[str]:
    found: set[str] = set()

    def visit(selection: Selection, depth: int) -> None:
        if depth == 1 and selection.name:
            found.add(selection.name)

    opened(definition.below, outline.fragments, visit)
    return frozenset(found)


def refused(message: str, code: str, **extensions: object) -> RequestRefused:
    """One error that no class of ours stands for."""
    return RequestRefused([GraphQLError(message, extensions={"code": code, **extensions})])


def refused_by(error: GuildhallError) -> RequestRefused:
    """One refusal of ours."""
    return RequestRefused([GraphQLError(error.message, original_error=error)])


def coded(error: GraphQLError, code: str) -> GraphQLError:
    """An error of graphql-core under a code of ours."""
    return GraphQLError(
        error.message, nodes=error.nodes, source=error.source, positions=error.positions, extensions={"code": code}
    )


def _parse(text: str) -> DocumentNode:
    try:
        return parse(text)
    except GraphQLSyntaxError as error:
        raise RequestRefused([coded(error, "GRAPHQL_PARSE_FAILED")]) from error
