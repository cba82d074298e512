"""From the text of a document to its answer: limits, parse, validate, who may ask at all, execute, format."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    execute,
    parse,
    specified_rules,
    validate,
)
from graphql.error import GraphQLSyntaxError

from guildhall.errors import GuildhallError, Invalid, LimitExceeded, Unauthenticated
from guildhall.graphql.answers import format_error
from guildhall.graphql.compose import Composed
from guildhall.graphql.context import Context
from guildhall.graphql.limits import DocumentTooComplex, check_document, check_rows, find_operation, root_fields
from guildhall.graphql.loaders import Loaders
from guildhall.settings import Settings

DOCUMENTS_MAX = 500
"""How many validated documents are kept; the oldest unused goes first."""

_VALIDATION_ERRORS_MAX = 20


@dataclass(frozen=True)
class Request:
    """What a client asks: one document, one operation of it, variables."""

    document: str
    variables: Mapping[str, Any] | None = None
    operation_name: str | None = None


@dataclass(frozen=True)
class Answer:
    """`data` is absent (None and not `executed`) where the request itself was refused."""

    errors: list[dict[str, Any]]
    data: dict[str, Any] | None = None
    executed: bool = False
    extensions: dict[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        """The answer as JSON says it: errors first, and no `data` for a request that was not executed."""
        body: dict[str, Any] = {}
        if self.errors:
            body["errors"] = self.errors
        if self.executed:
            body["data"] = self.data
        if self.extensions:
            body["extensions"] = self.extensions
        return body


class Executor:
    """Runs documents against one schema; holds the validated documents of the last callers.

    How many bytes a document and its variables may have is asked where they come in, before anything else is done.
    """

    def __init__(self, composed: Composed, settings: Settings) -> None:
        self.composed = composed
        self._settings = settings
        self._documents: OrderedDict[str, DocumentNode] = OrderedDict()

    def prepare(self, request: Request) -> tuple[DocumentNode, OperationDefinitionNode]:
        """Parse, validate and limit; raises RequestRefused with all that is wrong."""
        document = self._documents.get(request.document)
        if document is None:
            document = self._parse(request.document)
            self._validate(document)
            operation = _operation(document, request.operation_name)
            self._documents[request.document] = document
            if len(self._documents) > DOCUMENTS_MAX:
                self._documents.popitem(last=False)
            return document, operation
        self._documents.move_to_end(request.document)
        return document, _operation(document, request.operation_name)

    async def run(self, request: Request, context: Context, *, queries_only: bool = False) -> Answer:
        """The answer to one request. `queries_only` is for GET, which must not change anything."""
        try:
            document, operation = self.admit(request, context, queries_only=queries_only)
            if operation.operation is OperationType.SUBSCRIPTION:
                raise _refused(NotFollowed("A subscription is followed over a WebSocket or as server-sent events."))
        except RequestRefused as refused:
            return refused.answer(context)
        (answer,) = await self.answers(document, request, context, [None])
        return answer

    def admit(
        self, request: Request, context: Context, *, queries_only: bool = False
    ) -> tuple[DocumentNode, OperationDefinitionNode]:
        """The document and its operation, if the caller may run them with these variables; raises RequestRefused."""
        document, operation = self.prepare(request)
        _require_allowed(document, operation, context, queries_only=queries_only)
        self._require_rows(document, operation, request.variables or {})
        return document, operation

    async def answers(
        self, document: DocumentNode, request: Request, context: Context, roots: Sequence[object]
    ) -> list[Answer]:
        """Execute an admitted document once on each root, all with the same loaders."""
        context.loaders = Loaders(context, self.composed.catalogue)
        results = await asyncio.gather(*(self._execute(document, request, context, root) for root in roots))
        try:
            await context.loaders.reads.write(context)
        except GuildhallError as error:
            # No record, no answer. What a mutation committed stays; its idempotency key gives the answer again.
            refused = GraphQLError(error.message, original_error=error)
            return [Answer([format_error(refused, new_id=context.new_id)]) for _ in roots]
        return [_answer(result, context) for result in results]

    async def _execute(
        self, document: DocumentNode, request: Request, context: Context, root: object
    ) -> ExecutionResult:
        result = execute(
            self.composed.schema,
            document,
            root_value=root,
            context_value=context,
            variable_values=dict(request.variables or {}),
            operation_name=request.operation_name,
            hide_suggestions=not self._settings.graphql_introspection,
        )
        if isawaitable(result):
            result = await result
        assert isinstance(result, ExecutionResult)
        return result

    def _require_rows(
        self, document: DocumentNode, operation: OperationDefinitionNode, variables: Mapping[str, Any]
    ) -> None:
        page_max, rows_max = self._settings.graphql_page_max, self._settings.graphql_rows_max
        try:
            check_rows(document, operation, variables, page_max=page_max, rows_max=rows_max)
        except LimitExceeded as error:
            raise _refused(error) from error

    def _parse(self, text: str) -> DocumentNode:
        settings = self._settings
        try:
            return parse(text, max_tokens=settings.graphql_tokens_max)
        except GraphQLSyntaxError as error:
            if f"more than {settings.graphql_tokens_max} tokens" in error.message:
                message = f"The document has more than {settings.graphql_tokens_max} tokens."
                raise _refused(DocumentTooComplex(message)) from error
            raise RequestRefused([_coded(error, "GRAPHQL_PARSE_FAILED")]) from error
        except RecursionError as error:
            raise _refused(DocumentTooComplex("The document is nested too deeply.")) from error

    def _validate(self, document: DocumentNode) -> None:
        rules = list(specified_rules)
        if not self._settings.graphql_introspection:
            rules.append(NoSchemaIntrospectionCustomRule)
        errors = validate(
            self.composed.schema,
            document,
            rules,
            max_errors=_VALIDATION_ERRORS_MAX,
            hide_suggestions=not self._settings.graphql_introspection,
        )
        if errors:
            raise RequestRefused([_coded(error, "GRAPHQL_VALIDATION_FAILED") for error in errors])


class RequestRefused(Exception):
    """The request is not executed at all."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors

    def answer(self, context: Context) -> Answer:
        """What the caller is told."""
        return Answer([format_error(error, new_id=context.new_id) for error in self.errors])


class NotFollowed(Invalid):
    """A subscription asked like a query, which has one answer."""

    code = "SUBSCRIPTION_NEEDS_STREAM"


def _answer(result: ExecutionResult, context: Context) -> Answer:
    executed = result.data is not None or not result.errors or any(error.path for error in result.errors)
    errors = [_with_code(error, executed=executed) for error in result.errors or ()]
    return Answer([format_error(error, new_id=context.new_id) for error in errors], result.data, executed)


def _operation(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    try:
        operation = find_operation(document, name)
        check_document(document, operation)
    except GraphQLError as error:
        raise RequestRefused([error]) from error
    except LimitExceeded as error:
        raise _refused(error) from error
    return operation


def _require_allowed(
    document: DocumentNode, operation: OperationDefinitionNode, context: Context, *, queries_only: bool
) -> None:
    """GET changes nothing, and nobody unknown is told anything but that somebody is there."""
    if queries_only and operation.operation is not OperationType.QUERY:
        raise RequestRefused([GraphQLError("A GET runs queries only.", extensions={"code": "METHOD_NOT_ALLOWED"})])
    if context.actor_or_none is None and root_fields(document, operation) - {"__typename"}:
        raise _refused(Unauthenticated("Sign in first: send a token as `Authorization: Bearer …`."))


def _refused(error: GuildhallError) -> RequestRefused:
    return RequestRefused([GraphQLError(error.message, original_error=error)])


def _coded(error: GraphQLError, code: str) -> GraphQLError:
    return GraphQLError(
        error.message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        extensions={"code": code},
    )


def _with_code(error: GraphQLError, *, executed: bool) -> GraphQLError:
    """graphql-core's own errors: of variables before it ran, of an argument's value while it ran."""
    cause = error.original_error
    if not executed and not (isinstance(cause, GuildhallError) and error.path):
        return _coded(error, "BAD_USER_INPUT")
    return error
