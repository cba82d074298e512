"""`GET /artifacts/{id}` sends a file, or a range of it, to whoever may read it at this moment.

That bytes are about to leave is committed to the audit record before the first of them; how many left, after the last.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

from litestar.datastructures import Headers
from litestar.types import HTTPScope, Receive, Send

from guildhall.audit.outcomes import conclude
from guildhall.audit.record import record_refusal
from guildhall.audit.tables import Outcome
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused
from guildhall.errors import Conflict, GuildhallError, Unavailable
from registry.access.reading import (
    OpenedFile,
    is_live,
    minimised,
    open_again,
    open_file,
    reading_of,
    record_intent,
)
from registry.http.answers import send_empty, send_refusal, send_start
from registry.http.desk import ArtifactDesk, desk_of
from registry.http.ranges import Span, entity_tag, is_unchanged, wanted_span
from registry.http.routing import raw_route
from registry.storage import StoredBytesMissing
from registry.volume.counting import Reservation, release
from registry.volume.reserving import Crossed, record_crossing, reserve


class BytesLost(Unavailable):
    """The record knows the file, the store does not: somebody removed what must not be removed."""

    code = "BYTES_LOST"


class AccessEnded(Conflict):
    """The grant ended or was withdrawn while bytes were leaving."""

    code = "ACCESS_ENDED"


class BrokenOff(Exception):
    """It ended in the middle. No status can say so any more: the connection is cut short of its length."""


LOOKS_EVERY_SECONDS = 1.0
"""How often a download that takes longer looks whether its access grant is still there."""


@raw_route("/artifacts/{artifact_id:uuid}", "GET", "HEAD")
async def download_route(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """One address for both methods; refusals are JSON, and recorded."""
    try:
        await _answer(desk_of(scope), scope, receive, send)
    except GuildhallError as error:
        await send_refusal(send, error, with_body=scope["method"] == "GET")


async def _answer(desk: ArtifactDesk, scope: HTTPScope, receive: Receive, send: Send) -> None:
    actor = await desk.identify(scope)
    file = await _open(desk, actor, UUID(str(scope["path_params"]["artifact_id"])))
    file = await _minimised(desk, actor, file)
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
    await _send_recorded(desk, actor, file, span, receive, send)


async def _open(desk: ArtifactDesk, actor: Actor, artifact_id: UUID) -> OpenedFile:
    try:
        async with desk.database.read() as session:
            return await open_file(session, actor, artifact_id, job_inputs=desk.job_inputs, at=desk.clock.now())
    except Refused as refusal:
        await record_refusal(desk.database, actor, refusal, at=desk.clock.now(), new_id=desk.new_id)
        raise


async def _minimised(desk: ArtifactDesk, actor: Actor, file: OpenedFile) -> OpenedFile:
    """What may leave of it; sizes, ranges and tags are those of the part from here on."""
    try:
        return await minimised(desk.minimiser, file)
    except Refused as refusal:
        await record_refusal(desk.database, actor, refusal, at=desk.clock.now(), new_id=desk.new_id)
        raise


async def _send_recorded(
    desk: ArtifactDesk, actor: Actor, file: OpenedFile, span: Span, receive: Receive, send: Send
) -> None:
    """Intent, bytes, outcome; the outcome is written however the sending ends."""
    announced = await _announce(desk, actor, file, span)
    sending = _Sending()
    try:
        await _send_until_gone(desk, announced, span, sending, receive, send)
    except GuildhallError as error:
        if sending.started:
            raise BrokenOff(f"after {sending.bytes_sent} of {span.size_bytes} bytes: {error.message}") from error
        raise
    finally:
        # Shielded: the server may cancel the request when its client goes away, and just that is to be recorded.
        await asyncio.shield(_conclude(desk, announced, span, sending))


@dataclass(frozen=True)
class _Announced:
    """A read that the record knows of and that was counted."""

    file: OpenedFile
    event_id: UUID
    reservation: Reservation | None


async def _announce(desk: ArtifactDesk, actor: Actor, file: OpenedFile, span: Span) -> _Announced:
    """Decide once more, count and write the intent, in one transaction: what was withdrawn since is read no more."""
    try:
        async with desk.database.transaction() as session:
            at = desk.clock.now()
            file = await open_again(session, actor, file, job_inputs=desk.job_inputs, at=at)
            reading = reading_of(file, span_bytes=span.size_bytes)
            reservation = None if reading is None else await reserve(session, actor, reading, at=at, new_id=desk.new_id)
            event_id = await record_intent(session, actor, file, size_bytes=span.size_bytes, at=at, new_id=desk.new_id)
    except Crossed as crossed:
        async with desk.database.transaction() as session:
            await record_crossing(session, actor, crossed, at=desk.clock.now(), new_id=desk.new_id)
        raise crossed.refusal from crossed
    except Refused as refusal:
        await record_refusal(desk.database, actor, refusal, at=desk.clock.now(), new_id=desk.new_id)
        raise
    return _Announced(file, event_id, reservation)


@dataclass
class _Sending:
    """How far it came, and why it went no further where that was ours to say."""

    bytes_sent: int = 0
    started: bool = False
    ended: AccessEnded | None = None


async def _send_until_gone(
    desk: ArtifactDesk, announced: _Announced, span: Span, sending: _Sending, receive: Receive, send: Send
) -> None:
    """Send, and stop reading from the store as soon as the client has gone, or the access that this goes by."""
    sender = asyncio.ensure_future(_send_bytes(desk, announced.file, span, sending, send))
    tasks = {sender, asyncio.ensure_future(_client_gone(receive))}
    if announced.file.grant_id is not None:
        tasks.add(asyncio.ensure_future(_access_ended(desk, announced.file.grant_id, sending)))
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in {sender} if sender.done() else done:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _access_ended(desk: ArtifactDesk, grant_id: UUID, sending: _Sending) -> None:
    """Raises AccessEnded when the grant has ended or was withdrawn while its bytes leave."""
    while True:
        await asyncio.sleep(LOOKS_EVERY_SECONDS)
        async with desk.database.read() as session:
            if not await is_live(session, grant_id, at=desk.clock.now()):
                sending.ended = AccessEnded("The access grant that this download went by has ended.")
                raise sending.ended


async def _send_bytes(desk: ArtifactDesk, file: OpenedFile, span: Span, sending: _Sending, send: Send) -> None:
    async with aclosing(desk.store.read(file.key, start=span.start, end=span.end)) as chunks:
        first = await _first(chunks)
        await send_start(send, 206 if span.partial else 200, _headers(file, span))
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
        raise BytesLost(
            "The bytes of this file are not where they should be. Tell whoever runs this server."
        ) from error


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _conclude(desk: ArtifactDesk, announced: _Announced, span: Span, sending: _Sending) -> None:
    file, reservation = announced.file, announced.reservation
    complete = sending.started and sending.bytes_sent == span.size_bytes
    whole = complete and span.size_bytes == file.size_bytes
    async with desk.database.transaction() as session:
        if reservation is not None and not complete:
            share = -(-reservation.rows * sending.bytes_sent // max(span.size_bytes, 1))
            await release(session, reservation, rows=share, size_bytes=sending.bytes_sent)
        await conclude(
            session,
            announced.event_id,
            outcome=Outcome.COMPLETED if complete else Outcome.ABORTED,
            rows=file.rows if whole else None,
            bytes=sending.bytes_sent,
            reason=None if complete else sending.ended,
            at=desk.clock.now(),
            new_id=desk.new_id,
        )


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
