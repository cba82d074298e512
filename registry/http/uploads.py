"""`PUT /artifacts/uploads/{id}?part=N` takes a part of a file, `GET` tells which parts have arrived.

The caller shows the upload ticket that came with the address, or their own token if they may write to the owner.
"""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs
from uuid import UUID

from litestar.datastructures import Headers
from litestar.types import HTTPScope, Receive, Send

from guildhall.audit.record import record_refusal
from guildhall.auth.authorize import Refused
from guildhall.errors import GuildhallError, Invalid
from registry.artifacts.parts import part_bytes_begun, part_bytes_of
from registry.artifacts.receiving import IncomingFile, InvalidPart, find_upload, receive_part, received_parts
from registry.artifacts.tickets import TICKET_HEADER
from registry.http.answers import send_json, send_refusal
from registry.http.desk import ArtifactDesk, desk_of
from registry.http.routing import raw_route
from registry.owners import UPLOAD_OWNERS


class UploadCutOff(Invalid):
    """The connection ended before the part did; nothing of it was kept. Nobody is left to read this."""

    code = "UPLOAD_CUT_OFF"


@raw_route("/artifacts/uploads/{artifact_id:uuid}", "GET", "PUT")
async def upload_route(scope: HTTPScope, receive: Receive, send: Send) -> None:
    """One address for both methods; refusals are JSON."""
    desk = desk_of(scope)
    try:
        if scope["method"] == "PUT":
            await _take_part(desk, scope, receive, send)
        else:
            await _tell_parts(desk, scope, send)
    except GuildhallError as error:
        await send_refusal(send, error)


async def _take_part(desk: ArtifactDesk, scope: HTTPScope, receive: Receive, send: Send) -> None:
    file = await _authorised(desk, scope)
    part = await receive_part(
        desk.database,
        desk.store,
        desk.growths,
        file=file,
        number=_part_number(scope),
        chunks=request_body(receive, Headers.from_scope(scope).get("content-length")),
        part_bytes_max=part_bytes_of(file.size_bytes, least_bytes=desk.part_bytes),
        clock=desk.clock,
        new_id=desk.new_id,
    )
    await send_json(send, 200, {"part": part.number, "sizeBytes": part.size_bytes, "sha256": part.sha256})


async def _tell_parts(desk: ArtifactDesk, scope: HTTPScope, send: Send) -> None:
    file = await _authorised(desk, scope)
    async with desk.database.read() as session:
        parts = await received_parts(session, file.artifact_id)
    first_bytes = next((part.size_bytes for part in parts if part.number == 1), None)
    answer = {
        "path": file.path,
        "sizeBytes": file.size_bytes,
        "state": file.state,
        "partSizeBytes": part_bytes_begun(file.size_bytes, least_bytes=desk.part_bytes, first_bytes=first_bytes),
        "parts": [
            {"part": part.number, "offset": part.offset, "sizeBytes": part.size_bytes, "sha256": part.sha256}
            for part in parts
        ],
    }
    await send_json(send, 200, answer)


async def _authorised(desk: ArtifactDesk, scope: HTTPScope) -> IncomingFile:
    """The announced file, for whoever holds its ticket or may write to its owner."""
    artifact_id = UUID(str(scope["path_params"]["artifact_id"]))
    ticket = Headers.from_scope(scope).get(TICKET_HEADER)
    if ticket is not None:
        async with desk.database.read() as session:
            file = await find_upload(session, artifact_id)
        desk.tickets.check(ticket, file.owner.kind, file.owner.id, at=desk.clock.now())
        return file
    actor = await desk.identify(scope)
    try:
        async with desk.database.read() as session:
            file = await find_upload(session, artifact_id)
            await UPLOAD_OWNERS[file.owner.kind].require_writer(session, actor, file.owner.id)
    except Refused as refusal:
        await record_refusal(desk.database, actor, refusal, at=desk.clock.now(), new_id=desk.new_id)
        raise
    return file


def _part_number(scope: HTTPScope) -> int:
    """The number in `?part=`; without it the file comes in one part, the first."""
    given = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("part", ["1"])[-1]
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise InvalidPart(f"{given[:20]!r} is no number of a part.", field="part")
    return int(given)


async def request_body(receive: Receive, content_length: str | None) -> AsyncIterator[bytes]:
    """The request's body as it arrives; raises UploadCutOff where it ends too early."""
    size_bytes = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise UploadCutOff("The connection was cut before the part was complete; nothing of it was kept.")
        size_bytes += len(message.get("body", b""))
        more = message.get("more_body", False)
        if message.get("body"):
            yield message["body"]
    if content_length is not None and content_length.isdigit() and int(content_length) != size_bytes:
        raise UploadCutOff(
            f"{content_length} bytes were announced, but {size_bytes} came; nothing of the part was kept."
        )
