"""`GET /artifacts/{id}` sends a file, or a range of it, to whoever may read it at this moment.

That bytes are about to leave is committed to the audit record before the first of them; how many left, after the last.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from urllib.parse import quote
from uuid import UUID

from litestar.datastructures import Headers
from litestar.types import HTTPScope, Receive, Send

from guildhall.errors import GuildhallError
from registry.access.reading import OpenedFile
from registry.http.answers import send_empty, send_refusal, send_start
from registry.http.desk import ArtifactDesk, desk_of
from registry.http.ranges import Span, entity_tag, is_unchanged, wanted_span
from registry.http.routing import raw_route
from registry.http.sending import Sending, bytes_lost, minimised_recorded, open_recorded, send_recorded
from registry.storage import StoredBytesMissing


@raw_route("/artifacts/{artifact_id:uuid}", "GET", "HEAD")
async def download_route(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """One address for both methods; refusals are JSON, and recorded."""
    try:
        await _answer(desk_of(scope), scope, receive, send)
    except GuildhallError as error:
        await send_refusal(send, error, with_body=scope["method"] == "GET")


async def _answer(desk: ArtifactDesk, scope: HTTPScope, receive: Receive, send: Send) -> None:
    actor = await desk.identify(scope)
    (file,) = await open_recorded(desk, actor, [UUID(str(scope["path_params"]["artifact_id"]))])
    file = await minimised_recorded(desk, actor, file)
    headers = {name.lower(): value for name, value in Headers.from_scope(scope).items()}
    tag = entity_tag(file.sha256)
    if is_unchanged(headers, tag):
        await send_empty(send, 304, [("etag", tag)])
        return
    span = wanted_span(headers, file.size_bytes, tag)
    if span is None:
        await send_empty(send, 416, [("content-range", f"bytes */{file.size_bytes}"), ("content-length", "0")])
        return
    if scope["method"] == "HEAD":  # no data leaves, so there is nothing to record
        await send_empty(send, 200, _headers(file, Span(0, file.size_bytes, partial=False)))
        return
    sender = partial(send_bytes, desk, span, _headers(file, span), send)
    await send_recorded(desk, actor, [file], span.size_bytes, sender, receive)


async def send_bytes(
    desk: ArtifactDesk,
    span: Span,
    headers: Sequence[tuple[str, str]],
    send: Send,
    files: Sequence[OpenedFile],
    sending: Sending,
) -> None:
    """The answer with these bytes of the one file; noted as they leave."""
    (file,) = files
    async with aclosing(desk.store.read(file.key, start=span.start, end=span.end)) as chunks:
        first = await _first(chunks)
        await send_start(send, 206 if span.partial else 200, headers)
        sending.started = True
        if first:
            await send({"type": "http.response.body", "body": first, "more_body": True})
            sending.bytes_sent += len(first)
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            sending.bytes_sent += len(chunk)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _first(chunks: AsyncIterator[bytes]) -> bytes:
    """The first chunk, before anything is sent, so that a loss can still be told with a status of its own."""
    try:
        return await anext(chunks, b"")
    except StoredBytesMissing as error:
        raise bytes_lost(error) from error


def _headers(file: OpenedFile, span: Span) -> list[tuple[str, str]]:
    """Never to be kept by caches or shown by browsers: each read is decided and recorded here."""
    name = quote(file.path.rpartition("/")[2])
    headers = [
        ("content-type", file.media_type),
        ("content-length", str(span.size_bytes)),
        ("accept-ranges", "bytes"),
        ("etag", entity_tag(file.sha256)),
        ("content-disposition", f"attachment; filename*=UTF-8''{name}"),
        ("cache-control", "private, no-store"),
        ("x-content-type-options", "nosniff"),
    ]
    if span.partial:
        headers.append(("content-range", f"bytes {span.start}-{span.end - 1}/{file.size_bytes}"))
    return headers
