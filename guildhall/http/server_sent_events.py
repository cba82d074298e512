"""GraphQL as server-sent events, in the distinct connections mode that the npm package graphql-sse speaks.

A request is one stream. What refuses it is told in it, as a `next` with errors, because a browser shows no body of a
4xx. A stream that ends without `complete` was cut off, by the server too when it stops: the client asks again, from its
last cursor. Nothing queues here: no row is read while the client has not taken what was sent before.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import msgspec
from litestar.types import Receive, Send

from guildhall.errors import Unauthenticated
from guildhall.graphql.answers import refusal_extensions
from guildhall.graphql.execution import Answer, Request
from guildhall.graphql.subscriptions.presence import Presence
from guildhall.graphql.subscriptions.stream import MakeContext, Streams
from guildhall.settings import Settings

EVENT_STREAM = "text/event-stream"

_HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
_ALIVE = b":\n\n"
_COMPLETE = b"event: complete\ndata:\n\n"


class _CutOff(Exception):
    """The stream ends here, without a last word."""


async def event_stream(
    streams: Streams,
    request: Request,
    presence: Presence,
    make_context: MakeContext,
    settings: Settings,
    receive: Receive,
    send: Send,
) -> None:
    """Serve one stream to its end; the body of the request has been read."""
    await send({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
    answers = streams.follow(request, presence, make_context)
    watching = asyncio.create_task(presence.watch())
    leaving = [asyncio.create_task(_gone(receive)), asyncio.create_task(_stopping(streams))]
    writer = _Writer(send, settings)
    try:
        with streams.connection():
            await writer.write(_ALIVE)
            await _pump(answers, writer, watching, leaving, settings)
    except _CutOff:
        pass
    finally:
        for task in (watching, *leaving):
            task.cancel()
        await asyncio.gather(watching, *leaving, return_exceptions=True)
        await answers.aclose()
        with suppress(Exception):  # whoever is gone need not be told
            await writer.end()


async def _pump(
    answers: AsyncGenerator[Answer, None],
    writer: "_Writer",
    watching: asyncio.Task[Unauthenticated],
    leaving: list[asyncio.Task[None]],
    settings: Settings,
) -> None:
    while True:
        coming = asyncio.ensure_future(anext(answers, None))
        try:
            while not coming.done():
                await asyncio.wait(
                    {coming, watching, *leaving},
                    timeout=settings.graphql_keepalive_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if any(task.done() for task in leaving):
                    raise _CutOff
                if watching.done():
                    await _refuse(writer, watching.result())
                    return
                if not coming.done():
                    await writer.write(_ALIVE)
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
        answer = coming.result()
        if answer is None:
            await writer.write(_COMPLETE)
            return
        await writer.write(_next(msgspec.json.encode(answer.body())))


async def _refuse(writer: "_Writer", refusal: Unauthenticated) -> None:
    error = {"message": refusal.message, "extensions": refusal_extensions(refusal)}
    await writer.write(_next(msgspec.json.encode({"errors": [error]})) + _COMPLETE)


def _next(body: bytes) -> bytes:
    return b"event: next\ndata: " + body + b"\n\n"


class _Writer:
    """Sends, and cuts off a client that takes nothing for too long."""

    def __init__(self, send: Send, settings: Settings) -> None:
        self._send = send
        self._seconds_max = settings.graphql_stream_patience_seconds

    async def write(self, body: bytes) -> None:
        try:
            async with asyncio.timeout(self._seconds_max):
                await self._send({"type": "http.response.body", "body": body, "more_body": True})
        except TimeoutError as error:
            raise _CutOff from error

    async def end(self) -> None:
        async with asyncio.timeout(self._seconds_max):
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _stopping(streams: Streams) -> None:
    await streams.stopping.wait()
