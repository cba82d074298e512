"""Bytes that leave: announced to the audit record before the first, concluded after the last, cut off with the access.

One way for a file, a range of it and a bundle of many: one intent, one reservation, one outcome.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from litestar.types import Receive

from guildhall.audit.outcomes import compose_outcome
from guildhall.audit.record import record_refusal
from guildhall.audit.tables import Outcome
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused
from guildhall.auth.subjects import ActorKind
from guildhall.errors import Conflict, GuildhallError, Unauthenticated, Unavailable
from registry.access.announcing import bytes_of, readings_of, record_intent, rows_of
from registry.access.reading import AccessChanged, DecisionPassed, OpenedFile, minimised, open_again, open_files
from registry.access.watching import ReadUnderWay
from registry.artifacts.packages import READ as READ_PACKAGE
from registry.http.desk import ArtifactDesk
from registry.storage import StoredBytesMissing
from registry.volume.counting import Reservation, release
from registry.volume.reserving import Crossed, record_crossing, reserve

LOOKS_EVERY_SECONDS = 1.0
"""How often what takes longer looks whether it may still read."""


DECISIONS_MAX = 10
"""How often a read is decided anew while roles and grants change under it."""


class BytesLost(Unavailable):
    """The record knows the file, the store does not: somebody removed what must not be removed."""

    code = "BYTES_LOST"


class AccessEnded(Conflict):
    """A grant, role or token ended or was withdrawn, or the data was closed, while bytes were leaving."""

    code = "ACCESS_ENDED"


class BrokenOff(Exception):
    """It ended in the middle. No status can say so any more: the connection is cut short of its length."""


@dataclass
class Sending:
    """How far it came, and why it went no further where that was ours to say."""

    bytes_sent: int = 0
    files_sent: int = 0
    started: bool = False
    ended: AccessEnded | None = None


Send = Callable[[Sequence[OpenedFile], Sending], Awaitable[None]]
"""Sends the bytes of files that were announced, and notes in the other how far it is."""


def bytes_lost(missing: StoredBytesMissing) -> BytesLost:
    """What a caller is told of it."""
    del missing  # its key is nobody's business outside
    return BytesLost("The bytes of this file are not where they should be. Tell whoever runs this server.")


async def open_recorded(desk: ArtifactDesk, actor: Actor, artifact_ids: Sequence[UUID]) -> tuple[OpenedFile, ...]:
    """As `open_files`; a refusal is recorded."""
    try:
        async with desk.database.read() as session:
            return await open_files(session, actor, artifact_ids, job_inputs=desk.job_inputs, at=desk.clock.now())
    except Refused as refusal:
        await record_refusal(desk.database, actor, refusal, at=desk.clock.now(), new_id=desk.new_id)
        raise


async def minimised_recorded(
    desk: ArtifactDesk, actor: Actor, file: OpenedFile, *, shown_rows: int | None = None
) -> OpenedFile:
    """What may leave of it; sizes, ranges and tags are those of the part from here on. A refusal is recorded."""
    try:
        return await minimised(desk.minimiser, file, shown_rows=shown_rows)
    except Refused as refusal:
        await record_refusal(desk.database, actor, refusal, at=desk.clock.now(), new_id=desk.new_id)
        raise


async def send_recorded(
    desk: ArtifactDesk, actor: Actor, files: Sequence[OpenedFile], size_bytes: int, send: Send, receive: Receive
) -> None:
    """Intent, so many bytes of the files, outcome; the outcome is written however the sending ends."""
    announced = await _announce(desk, actor, files, size_bytes)
    sending = Sending()
    try:
        await _send_until_gone(desk, announced, sending, send, receive)
    except GuildhallError as error:
        if sending.started:
            raise BrokenOff(f"after {sending.bytes_sent} of {size_bytes} bytes: {error.message}") from error
        raise
    finally:
        # Shielded: the server may cancel the request when its client goes away, and just that is to be recorded.
        await asyncio.shield(_conclude(desk, announced, sending))


@dataclass(frozen=True)
class _Announced:
    """A read that the record knows of and that was counted, and the caller for whom it was decided."""

    actor: Actor
    files: Sequence[OpenedFile]
    size_bytes: int
    intent: Mapping[str, Any]
    reservations: Sequence[Reservation]


async def _announce(desk: ArtifactDesk, actor: Actor, files: Sequence[OpenedFile], size_bytes: int) -> _Announced:
    """Decide once more, count and write the intent, in one transaction: what was withdrawn since is read no more."""
    for _ in range(DECISIONS_MAX):
        try:
            async with desk.readers.turn(actor):
                return await _announce_as(desk, actor, files, size_bytes)
        except DecisionPassed:
            actor = await desk.still(actor)
        except Crossed as crossed:
            async with desk.database.transaction() as session:
                await record_crossing(session, actor, crossed, at=desk.clock.now(), new_id=desk.new_id)
            raise crossed.refusal from crossed
        except Refused as refusal:
            await record_refusal(desk.database, actor, refusal, at=desk.clock.now(), new_id=desk.new_id)
            raise
    raise AccessChanged


async def _announce_as(desk: ArtifactDesk, actor: Actor, files: Sequence[OpenedFile], size_bytes: int) -> _Announced:
    async with desk.database.transaction() as session:
        at, files = await open_again(session, actor, files, job_inputs=desk.job_inputs, clock=desk.clock)
        if actor.kind is ActorKind.JOB and files[0].action != READ_PACKAGE:
            about, grant_id = files[0].resources[0], files[0].grant_id
            await desk.job_inputs.note(session, actor, about, grant_id, at=at, new_id=desk.new_id)
        intent = await record_intent(session, actor, files, size_bytes=size_bytes, at=at, new_id=desk.new_id)
        # Last, because parallel reads of one person wait for each other from here to the commit.
        readings = await readings_of(session, files, size_bytes=size_bytes)
        reserved = [await reserve(session, actor, each, at=at, new_id=desk.new_id) for each in readings]
    return _Announced(actor, files, size_bytes, intent, [each for each in reserved if each is not None])


async def _send_until_gone(
    desk: ArtifactDesk, announced: _Announced, sending: Sending, send: Send, receive: Receive
) -> None:
    """Send, and stop reading from the store as soon as the client has gone, or the access that this goes by."""
    sender = asyncio.ensure_future(send(announced.files, sending))
    reading = ReadUnderWay(announced.actor, announced.files[0], desk.job_inputs)
    ended = asyncio.ensure_future(_access_ended(desk, reading, sending))
    tasks = {sender, asyncio.ensure_future(_client_gone(receive)), ended}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in {sender} if sender.done() else done:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _access_ended(desk: ArtifactDesk, reading: ReadUnderWay, sending: Sending) -> None:
    """Raises AccessEnded when the access that bytes leave by is no longer there."""
    while True:
        await asyncio.sleep(LOOKS_EVERY_SECONDS)
        if not await _may_go_on(desk, reading):
            sending.ended = AccessEnded("The access that this download went by has ended.")
            raise sending.ended


async def _may_go_on(desk: ArtifactDesk, reading: ReadUnderWay) -> bool:
    async with desk.database.read() as session:
        going_on = await reading.may_go_on(session, at=desk.clock.now())
    if going_on is not None:
        return going_on
    try:
        actor = await desk.still(reading.actor)
    except Unauthenticated:
        return False
    async with desk.database.read() as session:
        return await reading.may_go_on_for(session, actor, at=desk.clock.now())


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _conclude(desk: ArtifactDesk, announced: _Announced, sending: Sending) -> None:
    files = announced.files
    complete = sending.started and sending.bytes_sent == announced.size_bytes
    whole = complete and announced.size_bytes == bytes_of(files)
    if announced.reservations and not complete:
        async with desk.database.transaction() as session:
            for each in announced.reservations:
                share = -(-each.rows * sending.bytes_sent // max(announced.size_bytes, 1))
                await release(session, each, rows=share, size_bytes=sending.bytes_sent)
    await desk.conclusions.add(
        compose_outcome(
            announced.intent,
            outcome=Outcome.COMPLETED if complete else Outcome.ABORTED,
            rows=rows_of(files) if whole else None,
            bytes=sending.bytes_sent,
            after={"filesSent": sending.files_sent} if len(files) > 1 else None,
            reason=None if complete else sending.ended,
            at=desk.clock.now(),
            new_id=desk.new_id,
        )
    )
