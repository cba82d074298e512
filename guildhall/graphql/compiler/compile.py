"""Documents compiled: one statement for each shape of request, made when first needed and kept."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import DocumentNode, GraphQLError, GraphQLSchema, OperationDefinitionNode, OperationType
from graphql.execution.values import VariableValues, get_variable_values

from guildhall.errors import GuildhallError
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.compiler.fragments import Fragment
from guildhall.graphql.compiler.plan import NotCompilable, Plan
from guildhall.graphql.compiler.planner import Planner
from guildhall.graphql.compiler.result import Finisher
from guildhall.graphql.compiler.runs import FallBack, Run
from guildhall.graphql.compiler.selections import Selections, fragments_of
from guildhall.graphql.compiler.switches import Switches, switches_of, without_switches
from guildhall.graphql.compiler.writer import Statement, write_statement
from guildhall.graphql.context import Context

PLANS_MAX = 16
"""How many plans a document keeps: one for each combination of its switches."""

STATEMENTS_MAX = 32
"""How many statements a plan keeps: one for each shape of caller, filter and order."""


@dataclass(frozen=True)
class Bound:
    """One statement with the values of one request. Its text is the same for all requests of that shape."""

    sql: str
    arguments: Sequence[Any]
    finisher: Finisher


@dataclass
class _Planned:
    plan: Plan
    statements: "OrderedDict[tuple[int, ...], Statement]" = field(default_factory=OrderedDict)


class CompiledDocument:
    """One operation of a document, ready to be bound to requests.

        bound = compiled.bind(context, variables)                       # raises FallBack
        text = await connection.fetchval(bound.sql, *bound.arguments)
        data = bound.finisher.finish(text)                              # raises FallBack
        await bound.finisher.reads.write(context)                       # no record, no answer

    FallBack means: graphql-core is to answer, because the answer has errors.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        catalogue: Catalogue,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        words: frozenset[str],
    ) -> None:
        assert schema.query_type is not None, "a schema has a query type"
        self.schema = schema
        self._catalogue = catalogue
        self._document = document
        self._operation = operation
        self._words = words
        self._switches: Switches = switches_of(document, schema.query_type.fields["node"])
        self._plans: OrderedDict[tuple[object, ...], _Planned] = OrderedDict()

    @property
    def fields(self) -> int:
        """How many fields the statements have that were made so far, at most."""
        return max((planned.plan.fields for planned in self._plans.values()), default=0)

    def bind(self, context: Context, variables: Mapping[str, Any]) -> Bound:
        """The statement for this request with its values; raises FallBack where graphql-core must answer."""
        coerced = get_variable_values(self.schema, self._operation.variable_definitions or (), dict(variables))
        if not isinstance(coerced, VariableValues):
            raise FallBack
        run = Run(context, coerced)
        try:
            planned = self._planned(run)
            actor = context.actor
            if not all(actor.may_somewhere(permission) for permission in planned.plan.permissions):
                raise FallBack
            fragments = [source(run) for source in planned.plan.slots]
            statement = self._statement(planned, fragments)
            arguments = statement.arguments(run, fragments)
        except (GuildhallError, GraphQLError, NotCompilable) as error:
            raise FallBack from error
        return Bound(statement.text, arguments, Finisher(planned.plan, run, fragments))

    def _planned(self, run: Run) -> _Planned:
        key = self._switches.key(run)
        found = self._plans.get(key)
        if found is None:
            found = self._plans[key] = _Planned(self._plan(self._document, self._operation, run))
            if len(self._plans) > PLANS_MAX:
                self._plans.popitem(last=False)
        return found

    def _plan(self, document: DocumentNode, operation: OperationDefinitionNode, run: Run | None) -> Plan:
        variables = VariableValues({}, {}) if run is None else run.variables
        selections = Selections(self.schema, operation, fragments_of(document), variables)
        return Planner(self.schema, self._catalogue, selections, run).make()

    def _statement(self, planned: _Planned, fragments: Sequence[Fragment]) -> Statement:
        shape = tuple(made.shape for made in fragments)
        found = planned.statements.get(shape)
        if found is None:
            found = planned.statements[shape] = write_statement(planned.plan, fragments, self._words)
            if len(planned.statements) > STATEMENTS_MAX:
                planned.statements.popitem(last=False)
        return found

    def check(self) -> Plan:
        """The plan of all that the document may ever select; raises NotCompilable."""
        stripped = without_switches(self._document)
        name = None if self._operation.name is None else self._operation.name.value
        operation = operation_named(stripped, name)
        assert operation is not None, "the document was validated"
        return self._plan(stripped, operation, None)


def compile_document(
    schema: GraphQLSchema, catalogue: Catalogue, document: DocumentNode, operation_name: str | None = None
) -> CompiledDocument:
    """The compiled form of a parsed and validated document's operation; raises NotCompilable with reason and path."""
    operation = operation_named(document, operation_name)
    if operation is None:
        raise NotCompilable("there is no one operation to run")
    if operation.operation is not OperationType.QUERY:
        raise NotCompilable("it is no query")
    compiled = CompiledDocument(schema, catalogue, document, operation, words_of(catalogue))
    compiled.check()
    return compiled


def words_of(catalogue: Catalogue) -> frozenset[str]:
    """The schema's own names of fields; every other response key is a caller's word, and bound."""
    return frozenset(
        {"__typename", "nodes", "edges", "node", "cursor"}
        | {name for declared in catalogue.types.values() for name in declared.fields}
    )


def operation_named(document: DocumentNode, name: str | None) -> OperationDefinitionNode | None:
    """The operation of that name, or the only one."""
    found = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if name is not None:
        found = [node for node in found if node.name is not None and node.name.value == name]
    return found[0] if len(found) == 1 else None
