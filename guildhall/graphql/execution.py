"""From the text of a document to its answer: make it ready, ask who may run it, execute, format."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from typing import Any

import msgspec
from graphql import DocumentNode, ExecutionResult, GraphQLError, OperationDefinitionNode, execute

from guildhall.auth.standing import Standing
from guildhall.clock import new_id
from guildhall.db.kept_statements import KeptStatements
from guildhall.db.timing import StatementsTimed, StatementTimes
from guildhall.errors import GuildhallError, Invalid, LimitExceeded
from guildhall.graphql.answers import format_error
from guildhall.graphql.compiler.answers import Fetch
from guildhall.graphql.compiler.compile import CompiledDocument, CompiledMutation
from guildhall.graphql.compiler.runs import FallBack
from guildhall.graphql.compose import Composed
from guildhall.graphql.context import Context
from guildhall.graphql.documents import (
    Documents,
    Operation,
    Prepared,
    RequestRefused,
    coded,
    refused,
    refused_by,
)
from guildhall.graphql.fetching import NotStanding, StatementFailed, StatementSource
from guildhall.graphql.mutations import Done
from guildhall.graphql.recording import Reads
from guildhall.graphql.resolving import resolving
from guildhall.patience import Within
from guildhall.settings import Settings

FINISH_SECONDS_MAX = 10
"""How long a server that stops waits for changes that have begun; those that are not done then are rolled back."""

_SLOWEST_TOLD = 5

logger = logging.getLogger(__name__)


class QueryTimeout(LimitExceeded):
    """A query took longer than any may. What it had read so far is not told."""

    code = "QUERY_TIMEOUT"


class Request(msgspec.Struct, frozen=True):
    """What a client asks: one document, one operation of it, variables."""

    document: str
    variables: Mapping[str, Any] | None = None
    operation_name: str | None = None
    wants_cost: bool = False
    """Whether the answer's `extensions` are to say what the document may cost."""


class Answer(msgspec.Struct, frozen=True):
    """`data` is absent (None and not `executed`) where the request itself was refused."""

    errors: list[dict[str, Any]]
    data: Mapping[str, Any] | msgspec.Raw | None = None
    """As a mapping, or as the JSON text that the database made."""
    executed: bool = False
    extensions: dict[str, Any] | None = None
    compiled: bool = False

    def text(self) -> bytes:
        """The answer as JSON."""
        if isinstance(self.data, msgspec.Raw) and not self.errors and not self.extensions:
            return b'{"data":%b}' % self.data
        return msgspec.json.encode(self.body())

    def body(self) -> dict[str, Any]:
        """What the JSON says: errors first, and no `data` for a request that was not executed."""
        body: dict[str, Any] = {}
        if self.errors:
            body["errors"] = self.errors
        if self.executed:
            body["data"] = self.data
        if self.extensions:
            body["extensions"] = self.extensions
        return body


class Executor:
    """Runs documents against one schema.

    How many bytes a document and its variables may have is asked where they come in, before anything else is done.
    """

    def __init__(self, composed: Composed, settings: Settings, statements: KeptStatements | None = None) -> None:
        self.composed = composed
        self._documents = Documents(composed, settings, new_id, compiling=statements is not None)
        self._strangers_documents = Documents(None, settings, new_id)
        self._statements = statements
        self._settings = settings
        self._running: set[asyncio.Task[Answer]] = set()

    async def run(self, request: Request, context: Context, *, may_change: bool = True) -> Answer:
        """The answer to one request. A GET may not change anything."""
        try:
            prepared, operation = self._admit(request, context, may_change=may_change)
            if operation.kind == "subscription":
                raise refused_by(NotFollowed("A subscription is followed over a WebSocket or as server-sent events."))
        except RequestRefused as refusal:
            return refusal_of(refusal, context)
        began = time.perf_counter()
        with StatementsTimed() as times:
            if operation.kind == "query":
                answer = await self._statement(operation, request, context)
                if answer is None:
                    answer = await self._query(prepared, request, context)
            else:
                answer = await self._mutation(prepared, operation, request, context)
        self._tell_if_slow(prepared, operation, context, times, began)
        return self._with_cost(answer, operation, request)

    async def run_standing(self, request: Request, context: Context, standing: Standing) -> Answer | None:
        """The answer to one who is remembered, where one statement can prove who they are and read for them.

        None says no more than that the caller must be identified first, whatever the reason; so does RequestRefused,
        which may be told when that has been done. `context` has the standing's actor, whom nothing but that statement
        may trust.
        """
        prepared, operation = self._admit(request, context, may_change=True)
        if not isinstance(operation.compiled, CompiledDocument):
            return None
        began = time.perf_counter()
        with StatementsTimed() as times:
            answer = await self._statement(operation, request, context, standing)
        self._tell_if_slow(prepared, operation, context, times, began)
        return None if answer is None else self._with_cost(answer, operation, request)

    async def _statement(
        self, operation: Operation, request: Request, context: Context, standing: Standing | None = None
    ) -> Answer | None:
        """The answer of the compiled statement; None where graphql-core has to give it, or the caller is another."""
        if not isinstance(operation.compiled, CompiledDocument) or self._statements is None:
            return None
        seconds_max = self._settings.graphql_seconds_max
        compiled = operation.compiled
        answer = partial(compiled.answer, context, request.variables or {})
        try:
            with Within(seconds_max):
                text = await self._read(compiled, answer, context, standing)
        except (FallBack, NotStanding):
            return None
        except TimeoutError:
            return _failed(QueryTimeout(f"A query has {seconds_max} seconds at most: ask for less at once."), context)
        except StatementFailed as failed:
            return _failed(failed.error, context)
        except GuildhallError as error:
            return _failed(error, context)
        return Answer([], msgspec.Raw(text.encode()), executed=True, compiled=True)

    async def _read(
        self,
        compiled: CompiledDocument | CompiledMutation,
        answer: Callable[[Fetch], Awaitable[tuple[str, Reads]]],
        context: Context,
        standing: Standing | None,
    ) -> str:
        """The text of an answer. One that holds closed records is read in the transaction that records so.

        Only the answer shows whether it does. What was read for nothing is dropped and read again, and the next one of
        this document begins with the transaction.
        """
        assert self._statements is not None, "there are statements to be read"
        if not compiled.tells_of_records:
            text, reads = await answer(StatementSource(self._statements, context.at, standing).fetch)
            if not reads.found_any:
                return text
        async with self._statements.transaction() as transaction:
            text, reads = await answer(StatementSource(transaction, context.at, standing).fetch)
            compiled.tells_of_records = reads.found_any
            await reads.write_in(transaction, context)
        return text

    def _tell_if_slow(
        self, prepared: Prepared, operation: Operation, context: Context, times: StatementTimes, began: float
    ) -> None:
        milliseconds = (time.perf_counter() - began) * 1000
        if milliseconds >= self._settings.graphql_slow_milliseconds:
            _tell_slow(prepared, operation, context, milliseconds, times)

    def _with_cost(self, answer: Answer, operation: Operation, request: Request) -> Answer:
        if not request.wants_cost:
            return answer
        rows = operation.cost.rows(request.variables or {})
        return msgspec.structs.replace(
            answer, extensions={"cost": {"rows": rows, "rowsMax": self._settings.graphql_rows_max}}
        )

    async def _query(self, prepared: Prepared, request: Request, context: Context) -> Answer:
        seconds_max = self._settings.graphql_seconds_max
        try:
            with Within(seconds_max):
                (answer,) = await self.answers(prepared.document, request, context, [None])
                return answer
        except TimeoutError:
            return _failed(QueryTimeout(f"A query has {seconds_max} seconds at most: ask for less at once."), context)

    async def _mutation(self, prepared: Prepared, operation: Operation, request: Request, context: Context) -> Answer:
        """Goes on to its end when the caller leaves: what is half done is what nobody can make sense of."""
        running = asyncio.create_task(self._change(prepared, operation, request, context))
        self._running.add(running)  # the event loop alone would forget it
        running.add_done_callback(self._running.discard)
        return await asyncio.shield(running)

    async def finish(self) -> None:
        """Wait for the changes whose callers have left, before the database is closed."""
        if self._running:
            await asyncio.wait(self._running, timeout=FINISH_SECONDS_MAX)

    async def _change(self, prepared: Prepared, operation: Operation, request: Request, context: Context) -> Answer:
        """One change is told by a statement after its commit, where that can tell it; else graphql-core tells it."""
        done: Done | None = None
        if isinstance(operation.compiled, CompiledMutation) and self._statements is not None:
            with contextlib.suppress(FallBack):
                performed = await operation.compiled.perform(context, request.variables or {})
                done = performed.done
                try:
                    tell = partial(operation.compiled.tell, performed)
                    text = await self._read(operation.compiled, tell, context, None)
                except StatementFailed as failed:
                    return _failed(failed.error, context)
                except GuildhallError as error:
                    return _failed(error, context)
                return Answer([], msgspec.Raw(text.encode()), executed=True, compiled=True)
        (answer,) = await self.answers(prepared.document, request, context, [done])
        return answer

    def admit(
        self, request: Request, context: Context, *, may_change: bool = True
    ) -> tuple[DocumentNode, OperationDefinitionNode]:
        """The document and its operation, if the caller may run them with these variables; raises RequestRefused."""
        prepared, operation = self._admit(request, context, may_change=may_change)
        return prepared.document, operation.node

    def _admit(self, request: Request, context: Context, *, may_change: bool) -> tuple[Prepared, Operation]:
        prepared, operation = self._documents_for(context).prepare(
            request.document, request.operation_name, request.variables or {}
        )
        if operation.kind == "mutation" and not may_change:
            raise refused("A GET changes nothing: send a mutation by POST.", "METHOD_NOT_ALLOWED")
        return prepared, operation

    def _documents_for(self, context: Context) -> Documents:
        return self._strangers_documents if context.actor_or_none is None else self._documents

    async def answers(
        self, document: DocumentNode, request: Request, context: Context, roots: Sequence[object]
    ) -> list[Answer]:
        """Execute an admitted document once on each root, all with the same loaders."""
        context = resolving(context, self.composed.catalogue)
        results = await asyncio.gather(*(self._execute(document, request, context, root) for root in roots))
        try:
            await context.loaders.reads.write(context)
        except GuildhallError as error:
            # No record, no answer. What a mutation committed stays; its idempotency key gives the answer again.
            return [_failed(error, context) for _ in roots]
        return [_answer(result, context) for result in results]

    async def _execute(
        self, document: DocumentNode, request: Request, context: Context, root: object
    ) -> ExecutionResult:
        result = execute(
            self._documents_for(context).schema,
            document,
            root_value=root,
            context_value=context,
            variable_values=dict(request.variables or {}),
            operation_name=request.operation_name,
            hide_suggestions=not self._settings.graphql_suggestions,
        )
        if isawaitable(result):
            result = await result
        assert isinstance(result, ExecutionResult)
        return result


class NotFollowed(Invalid):
    """A subscription asked like a query, which has one answer."""

    code = "SUBSCRIPTION_NEEDS_STREAM"


def refusal_of(refusal: RequestRefused, context: Context) -> Answer:
    """What the caller of a request that is not executed is told."""
    return Answer([format_error(error, new_id=context.new_id) for error in refusal.errors])


def _answer(result: ExecutionResult, context: Context) -> Answer:
    executed = result.data is not None or not result.errors or any(error.path for error in result.errors)
    errors = [_with_code(error, executed=executed) for error in result.errors or ()]
    return Answer([format_error(error, new_id=context.new_id) for error in errors], result.data, executed)


def _tell_slow(
    prepared: Prepared, operation: Operation, context: Context, milliseconds: float, times: StatementTimes
) -> None:
    """One line of the log: which document, and what it asked the database, without any value."""
    slowest = sorted(times.found, reverse=True)[:_SLOWEST_TOLD]
    told = "; ".join(f"{seconds * 1000:.0f} ms: {' '.join(sql.split())}" for seconds, sql in slowest)
    line = "slow document %s (%s %s) took %.0f ms in request %s, %s statements, the slowest: %s"
    count = len(times.found) + times.more
    name = operation.name or "without a name"
    logger.warning(line, prepared.sha256, operation.kind, name, milliseconds, context.request_id, count, told)


def _failed(error: GuildhallError, context: Context) -> Answer:
    return Answer([format_error(GraphQLError(error.message, original_error=error), new_id=context.new_id)])


def _with_code(error: GraphQLError, *, executed: bool) -> GraphQLError:
    """graphql-core's own errors: of variables before it ran, of an argument's value while it ran."""
    cause = error.original_error
    if not executed and not (isinstance(cause, GuildhallError) and error.path):
        return coded(error, "BAD_USER_INPUT")
    return error
