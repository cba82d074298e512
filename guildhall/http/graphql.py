"""`/graphql`: GraphQL over HTTP for programs, GraphiQL for browsers.

POST takes a JSON body, GET runs no mutations. The answer's media type decides what the status means, as the
specification of GraphQL over HTTP says: under `application/graphql-response+json` a request that was not executed is
a 4xx; under `application/json`, which intermediaries may answer too, it is 200 wherever the request was well formed.
A page elsewhere can make a browser send neither our bearer token nor a JSON body, and a session's cookie counts only
from our own pages (`credentials.py`), so it can ask nothing.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from litestar.types import HTTPScope, Receive, Send

from guildhall.auth.actor import Actor
from guildhall.auth.standing import Recognised
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError, RateLimited, Unauthenticated, Unavailable
from guildhall.graphql.answers import refusal_extensions
from guildhall.graphql.context import Context, Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.documents import RequestRefused
from guildhall.graphql.execution import Answer, Executor, Request, refusal_of
from guildhall.graphql.limits import DocumentTooLarge, VariablesTooLarge
from guildhall.graphql.subscriptions.presence import Presence
from guildhall.graphql.subscriptions.stream import Streams
from guildhall.graphql.trusted import UnknownDocument, UntrustedDocument
from guildhall.http.compression import BYTES_MIN, compressed, takes_gzip
from guildhall.http.door import Door
from guildhall.http.exchange import BodyTooLarge, BodyTooSlow, ClientGone, Headers, read_body, send_bytes
from guildhall.http.graphiql_page import graphiql_page
from guildhall.http.headers import headers_of
from guildhall.http.identity import Identity, request_context, request_id
from guildhall.http.leaving import WhileConnected
from guildhall.http.negotiation import GRAPHQL_JSON, HTML, PLAIN_JSON, accepted
from guildhall.http.requests import MalformedRequest, RequestReader
from guildhall.http.server_sent_events import EVENT_STREAM, event_stream
from guildhall.http.watching import Metrics
from guildhall.settings import Settings

RETRY_SECONDS = 5
_OFFERED = (PLAIN_JSON, GRAPHQL_JSON, EVENT_STREAM)
_CONTENT_TYPES = {kind: f"{kind}; charset=utf-8".encode() for kind in (PLAIN_JSON, GRAPHQL_JSON)}
_TOO_LARGE = (BodyTooLarge, DocumentTooLarge, VariablesTooLarge)
_AWAY = frozenset({"DATABASE_UNAVAILABLE", "DATABASE_BUSY"})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class GraphQLDesk:
    """What the endpoint needs of the process."""

    database: Database
    identity: Identity
    executor: Executor
    reader: RequestReader
    door: Door
    settings: Settings
    clock: Clock
    new_id: IdSource
    services: Services
    signer: CursorSigner
    metrics: Metrics
    streams: Streams
    recognised: Recognised

    def context(self, actor: Actor | None, request_id: str, at: datetime | None = None) -> Context:
        """What one request, or one look of a stream, carries: its moment is now, unless it was taken already."""
        return Context(
            database=self.database,
            actor_or_none=actor,
            clock=self.clock,
            new_id=self.new_id,
            settings=self.settings,
            services=self.services,
            signer=self.signer,
            at=at or self.clock.now(),
            request_id=request_id,
        )


@dataclass(slots=True)
class _Call:
    """One exchange: what the client sent beside the body, and what it takes in return."""

    scope: HTTPScope
    receive: Receive
    send: Send
    headers: Mapping[bytes, bytes]
    media_type: str

    @property
    def may_change(self) -> bool:
        """A GET may be sent by a link, kept, and sent again by anybody on the way."""
        return self.scope["method"] != "GET"

    def header(self, name: bytes) -> str:
        """The text of a header, empty where it is absent."""
        return self.headers.get(name, b"").decode("latin-1")


class GraphQLEndpoint:
    """A bare ASGI application for one address."""

    def __init__(self, desk: GraphQLDesk) -> None:
        self._desk = desk

    async def __call__(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        """One exchange, whatever it asks."""
        headers = headers_of(scope)
        accept = headers.get(b"accept", b"").decode("latin-1")
        may_be_page = scope["method"] == "GET" and not scope["query_string"] and self._desk.settings.graphql_graphiql
        if may_be_page and accepted(accept, (PLAIN_JSON, GRAPHQL_JSON, HTML)) == HTML:
            page, policy = graphiql_page()
            await send_bytes(send, 200, page, b"text/html; charset=utf-8", policy)
            return
        media_type = accepted(accept, _OFFERED)
        call = _Call(scope, receive, send, headers, media_type or PLAIN_JSON)
        try:
            if media_type is None:
                offered = f"{GRAPHQL_JSON}, {PLAIN_JSON} or {EVENT_STREAM}"
                told = f"The answer can be {offered}; the Accept header allows none of them."
                await _refuse(call, MalformedRequest(told), 406)
            else:
                await self._exchange(call)
        except ClientGone as gone:
            # An answer all the same: where there is none, the server makes up a 500 in plain text.
            await _refuse(call, gone, 503)
        except Exception:
            key = request_id(scope)
            logger.exception("request %s failed", key)
            told = f"Something went wrong on our side; it is in the log as {key}."
            extensions = {"code": "INTERNAL_ERROR", "errorId": key}
            await _send_errors(call, 500, [{"message": told, "extensions": extensions}])

    async def _exchange(self, call: _Call) -> None:
        try:
            with self._desk.door.inside():
                body = await self._body(call)
                try:
                    asked = self._read(call, body)
                    if call.media_type != EVENT_STREAM:
                        await self._serve(call, asked)
                finally:
                    self._desk.door.hold(-len(body))
            if call.media_type == EVENT_STREAM:  # which has places of its own
                await self._stream(call, asked)
        except _Refused as refused:
            await _refuse(call, refused.error, refused.status)
        except Unauthenticated as error:
            await _refuse(call, error, 401)
        except RateLimited as error:
            await _refuse(call, error, 429)
        except Unavailable as error:
            await _refuse(call, error, 503)

    async def _body(self, call: _Call) -> bytes:
        """All of it; the door holds its bytes from here on."""
        method = call.scope["method"]
        if method == "GET":
            return b""
        if method != "POST":
            raise _Refused(405, MalformedRequest("GraphQL is asked by POST or GET."))
        sent = call.header(b"content-type")
        if (sent != PLAIN_JSON and not _is_json(sent)) or b"content-encoding" in call.headers:
            raise _Refused(415, MalformedRequest(f"A request is sent as {PLAIN_JSON} in UTF-8, not compressed."))
        try:
            return await read_body(call.receive, self._desk.reader.body_bytes_max, hold=self._desk.door.hold)
        except BodyTooLarge as error:
            raise _Refused(413, error) from error
        except BodyTooSlow as error:
            raise _Refused(408, error) from error

    def _read(self, call: _Call, body: bytes) -> Request:
        reader = self._desk.reader
        try:
            if call.scope["method"] == "GET":
                return reader.from_query_string(call.scope["query_string"])
            return reader.from_body(body)
        except _TOO_LARGE as error:
            raise _Refused(413, error) from error
        except (UnknownDocument, UntrustedDocument) as error:  # well formed: as a document that does not validate
            raise _Refused(400 if call.media_type == GRAPHQL_JSON else 200, error) from error
        except GuildhallError as error:
            raise _Refused(400, error) from error

    async def _serve(self, call: _Call, asked: Request) -> None:
        desk = self._desk
        async with desk.door.working():
            with WhileConnected(call.receive):
                answer = await self._answer(call, asked)
        (desk.metrics.by_statement if answer.compiled else desk.metrics.by_graphql_core).inc()
        for told in answer.errors:
            desk.metrics.graphql_errors.labels(told["extensions"]["code"]).inc()
        await _send(call, _status(answer, call.media_type), answer.text(), is_whole=not answer.errors)

    async def _answer(self, call: _Call, asked: Request) -> Answer:
        desk, key = self._desk, request_id(call.scope)
        shown = desk.identity.shown(call.scope)
        if shown is None:
            return await desk.executor.run(asked, desk.context(None, key), may_change=call.may_change)
        at = desk.clock.now()
        standing = desk.recognised.standing(shown.text, at, request_context(call.scope))
        refused: RequestRefused | None = None
        if standing is not None:
            try:
                answer = await desk.executor.run_standing(asked, desk.context(standing.actor, key, at), standing)
            except RequestRefused as refusal:  # not before it is certain who asks
                answer, refused = None, refusal
            if answer is not None:
                return answer
        actor = await desk.identity.of(shown, call.scope)
        desk.recognised.keep(shown.text, actor, at)
        if refused is not None:
            return refusal_of(refused, desk.context(actor, key))
        return await desk.executor.run(asked, desk.context(actor, key), may_change=call.may_change)

    async def _stream(self, call: _Call, asked: Request) -> None:
        desk = self._desk
        actor = await desk.identity.actor(call.scope)
        presence = Presence(desk.streams.feed, actor, partial(desk.identity.actor, call.scope))
        make_context = partial(desk.context, request_id=request_id(call.scope))
        try:
            desk.executor.admit(asked, make_context(actor), may_change=call.may_change)
        except RequestRefused as refusal:
            answer = refusal_of(refusal, make_context(actor))
            if _status(answer, call.media_type) == 405:  # what else refuses it is told in the stream
                await _send(call, 405, answer.text())
                return
        await event_stream(desk.streams, asked, presence, make_context, desk.settings, call.receive, call.send)


class _Refused(Exception):
    """A request that is not read, or not run."""

    def __init__(self, status: int, error: GuildhallError) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error


def _status(answer: Answer, media_type: str) -> int:
    if answer.executed:
        return 200
    codes = {error["extensions"]["code"] for error in answer.errors}
    if "METHOD_NOT_ALLOWED" in codes:
        return 405
    if "UNAUTHENTICATED" in codes:
        return 401
    if codes & _AWAY:
        return 503
    return 400 if media_type == GRAPHQL_JSON else 200


def _is_json(content_type: str) -> bool:
    """Whether it is JSON in UTF-8, with whatever parameters besides."""
    name, _, parameters = content_type.partition(";")
    if name.strip().lower() != PLAIN_JSON:
        return False
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().lower().partition("=")
        if name == "charset" and value.strip('"') not in {"utf-8", "utf8"}:
            return False
    return True


async def _refuse(call: _Call, error: GuildhallError, status: int) -> None:
    about = [(b"retry-after", b"%d" % error.retry_after_seconds)] if isinstance(error, RateLimited) else []
    await _send_errors(call, status, [{"message": error.message, "extensions": refusal_extensions(error)}], about)


async def _send_errors(call: _Call, status: int, errors: Sequence[Mapping[str, Any]], about: Headers = ()) -> None:
    """What is wrong, where nothing was executed."""
    await _send(call, status, msgspec.json.encode({"errors": errors}), about)


async def _send(call: _Call, status: int, body: bytes, about: Headers = (), *, is_whole: bool = False) -> None:
    """The answer, smaller or left out where the client has said that it can do with that."""
    headers = [*_ABOUT.get(status, ()), *about]
    is_get = call.scope["method"] == "GET"
    if status == 405:
        headers.append((b"allow", b"POST" if is_get else b"GET, POST"))
    if is_get:
        headers.append((b"vary", b"accept, accept-encoding, authorization, cookie"))
    if is_get and status == 200 and is_whole:
        tag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers += [(b"etag", tag.encode()), (b"cache-control", b"private, no-cache")]
        if tag in call.header(b"if-none-match"):
            await send_bytes(call.send, 304, b"", None, headers)
            return
    else:
        headers.append((b"cache-control", b"no-store"))
    if len(body) >= BYTES_MIN and b"accept-encoding" in call.headers and takes_gzip(call.header(b"accept-encoding")):
        body = await compressed(body)
        headers.append((b"content-encoding", b"gzip"))
    content_type = _CONTENT_TYPES.get(call.media_type) or _CONTENT_TYPES[PLAIN_JSON]  # what is refused is no stream
    await send_bytes(call.send, status, body, content_type, headers)


_ABOUT: Mapping[int, tuple[tuple[bytes, bytes], ...]] = {
    401: ((b"www-authenticate", b'Bearer realm="Guildhall"'),),
    503: ((b"retry-after", b"%d" % RETRY_SECONDS),),
}
