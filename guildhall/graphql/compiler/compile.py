"""Documents compiled: one statement for each shape of request, made when first needed and kept."""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from graphql import DocumentNode, GraphQLError, GraphQLSchema, OperationDefinitionNode, OperationType
from graphql.execution.values import VariableValues

from guildhall.errors import GuildhallError
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.compiler.answers import Answering, Fetch
from guildhall.graphql.compiler.fragments import noted
from guildhall.graphql.compiler.inputs import Variables
from guildhall.graphql.compiler.keeping import ruled
from guildhall.graphql.compiler.leaves import NoText
from guildhall.graphql.compiler.plan import NotCompilable, Plan
from guildhall.graphql.compiler.planner import Planner
from guildhall.graphql.compiler.runs import FallBack, Run
from guildhall.graphql.compiler.selections import Selections, fragments_of
from guildhall.graphql.compiler.switches import switches_of, without_switches
from guildhall.graphql.context import Context
from guildhall.graphql.mutations import Done, run_mendable
from guildhall.graphql.recording import Reads
from guildhall.graphql.resolving import resolving

REFUSALS = (GuildhallError, GraphQLError, NotCompilable, NoText)
"""What is met while a request is bound, and met again by graphql-core, which words it where it belongs."""

PLANS_MAX = 32
"""How many plans a document keeps: one for each combination of its switches."""


class _Compiled:
    """One operation of a document with its plans, one for each combination of its switches."""

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
        self.tells_of_records = False
        """Whether the last answer held closed records, so that the next one is read where it can be recorded."""
        if not self._switches.any_directive and not self._switches.nodes:
            self._plans[()] = whole

    def _asked(self, context: Context, variables: Mapping[str, Any]) -> tuple[Plan, Run]:
        """The plan for a request, and its run; raises FallBack, or NotCompilable."""
        run = Run(context, self._variables.coerced(variables))
        plan = self._planned(run)
        if plan.permissions and not _permitted(plan.permissions, run):
            raise FallBack
        return plan, run

    def _answering(self, run: Run, fetch: Fetch) -> tuple[Answering, Reads]:
        if self.is_one_statement:
            reads = Reads()
        else:  # a function may load what it needs, and what it loads may be recorded
            run.context = request = resolving(run.context, self._catalogue)
            reads = request.loaders.reads
        return Answering(run, self._words, fetch, reads), reads

    def _checked(self) -> Plan:
        """The plan of all that the document may ever select; raises NotCompilable."""
        stripped = without_switches(self._document) if self._switches.any_directive else self._document
        name = None if self._operation.name is None else self._operation.name.value
        operation = operation_named(stripped, name)
        assert operation is not None, "the document was validated"
        return self._plan(stripped, operation, None)

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
        planner = Planner(self._schema, self._catalogue, selections, run)
        return planner.make() if operation.operation is OperationType.QUERY else planner.make_payload()


class CompiledDocument(_Compiled):
    """One query of a document, ready for requests.

        text, reads = await compiled.answer(context, variables, fetch)  # raises FallBack
        await reads.write(context)                                      # no record, no answer

    The text is the JSON of `data`. FallBack means: graphql-core is to answer this request, because its answer has
    errors; so does an error of the database about a value (SQLSTATE class 22, or more than one row).
    """

    async def answer(self, context: Context, variables: Mapping[str, Any], fetch: Fetch) -> tuple[str, Reads]:
        """The JSON text of `data`, and the reads to be recorded before it leaves; raises FallBack."""
        try:
            plan, run = self._asked(context, variables)
            answering, reads = self._answering(run, fetch)
            return await answering.text(plan), reads
        except REFUSALS as error:
            raise FallBack from error


class CompiledMutation(_Compiled):
    """A document that changes one thing: what it changed is told by a statement after the commit.

        performed = await compiled.perform(context, variables)          # raises FallBack before anything is done
        text, reads = await compiled.tell(performed, fetch)             # raises FallBack: graphql-core is to tell

    graphql-core tells of `performed.done` when that is the root value, and does nothing again.
    """

    async def perform(self, context: Context, variables: Mapping[str, Any]) -> "Performed":
        """Run the mutation; what it raises is kept for graphql-core to word. FallBack: nothing was done."""
        try:
            plan, run = self._asked(context, variables)
            change = plan.change
            assert change is not None, "the plan is of a mutation"
            given = change.call.convert(run.arguments(change.call))["input"]
        except REFUSALS as error:
            raise FallBack from error
        try:
            name = change.call.coordinate.partition(".")[2]
            return Performed(plan, run, Done(await run_mendable(context, name, change.source, given)))
        except Exception as error:  # noqa: BLE001 -- whatever it is: graphql-core raises it again at its path
            return Performed(plan, run, Done(None, error))

    async def tell(self, performed: "Performed", fetch: Fetch) -> tuple[str, Reads]:
        """The JSON text of `data`, and the reads to be recorded before it leaves; raises FallBack."""
        change, answer = performed.plan.change, performed.done.answer
        assert change is not None, "the plan is of a mutation"
        if answer is None:
            raise FallBack
        try:
            answering, reads = self._answering(performed.run, fetch)
            (text,) = await answering.items(performed.plan, [answer])
        except REFUSALS as error:
            raise FallBack from error
        return f"{{{json.dumps(change.key)}:{text}}}", reads


@dataclass(frozen=True)
class Performed:
    """A mutation that was run, with the plan of what is told of it."""

    plan: Plan
    run: Run
    done: Done


def compile_document(
    schema: GraphQLSchema, catalogue: Catalogue, document: DocumentNode, operation_name: str | None = None
) -> CompiledDocument | CompiledMutation:
    """The compiled form of a parsed and validated document's operation; raises NotCompilable with reason and path."""
    operation = operation_named(document, operation_name)
    if operation is None:
        raise NotCompilable("there is no one operation to run")
    if operation.operation is OperationType.SUBSCRIPTION:
        raise NotCompilable("what is followed has many answers")
    kind = CompiledDocument if operation.operation is OperationType.QUERY else CompiledMutation
    return kind(schema, catalogue, document, operation)


@lru_cache(maxsize=8)
def words_of(catalogue: Catalogue) -> frozenset[str]:
    """The schema's own names of fields; every other response key is a caller's word, and bound."""
    return frozenset({"__typename"}.union(*(declared.fields for declared in catalogue.types.values())))


def _permitted(permissions: Sequence[str], run: Run) -> bool:
    """Whether the caller has all of these somewhere; what the policy says of it is asked once for each caller."""
    actor = run.context.actor
    asked = ruled(("permitted", *permissions), run, lambda: noted(all(map(actor.may_somewhere, permissions))))
    return asked.notes == (True,)


def operation_named(document: DocumentNode, name: str | None) -> OperationDefinitionNode | None:
    """The operation of that name, or the only one."""
    found = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    if name is not None:
        found = [node for node in found if node.name is not None and node.name.value == name]
    return found[0] if len(found) == 1 else None
