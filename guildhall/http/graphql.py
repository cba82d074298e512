"""`/graphql`: GraphQL over HTTP for programs, GraphiQL for browsers.

POST takes a JSON body, GET runs queries only. The answer's media type decides what the status means, as the
specification of GraphQL over HTTP says: under `application/graphql-response+json` a request that was not executed is
a 4xx; under `application/json`, which intermediaries may answer too, it is 200 wherever the request was well formed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import msgspec
from litestar import asgi
from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import HTTPScope, Receive, Scope, Send

from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError, Invalid, LimitExceeded, Unauthenticated, Unavailable
from guildhall.graphql.answers import refusal_extensions
from guildhall.graphql.context import Context, Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.execution import Answer, Executor, Request
from guildhall.graphql.limits import DocumentTooLarge, VariablesTooLarge
from guildhall.http.exchange import BodyTooLarge, ClientGone, read_body, send_bytes, send_json
from guildhall.http.exchange import Headers as AnswerHeaders
from guildhall.http.graphiql_page import graphiql_page
from guildhall.http.identity import Identity, request_id
from guildhall.http.negotiation import GRAPHQL_JSON, HTML, PLAIN_JSON, accepted
from guildhall.http.watching import Metrics
from guildhall.settings import Settings

STATE_KEY = "graphql_desk"
BODY_BYTES_BESIDES = 16_384
"""What a body may have beyond the document and the variables: the rest of its JSON, and escapes."""

RETRY_SECONDS = 5


class MalformedRequest(Invalid):
    """A request that is not GraphQL over HTTP."""

    code = "BAD_REQUEST"


@dataclass(frozen=True, kw_only=True)
class GraphQLDesk:
    """What the route needs of the process."""

    database: Database
    identity: Identity
    executor: Executor
    settings: Settings
    clock: Clock
    new_id: IdSource
    services: Services
    signer: CursorSigner
    metrics: Metrics


@dataclass(frozen=True)
class _Refusal:
    """An answer to a request that is not executed: its status, and the errors."""

    status: int
    error: GuildhallError
    headers: tuple[tuple[str, str], ...] = ()


@asgi("/graphql", copy_scope=True)
async def graphql_route(scope: Scope, receive: Receive, send: Send) -> None:
    """One address for both methods."""
    assert scope["type"] == ScopeType.HTTP
    desk = scope["litestar_app"].state[STATE_KEY]
    assert isinstance(desk, GraphQLDesk)
    headers = Headers.from_scope(scope)
    accept = headers.get("accept", "")
    may_be_page = scope["method"] == "GET" and not scope["query_string"] and desk.settings.graphql_graphiql
    if may_be_page and accepted(accept, (PLAIN_JSON, GRAPHQL_JSON, HTML)) == HTML:
        page, policy = graphiql_page()
        await send_bytes(send, 200, page, "text/html; charset=utf-8", policy)
        return
    media_type = accepted(accept, (PLAIN_JSON, GRAPHQL_JSON))
    if media_type is None:
        refusal = MalformedRequest(
            f"The answer can be {GRAPHQL_JSON} or {PLAIN_JSON}; the Accept header allows neither."
        )
        await _send_refusal(send, _Refusal(406, refusal), PLAIN_JSON)
        return
    try:
        asked = await _read(desk, scope, headers, receive)
        if isinstance(asked, _Refusal):
            await _send_refusal(send, asked, media_type)
            return
        await _answer(desk, scope, asked, media_type, send)
    except ClientGone:
        return


async def _answer(desk: GraphQLDesk, scope: HTTPScope, asked: Request, media_type: str, send: Send) -> None:
    try:
        actor = await desk.identity.actor_or_none(scope)
    except Unauthenticated as error:
        await _send_refusal(send, _Refusal(401, error, (("www-authenticate", 'Bearer realm="Guildhall"'),)), media_type)
        return
    except Unavailable as error:
        await _send_refusal(send, _Refusal(503, error, (("retry-after", str(RETRY_SECONDS)),)), media_type)
        return
    context = Context(
        database=desk.database,
        actor_or_none=actor,
        clock=desk.clock,
        new_id=desk.new_id,
        settings=desk.settings,
        services=desk.services,
        signer=desk.signer,
        at=desk.clock.now(),
        request_id=request_id(scope),
    )
    answer = await desk.executor.run(asked, context, queries_only=scope["method"] == "GET")
    for told in answer.errors:
        desk.metrics.graphql_errors.labels(told["extensions"]["code"]).inc()
    status, headers = _status(answer, media_type)
    await send_json(send, status, answer.body(), content_type=f"{media_type}; charset=utf-8", headers=headers)


def _status(answer: Answer, media_type: str) -> tuple[int, AnswerHeaders]:
    codes = {error["extensions"]["code"] for error in answer.errors}
    if answer.executed:
        return 200, ()
    if "METHOD_NOT_ALLOWED" in codes:
        return 405, [("allow", "POST")]
    if "UNAUTHENTICATED" in codes:
        return 401, [("www-authenticate", 'Bearer realm="Guildhall"')]
    return (400 if media_type == GRAPHQL_JSON else 200), ()


async def _read(desk: GraphQLDesk, scope: HTTPScope, headers: Headers, receive: Receive) -> Request | _Refusal:
    """The request as the client meant it, or why it is none."""
    settings = desk.settings
    try:
        if scope["method"] == "GET":
            return _from_query(scope["query_string"], settings)
        if scope["method"] != "POST":
            return _Refusal(405, MalformedRequest("GraphQL is asked by POST or GET."), (("allow", "GET, POST"),))
        content_type, _, parameters = headers.get("content-type", "").partition(";")
        if content_type.strip().lower() != PLAIN_JSON or not _is_utf8(parameters):
            return _Refusal(415, MalformedRequest(f"A request is sent as {PLAIN_JSON} in UTF-8."))
        bytes_max = (
            2 * (settings.graphql_document_bytes_max + settings.graphql_variables_bytes_max) + BODY_BYTES_BESIDES
        )
        body = await read_body(receive, bytes_max)
        return _from_values(_decode(body, "The body"), settings)
    except (BodyTooLarge, DocumentTooLarge, VariablesTooLarge) as error:
        return _Refusal(413, error)
    except (Invalid, LimitExceeded) as error:
        return _Refusal(400, error)


def _is_utf8(parameters: str) -> bool:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().lower().partition("=")
        if name == "charset" and value.strip('"') not in {"utf-8", "utf8"}:
            return False
    return True


def _from_query(query_string: bytes, settings: Settings) -> Request:
    try:
        values = parse_qs(query_string.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError as error:
        raise MalformedRequest("The query string cannot be read.") from error
    given: dict[str, Any] = {name: found[0] for name, found in values.items()}
    for name in ("variables", "extensions"):
        if given.get(name):
            given[name] = _decode(given[name].encode(), f"`{name}`")
        else:
            given.pop(name, None)
    return _from_values(given, settings)


def _from_values(values: object, settings: Settings) -> Request:
    if not isinstance(values, Mapping):
        raise MalformedRequest("A request is one JSON object with `query`; batches are not taken.")
    document, variables, operation = values.get("query"), values.get("variables"), values.get("operationName")
    if not isinstance(document, str) or not document:
        raise MalformedRequest("`query` is missing: the text of a document.")
    if variables is not None and not isinstance(variables, Mapping):
        raise MalformedRequest("`variables` must be an object.")
    if operation is not None and not isinstance(operation, str):
        raise MalformedRequest("`operationName` must be a string.")
    if values.get("extensions") is not None and not isinstance(values["extensions"], Mapping):
        raise MalformedRequest("`extensions` must be an object.")
    if len(document.encode("utf-8", "surrogatepass")) > settings.graphql_document_bytes_max:
        raise DocumentTooLarge(f"A document has {settings.graphql_document_bytes_max} bytes at most.")
    if variables and len(msgspec.json.encode(variables)) > settings.graphql_variables_bytes_max:
        raise VariablesTooLarge(f"Variables have {settings.graphql_variables_bytes_max} bytes at most.")
    return Request(document, variables, operation)


def _decode(text: bytes, what: str) -> Any:  # noqa: ANN401 -- any JSON
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(f"{what} is not JSON: {error}.") from error
    except RecursionError as error:
        raise MalformedRequest(f"{what} is nested too deeply.") from error


async def _send_refusal(send: Send, refusal: _Refusal, media_type: str) -> None:
    errors = [{"message": refusal.error.message, "extensions": refusal_extensions(refusal.error)}]
    await send_json(
        send, refusal.status, {"errors": errors}, content_type=f"{media_type}; charset=utf-8", headers=refusal.headers
    )
