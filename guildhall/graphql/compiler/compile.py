"""Documents compiled: one statement for each shape of request, made when first needed and kept."""

from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from graphql import DocumentNode, GraphQLError, GraphQLSchema, OperationDefinitionNode, OperationType
from graphql.execution.values import VariableValues

from guildhall.errors import GuildhallError
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.compiler.answers import Answering, Fetch
from guildhall.graphql.compiler.inputs import Variables
from guildhall.graphql.compiler.leaves import NoText
from guildhall.graphql.compiler.plan import NotCompilable, Plan
from guildhall.graphql.compiler.planner import Planner
from guildhall.graphql.compiler.runs import FallBack, Run
from guildhall.graphql.compiler.selections import Selections, fragments_of
from guildhall.graphql.compiler.switches import switches_of, without_switches
from guildhall.graphql.context import Context
from guildhall.graphql.recording import Reads
from guildhall.graphql.resolving import resolving

REFUSALS = (GuildhallError, GraphQLError, NotCompilable, NoText)
"""What is met while a request is bound, and met again by graphql-core, which words it where it belongs."""

PLANS_MAX = 32
"""How many plans a document keeps: one for each combination of its switches."""


class CompiledDocument:
    """One operation of a document, ready for requests.

        text, reads = await compiled.answer(context, variables, fetch)  # raises FallBack
        await reads.write(context)                                      # no record, no answer

    The text is the JSON of `data`. FallBack means: graphql-core is to answer this request, because its answer has
    errors; so does an error of the database about a value (SQLSTATE class 22, or more than one row).
    """

    def __init__(
        self, schema: GraphQLSchema, catalogue: Catalogue, document: DocumentNode, operation: OperationDefinitionNode
    ) -> None:
        assert schema.query_type is not None, "a schema has a query type"
        self._schema = schema
        self._catalogue = catalogue
        self._document = document
        self._operation = operation
        self._words = words_of(catalogue)
        self._switches = switches_of(document, schema.query_type.fields["node"])
        self._variables = Variables(schema, operation.variable_definitions or ())
        self._plans: OrderedDict[tuple[object, ...], Plan] = OrderedDict()
        whole = self._checked()
        self.fields = whole.fields
        """How many fields the document selects at most."""
        self.is_one_statement = not whole.prepared and not whole.called
        """Whether no field is Python's."""
        if not self._switches.any_directive and not self._switches.nodes:
            self._plans[()] = whole

    async def answer(self, context: Context, variables: Mapping[str, Any], fetch: Fetch) -> tuple[str, Reads]:
        """The JSON text of `data`, and the reads to be recorded before it leaves; raises FallBack."""
        try:
            plan, run = self._asked(context, variables)
            reads = Reads()
            if not self.is_one_statement:  # a function may load what it needs, and what it loads may be recorded
                run.context = request = resolving(context, self._catalogue)
                reads = request.loaders.reads
            return await Answering(run, self._words, fetch, reads).text(plan), reads
        except REFUSALS as error:
            raise FallBack from error

    def _checked(self) -> Plan:
        """The plan of all that the document may ever select; raises NotCompilable."""
        stripped = without_switches(self._document)
        name = None if self._operation.name is None else self._operation.name.value
        operation = operation_named(stripped, name)
        assert operation is not None, "the document was validated"
        return self._plan(stripped, operation, None)

    def _asked(self, context: Context, variables: Mapping[str, Any]) -> tuple[Plan, Run]:
        run = self._run(context, variables)
        plan = self._planned(run)
        if not all(context.actor.may_somewhere(permission) for permission in plan.permissions):
            raise FallBack
        return plan, run

    def _run(self, context: Context, variables: Mapping[str, Any]) -> Run:
        return Run(context, self._variables.coerced(variables))

    def _planned(self, run: Run) -> Plan:
        key = self._switches.key(run)
        found = self._plans.get(key)
        if found is None:
            found = self._plans[key] = self._plan(self._document, self._operation, run)
            if len(self._plans) > PLANS_MAX:
                self._plans.popitem(last=False)
        return found

    def _plan(self, document: DocumentNode, operation: OperationDefinitionNode, run: Run | None) -> Plan:
        variables = VariableValues({}, {}) if run is None else run.variables
        selections = Selections(self._schema, operation, fragments_of(document), variables)
        return Planner(self._schema, self._catalogue, selections, run).make()


def compile_document(
    schema: GraphQLSchema, catalogue: Catalogue, document: DocumentNode, operation_name: str | None = None
) -> CompiledDocument:
    """The compiled form of a parsed and validated document's operation; raises NotCompilable with reason and path."""
    operation = operation_named(document, operation_name)
    if operation is None:
        raise NotCompilable("there is no one operation to run")
    if operation.operation is not OperationType.QUERY:
        raise NotCompilable("it is no query")
    return CompiledDocument(schema, catalogue, document, operation)


@lru_cache(maxsize=8)
def words_of(catalogue: Catalogue) -> frozenset[str]:
    """The schema's own names of fields; every other response key is a caller's word, and bound."""
    return frozenset({"__typename"}.union(*(declared.fields for declared in catalogue.types.values())))


def operation_named(document: DocumentNode, name: str | None) -> OperationDefinitionNode | None:
    """The operation of that name, or the only one."""
    found = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if name is not None:
        found = [node for node in found if node.name is not None and node.name.value == name]
    return found[0] if len(found) == 1 else None
