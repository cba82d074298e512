"""The stream of sealed events to somebody else's system: each at least once, in the order of the leaves.

It runs beside the sealer, in the same process: what it sends is what was sealed there a moment ago, and a receiver that
hangs holds up neither the seal nor any request. Of several processes the one with the lease sends.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy.exc import DBAPIError

from guildhall.audit.stream_cursor import (
    EVENTS_MAX,
    Lease,
    end_lease,
    move_on,
    next_batch,
    note_trouble,
    renew_lease,
    take_lease,
)
from guildhall.audit.stream_sinks import (
    SEND_SECONDS_MAX,
    Authentication,
    BatchTooLarge,
    Body,
    FileSink,
    HttpSink,
    Sink,
    SinkUnavailable,
)
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError
from guildhall.settings import Settings

IDLE_SECONDS = 1.0
OTHERS_SECONDS = 5.0
"""How often somebody who does not send looks whether they may."""
PAUSE_SECONDS_FIRST = 1.0
PAUSE_SECONDS_MAX = 60.0
"""A receiver that is away is asked for ever, but never more seldom than this: nothing may be left out."""
GROW_AFTER_BATCHES = 100
"""After so many in a row that a receiver took since it last found one too large, it is offered twice as much."""

logger = logging.getLogger(__name__)


class Streamer:
    """The stream of one process."""

    def __init__(
        self,
        database: Database,
        sink: Sink,
        clock: Clock,
        *,
        owner: str,
        origin: str,
        new_id: IdSource,
        with_personal: bool = True,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._sink = sink
        self._clock = clock
        self._owner = owner
        self._origin = origin
        self._new_id = new_id
        self._with_personal = with_personal
        self._chance = chance
        self._lease: Lease | None = None
        self._events_max = EVENTS_MAX
        self._taken = 0
        self._failures = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Send until told to stop; what goes wrong is told, and tried again."""
        try:
            while not stop.is_set():
                pause = await self.attempt()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
        finally:
            await self.close()

    async def attempt(self) -> float:
        """Send one batch, if there is one and it is ours to send; how many seconds to wait before the next."""
        try:
            pause = await self._step()
        except (GuildhallError, DBAPIError, OSError) as error:
            self._failures += 1
            logger.error("The audit record is not streamed: %s", error)  # noqa: TRY400 -- the sentence says it all
            await self._refused(error)
            longest = min(PAUSE_SECONDS_FIRST * (1 << min(self._failures - 1, 30)), PAUSE_SECONDS_MAX)
            return longest * (0.5 + self._chance() / 2)
        self._failures = 0
        return pause

    async def close(self) -> None:
        """Let others send, and let go of the receiver."""
        if self._lease is not None:
            with contextlib.suppress(GuildhallError, DBAPIError, OSError):  # it ends by itself
                await end_lease(self._database, self._lease)
            self._lease = None
        await self._sink.close()

    async def _step(self) -> float:
        lease = await self._leased()
        if lease is None:
            return OTHERS_SECONDS
        batch = await next_batch(
            self._database, lease, origin=self._origin, with_personal=self._with_personal, events_max=self._events_max
        )
        if batch is None:
            return IDLE_SECONDS
        if batch.missing:
            logger.warning(
                "Of the leaves from %s to %s, %s have left with their months for archives: they are not streamed.",
                batch.first, batch.next_leaf - 1, batch.missing,
            )  # fmt: skip
        if batch.lines:
            await self._sink.send(batch)
            self._grow()
        self._lease = await move_on(self._database, lease, batch.next_leaf, at=self._clock.now())
        return 0

    def _grow(self) -> None:
        """One large event, or a limit that was raised since, would otherwise make small batches for ever."""
        self._taken += 1
        if self._taken == GROW_AFTER_BATCHES:
            self._events_max, self._taken = min(EVENTS_MAX, self._events_max * 2), 0

    async def _leased(self) -> Lease | None:
        """The lease, with time enough for one request; None where another has it."""
        now = self._clock.now()
        if self._lease is not None and self._lease.expires_at - now < timedelta(seconds=2 * SEND_SECONDS_MAX):
            self._lease = await renew_lease(self._database, self._lease, at=now)
        if self._lease is None:
            self._lease = await take_lease(self._database, owner=self._owner, clock=self._clock, new_id=self._new_id)
        return self._lease

    async def _refused(self, error: Exception) -> None:
        if isinstance(error, BatchTooLarge):
            self._events_max, self._taken = max(1, self._events_max // 2), 0
        if isinstance(error, SinkUnavailable) and self._lease is not None:
            with contextlib.suppress(GuildhallError, DBAPIError, OSError):  # the log has it
                await note_trouble(self._database, self._lease, error.message)


def open_streamer(
    settings: Settings, database: Database, clock: Clock, *, owner: str, new_id: IdSource
) -> Streamer | None:
    """The stream as the settings have it; None where they name no receiver."""
    url = settings.audit_stream_url
    if not url:
        return None
    sink: Sink
    parts = urlsplit(url)
    if parts.scheme == "file":
        sink = FileSink(Path(unquote(parts.path)), bytes_max=settings.audit_stream_file_bytes)
    else:
        sink = HttpSink(
            url,
            clock,
            body=Body(settings.audit_stream_body),
            secret_file=settings.audit_stream_secret_file,
            authentication=Authentication(settings.audit_stream_authentication),
        )
    return Streamer(
        database, sink, clock, owner=owner, origin=settings.audit_origin, new_id=new_id,
        with_personal=settings.audit_stream_personal_values,
    )  # fmt: skip
