"""Many small files of one owner in one request, as a tar: `POST /artifacts/bundle` sends, `PUT …/uploads/bundle` takes.

The rules are those of single files: each is decided, narrowed, counted and recorded, all of a bundle at once; the
first file that may not be read refuses the whole before a byte leaves. The order is that of the request.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial
from uuid import UUID

from litestar.datastructures import Headers
from litestar.types import HTTPScope, Receive, Send

from guildhall.auth.actor import Actor
from guildhall.errors import GuildhallError, Invalid
from registry.access.announcing import bytes_of
from registry.access.reading import OpenedFile
from registry.artifacts.bundles import END, FILE_BYTES_MAX, BundleTooLarge, head, padding
from registry.artifacts.incoming import announced_files, receive_bundle
from registry.artifacts.owners import OwnerRef
from registry.artifacts.tickets import TICKET_HEADER, TicketRefused
from registry.http.answers import send_json, send_refusal, send_start
from registry.http.desk import ArtifactDesk, desk_of
from registry.http.routing import raw_route
from registry.http.sending import Sending, bytes_lost, minimised_recorded, open_recorded, send_recorded
from registry.http.uploads import request_body
from registry.minimisation.filtering import PATIENCE_SECONDS, StillCutting
from registry.storage import CHUNK_BYTES, ArtifactStore, StoredBytesMissing

ID_BYTES_MAX = 64
"""What one id may take in the body of a request, with its quotes and its comma."""
READ_AHEAD_MAX = 8
"""How many small files are fetched from the store before their turn."""


class InvalidBundle(Invalid):
    """The body does not name files as it should."""

    code = "INVALID_BUNDLE"


@raw_route("/artifacts/bundle", "POST")
async def download_bundle_route(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """The files of `{"files": [ids]}`, which are of one owner; refusals are JSON, and recorded."""
    desk = desk_of(scope)
    try:
        actor = await desk.identify(scope)
        wanted = await _wanted(desk, scope, receive)
        files = await _minimised(desk, actor, await open_recorded(desk, actor, wanted))
        size_bytes = bytes_of(files)
        if size_bytes > desk.bundle_limits.bytes_max:
            message = f"These files have {size_bytes} bytes; a bundle may have {desk.bundle_limits.bytes_max}."
            raise BundleTooLarge(message)
        await send_recorded(desk, actor, files, size_bytes, partial(_send_files, desk.store, send), receive)
    except GuildhallError as error:
        await send_refusal(send, error)


@raw_route("/artifacts/uploads/bundle", "GET", "PUT")
async def upload_bundle_route(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """Whose files they are, and that they may be sent, the ticket of the announcement says."""
    desk = desk_of(scope)
    try:
        owner = _owner(desk, scope)
        if scope["method"] == "PUT":
            await _take(desk, owner, scope, receive, send)
        else:
            await _tell(desk, owner, send)
    except GuildhallError as error:
        await send_refusal(send, error)


async def _wanted(desk: ArtifactDesk, scope: HTTPScope, receive: Receive) -> list[UUID]:
    """The ids in the body, each once. Raises InvalidBundle, BundleTooLarge."""
    files_max = desk.bundle_limits.files_max
    too_many = BundleTooLarge(f"A bundle may have {files_max} files at most.", field="files")
    body = bytearray()
    async for chunk in request_body(receive, Headers.from_scope(scope).get("content-length")):
        body += chunk
        if len(body) > (files_max + 1) * ID_BYTES_MAX:
            raise too_many
    try:
        given = json.loads(body)["files"]
        wanted = [UUID(each) for each in given]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidBundle('The body has to be JSON such as {"files": ["<id>", "<id>"]}.', field="files") from error
    if not isinstance(given, list) or not wanted:
        raise InvalidBundle("Name at least one file.", field="files")
    if len(wanted) > files_max:
        raise too_many
    if len(set(wanted)) < len(wanted):
        raise InvalidBundle("A file is named twice.", field="files")
    return wanted


async def _minimised(desk: ArtifactDesk, actor: Actor, files: Sequence[OpenedFile]) -> list[OpenedFile]:
    """What may leave of each. What takes too long is gone on with when it is asked for again."""
    narrowed: list[OpenedFile] = []
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + PATIENCE_SECONDS
    for file in files:
        if file.limits is not None and loop.time() > ends_at:
            ready = f"{len(narrowed)} of {len(files)}"
            raise StillCutting(f"The parts that you may read are being prepared, {ready} so far. Try again in a while.")
        narrowed.append(await minimised_recorded(desk, actor, file))
    return narrowed


async def _send_files(store: ArtifactStore, send: Send, files: Sequence[OpenedFile], sending: Sending) -> None:
    heads = [head(file.path, file.size_bytes) for file in files]
    length = len(END) + sum(
        len(before) + file.size_bytes + len(padding(file.size_bytes)) for before, file in zip(heads, files, strict=True)
    )
    parcel = _Parcel(send, sending, length)
    async with aclosing(_contents(store, files)) as contents:
        for file, before in zip(files, heads, strict=True):
            await parcel.add(before)
            left = file.size_bytes
            while left:
                chunk = await anext(contents)
                left -= len(chunk)
                await parcel.add(chunk, of_files=True)
            await parcel.end_file(file)
    await parcel.add(END)
    await parcel.close()


async def _contents(store: ArtifactStore, files: Sequence[OpenedFile]) -> AsyncGenerator[bytes]:
    """The bytes of all files in their order; small ones are fetched ahead. Raises BytesLost."""
    ahead: deque[asyncio.Task[bytes]] = deque()
    small = iter([file for file in files if file.size_bytes <= CHUNK_BYTES])
    try:
        for file in files:
            if file.size_bytes > CHUNK_BYTES:
                async with aclosing(store.read(file.key, start=0, end=file.size_bytes)) as chunks:
                    async for chunk in chunks:
                        yield chunk
                continue
            while len(ahead) < READ_AHEAD_MAX and (following := next(small, None)) is not None:
                ahead.append(asyncio.create_task(store.get(following.key)))
            content = await ahead.popleft()
            assert len(content) == file.size_bytes, "what lies under a digest has the size that was digested"
            yield content
    except StoredBytesMissing as error:
        raise bytes_lost(error) from error
    finally:
        for task in ahead:
            task.cancel()
        await asyncio.gather(*ahead, return_exceptions=True)


class _Parcel:
    """Puts small pieces together to messages of some size, and notes what has left once it has."""

    def __init__(self, send: Send, sending: Sending, length: int) -> None:
        self._send = send
        self._sending = sending
        self._length = length
        self._held: list[bytes] = []
        self._held_bytes = self._file_bytes = self._files = 0

    async def add(self, piece: bytes, *, of_files: bool = False) -> None:
        """Send it with what comes before or after it."""
        self._held.append(piece)
        self._held_bytes += len(piece)
        self._file_bytes += len(piece) if of_files else 0
        if self._held_bytes >= CHUNK_BYTES:
            await self._leave()

    async def end_file(self, file: OpenedFile) -> None:
        """All of the file's bytes were added."""
        self._files += 1
        await self.add(padding(file.size_bytes))

    async def close(self) -> None:
        """The end of the answer."""
        await self._leave()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _leave(self) -> None:
        if not self._sending.started:
            # Not before: until then a loss can still be told with a status of its own.
            await send_start(self._send, 200, _headers(self._length))
            self._sending.started = True
        await self._send({"type": "http.response.body", "body": b"".join(self._held), "more_body": True})
        self._sending.bytes_sent += self._file_bytes
        self._sending.files_sent += self._files
        self._held = []
        self._held_bytes = self._file_bytes = self._files = 0


def _headers(length: int) -> list[tuple[str, str]]:
    """As those of a file: never to be kept by caches or shown by browsers."""
    return [
        ("content-type", "application/x-tar"),
        ("content-length", str(length)),
        ("content-disposition", "attachment; filename=bundle.tar"),
        ("cache-control", "private, no-store"),
        ("x-content-type-options", "nosniff"),
    ]


def _owner(desk: ArtifactDesk, scope: HTTPScope) -> OwnerRef:
    ticket = Headers.from_scope(scope).get(TICKET_HEADER)
    if ticket is None:
        raise TicketRefused(f"Send the header {TICKET_HEADER} that came with the addresses of the uploads.")
    return desk.tickets.owner(ticket, at=desk.clock.now())


async def _take(desk: ArtifactDesk, owner: OwnerRef, scope: HTTPScope, receive: Receive, send: Send) -> None:
    body = request_body(receive, Headers.from_scope(scope).get("content-length"))
    try:
        arrived = await receive_bundle(
            desk.database, desk.store, owner=owner, chunks=body, limits=desk.bundle_limits, clock=desk.clock
        )
    finally:
        await _drain(body, desk.bundle_limits.bytes_max)
    await send_json(send, 200, {"arrived": arrived})


async def _drain(body: AsyncIterator[bytes], most: int) -> None:
    """Let the rest come, within reason: clients read an answer only after they have sent."""
    try:
        async for chunk in body:
            most -= len(chunk)
            if most < 0:
                return
    except GuildhallError:
        return  # nobody is left to read the answer


async def _tell(desk: ArtifactDesk, owner: OwnerRef, send: Send) -> None:
    async with desk.database.read() as session:
        files = await announced_files(session, owner)
    answer = {
        "filesMax": desk.bundle_limits.files_max,
        "bytesMax": desk.bundle_limits.bytes_max,
        "fileBytesMax": FILE_BYTES_MAX,
        "missing": [file.path for file in files if not file.arrived],
    }
    await send_json(send, 200, answer)
