"""GraphQL over a WebSocket, in the protocol `graphql-transport-ws` that the npm package graphql-ws speaks.

Nothing queues here. Every operation waits until the client has taken what was sent before, and reads no row meanwhile;
a client that takes nothing for `graphql_stream_patience_seconds` loses the connection, and resumes by cursor.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import msgspec
from litestar.datastructures import Headers
from litestar.types import Receive, Send, WebSocketScope

from guildhall.auth.actor import Actor
from guildhall.clock import IdSource
from guildhall.errors import GuildhallError, RateLimited, Unauthenticated, Unavailable
from guildhall.graphql.answers import refusal_extensions
from guildhall.graphql.context import Context
from guildhall.graphql.execution import Answer, Request
from guildhall.graphql.subscriptions.places import TooManySubscriptions
from guildhall.graphql.subscriptions.presence import Presence
from guildhall.graphql.subscriptions.stream import Streams
from guildhall.http.credentials import Credential, bearer, is_own_origin
from guildhall.http.identity import REQUEST_ID, Identity, request_id
from guildhall.settings import Settings

PROTOCOL = "graphql-transport-ws"
INIT_SECONDS_MAX = 10.0
CLOSE_SECONDS_MAX = 2.0
SILENT_PINGS_MAX = 3
"""A client that has said nothing for so many pings is gone, whatever its connection says."""
ID_CHARACTERS_MAX = 128
MESSAGE_BYTES_BESIDES = 16_384
"""What a message may have beyond the document and the variables."""
REASON_BYTES_MAX = 123
"""What a close frame has room for."""

logger = logging.getLogger(__name__)


class Close(NamedTuple):
    """Why a connection ends: 4400 to 4409 and 4429 are the protocol's; after the others below a client comes again."""

    code: int
    reason: str


SERVER_STOPS = Close(1012, "The server restarts; connect again.")
NOT_READY = Close(1013, "The server cannot serve this now; connect again in a moment.")
NO_INIT = Close(4408, "Connection initialisation timeout")
TWO_INITS = Close(4429, "Too many initialisation requests")
NOT_ACKNOWLEDGED = Close(4401, "Unauthorized")
WRONG_PROTOCOL = Close(4406, "Subprotocol not acceptable")
TOO_SLOW = Close(4413, "The client takes its messages too slowly; resume from the last cursor.")
SILENT = Close(4414, "The client answers no pings.")


class _Malformed(Exception):
    """A message that is none of the protocol's."""


class _Message(msgspec.Struct):
    """Any message of the protocol, its payload as it came."""

    type: str
    id: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"null")


@dataclass(frozen=True, kw_only=True)
class GraphQLSockets:
    """A bare ASGI application for WebSockets. `read_request` reads the payload of a `subscribe` as it does a body."""

    streams: Streams
    identity: Identity
    settings: Settings
    read_request: Callable[[bytes], Request]
    make_context: Callable[[Actor, str], Context]
    new_id: IdSource

    async def __call__(self, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        """One connection, from the handshake to its end."""
        await receive()
        if not _origin_is_ours(scope, self.settings):
            await send({"type": "websocket.close", "code": 4403, "reason": "This page may not connect from there."})
            return
        if PROTOCOL not in scope["subprotocols"]:
            await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
            await send({"type": "websocket.close", "code": WRONG_PROTOCOL.code, "reason": WRONG_PROTOCOL.reason})
            return
        with self.streams.connection():
            await send({"type": "websocket.accept", "subprotocol": PROTOCOL, "headers": []})
            scope.setdefault("state", {})[REQUEST_ID] = str(self.new_id())
            await _Connection(self, scope, receive, send).serve()


class _Connection:
    def __init__(self, desk: GraphQLSockets, scope: WebSocketScope, receive: Receive, send: Send) -> None:
        self._desk = desk
        self._scope = scope
        self._receive = receive
        self._send = send
        self._make_context = partial(_with_id, desk.make_context, request_id(scope))
        self._sending = asyncio.Lock()
        self._operations: dict[str, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        """Of the operations, and of those that have ended and whose last words the client has not taken."""
        self._presence: Presence | None = None
        self._closing: asyncio.Future[Close | None] = asyncio.get_running_loop().create_future()
        self._initialised = False
        self._heard = True

    async def serve(self) -> None:
        tasks = [
            asyncio.create_task(part)
            for part in (self._read(), self._stop_with_server(), self._ping(), self._require_init())
        ]
        try:
            close = await self._closing
        finally:
            tasks += self._tasks
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if close is not None:
            reason = close.reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
            with suppress(Exception):  # whoever is gone need not be told
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await self._send({"type": "websocket.close", "code": close.code, "reason": reason})
                    while (await self._receive())["type"] != "websocket.disconnect":  # or a stop loses the last words
                        pass

    def _end(self, close: Close | None) -> None:
        if not self._closing.done():
            self._closing.set_result(close)

    async def _read(self) -> None:
        settings = self._desk.settings
        bytes_max = settings.graphql_document_bytes_max + settings.graphql_variables_bytes_max + MESSAGE_BYTES_BESIDES
        while not self._closing.done():
            event: Any = await self._receive()
            if event["type"] == "websocket.disconnect":
                self._end(None)
                return
            self._heard = True
            try:
                await self._take(_message(event.get("text") or event.get("bytes") or "", bytes_max))
            except _Malformed as error:
                self._end(Close(4400, str(error)))

    async def _take(self, message: _Message) -> None:
        kind = message.type
        if kind == "connection_init":
            await self._initialise(message.payload)
        elif kind == "ping":
            await self._tell({"type": "pong"})
        elif kind == "subscribe":
            await self._subscribe(message)
        elif kind == "complete":
            task = self._operations.pop(message.id, None)
            if task is not None:
                task.cancel()
        elif kind != "pong":
            raise _Malformed(f"There is no message of the type {kind[:40]!r}.")

    async def _initialise(self, payload: msgspec.Raw) -> None:
        if self._initialised:
            self._end(TWO_INITS)
            return
        self._initialised = True
        try:
            given = msgspec.json.decode(payload, type=dict[str, Any] | None) or {}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise _Malformed("The payload of connection_init is an object.") from error
        try:
            shown = self._shown(given)
            actor = await self._desk.identity.of(shown, self._scope)
        except Unauthenticated as error:
            self._end(Close(4401, error.message))
        except RateLimited as error:
            self._end(Close(4429, error.message))
        except Unavailable:
            self._end(NOT_READY)
        else:
            self._presence = Presence(
                self._desk.streams.feed, actor, partial(self._desk.identity.of, shown, self._scope)
            )
            watching = asyncio.create_task(self._watch(self._presence))
            self._closing.add_done_callback(lambda _: watching.cancel())
            await self._tell({"type": "connection_ack"})

    def _shown(self, payload: Mapping[str, Any]) -> Credential:
        """The token of the payload's `authorization`, as browsers cannot set headers, else what the handshake shows."""
        given = next((value for name, value in payload.items() if name.lower() == "authorization"), None)
        shown = Credential(bearer(given)) if isinstance(given, str) else self._desk.identity.shown(self._scope)
        if shown is None or not isinstance(given, str | None):
            message = "Sign in first: send `connection_init` with the payload {authorization: 'Bearer …'}."
            raise Unauthenticated(message)
        return shown

    async def _watch(self, presence: Presence) -> None:
        """When the token ends, every operation is told why, and then the connection ends."""
        refusal = await presence.watch()
        told = [{"message": refusal.message, "extensions": refusal_extensions(refusal)}]
        for key, task in list(self._operations.items()):
            task.cancel()
            await self._tell({"id": key, "type": "error", "payload": told})
        self._end(Close(4401, refusal.message))

    async def _subscribe(self, message: _Message) -> None:
        presence = self._presence
        if presence is None:
            self._end(NOT_ACKNOWLEDGED)
            return
        key = message.id
        if not 0 < len(key) <= ID_CHARACTERS_MAX:
            raise _Malformed(f"An operation has an id of 1 to {ID_CHARACTERS_MAX} characters.")
        if key in self._operations:
            self._end(Close(4409, f"Subscriber for {key} already exists"))
            return
        most = self._desk.settings.graphql_subscriptions_per_caller_max
        try:
            if len(self._operations) >= most:
                raise TooManySubscriptions(f"This connection has {most} operations already, the most that one may.")
            request = self._desk.read_request(bytes(message.payload))
        except GuildhallError as error:
            told = [{"message": error.message, "extensions": refusal_extensions(error)}]
            await self._tell({"id": key, "type": "error", "payload": told})
            return
        while len(self._tasks) >= 2 * most:  # half of them have ended, and wait for the client as we do
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.create_task(self._operate(key, request, presence))
        self._operations[key] = task
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._forget(key, task))

    async def _operate(self, key: str, request: Request, presence: Presence) -> None:
        answer: Answer | None = None
        async with aclosing(self._desk.streams.follow(request, presence, self._make_context)) as answers:
            async for answer in answers:
                if not answer.executed:
                    self._operations.pop(key, None)
                    await self._tell({"id": key, "type": "error", "payload": answer.errors})
                    return
                await self._tell({"id": key, "type": "next", "payload": answer.body()})
        self._operations.pop(key, None)  # before the client hears of it, as it may take the id again at once
        await self._tell({"id": key, "type": "complete"})

    def _forget(self, key: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._operations.get(key) is task:
            del self._operations[key]
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("An operation failed.", exc_info=error)
            self._end(Close(4500, "Internal server error"))

    async def _tell(self, message: Mapping[str, Any]) -> None:
        text = msgspec.json.encode(message).decode()
        async with self._sending:
            try:
                async with asyncio.timeout(self._desk.settings.graphql_stream_patience_seconds):
                    await self._send({"type": "websocket.send", "text": text, "bytes": None})
            except TimeoutError:
                self._end(TOO_SLOW)
                await asyncio.Event().wait()  # until serve() cancels us: nothing more is read for this client

    async def _stop_with_server(self) -> None:
        await self._desk.streams.stopping.wait()
        self._end(SERVER_STOPS)

    async def _require_init(self) -> None:
        await asyncio.sleep(INIT_SECONDS_MAX)
        if not self._initialised:
            self._end(NO_INIT)

    async def _ping(self) -> None:
        silent = 0
        while True:
            await asyncio.sleep(self._desk.settings.graphql_keepalive_seconds)
            silent = 0 if self._heard else silent + 1
            self._heard = False
            if silent >= SILENT_PINGS_MAX:
                self._end(SILENT)
                return
            if self._presence is not None:
                await self._tell({"type": "ping"})


def _with_id(make_context: Callable[[Actor, str], Context], key: str, actor: Actor) -> Context:
    return make_context(actor, key)


def _message(text: str | bytes, bytes_max: int) -> _Message:
    if len(text) > bytes_max:
        raise _Malformed(f"A message has {bytes_max} bytes at most.")
    try:
        return msgspec.json.decode(text, type=_Message)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _Malformed("A message is one JSON object with a `type`.") from error


def _origin_is_ours(scope: WebSocketScope, settings: Settings) -> bool:
    """Programs send no origin; a browser's page is ours if it came from our own address."""
    origin = Headers.from_scope(scope).get("origin")
    return origin is None or is_own_origin(origin, scope, settings.public_url)
