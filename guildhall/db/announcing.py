"""Telling other processes that something has changed, after its commit and never inside it.

NOTIFY inside a transaction makes all commits that notify wait for each other: PostgreSQL holds one lock from there to
the end of the commit, its write to disk included. With 32 connections that left a ninth of the commits, and this leaves
nearly all. What a transaction announces is sent once it has committed, in one short transaction at a time for each
process, doubles left out. A process that dies in between says nothing: who listens must look by itself as well.
"""

import asyncio
import logging
from uuid import UUID

from sqlalchemy import ARRAY, String, bindparam, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

PAYLOAD_BYTES_MAX = 7_999
PENDING_MAX = 10_000
"""The most notices that wait to be sent; more are dropped, as a lost notice only delays who listens."""

GATHER_SECONDS = 0.02
"""The pause after a batch. The first notice goes at once; of a thousand a second fifty transactions are left."""

CHANGES_CHANNEL = "guildhall_changes"
"""The channel of all things that can be followed; the payload is the topic of the one that changed."""

ANNOUNCED_KEY = "announced"
"""Where a session keeps what is to be told after its commit, in `session.info`."""

Notice = tuple[str, str]
"""A channel and a payload."""

logger = logging.getLogger(__name__)

# A notice holds nothing that a crash could lose, so its commit need not wait for the disk.
_SEND = text("""
    SELECT set_config('synchronous_commit', 'off', true), pg_notify(channel, payload)
    FROM unnest(:channels, :payloads) AS notice (channel, payload)
""").bindparams(bindparam("channels", type_=ARRAY(String)), bindparam("payloads", type_=ARRAY(String)))


def announce(session: AsyncSession, channel: str, payload: str = "") -> None:
    """Tell every listener once this transaction has committed; the same notice twice is one."""
    assert len(payload.encode()) <= PAYLOAD_BYTES_MAX, "a notice is a hint; the content belongs into a table"
    session.info.setdefault(ANNOUNCED_KEY, {})[(channel, payload)] = None


def announce_change(session: AsyncSession, kind: str, key: UUID) -> None:
    """Tell who follows that thing to look; domain functions call it where they write what followers are shown."""
    announce(session, CHANGES_CHANNEL, topic_of(kind, key))


def topic_of(kind: str, key: UUID) -> str:
    """The topic of one thing: its kind, as `job`, and its key."""
    return f"{kind}:{key}"


class Announcer:
    """Sends the notices of one process, on a connection of its pool; while one batch is under way the next gathers."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._pending: dict[Notice, None] = {}
        self._sending: asyncio.Task[None] | None = None

    def committed(self, session: AsyncSession) -> None:
        """Send what the session announced; it has committed."""
        announced: dict[Notice, None] = session.info.pop(ANNOUNCED_KEY, {})
        if not announced:
            return
        self._pending.update(announced)
        if len(self._pending) > PENDING_MAX:
            logger.warning("%s notices are dropped: they cannot be sent as fast as they come.", len(self._pending))
            self._pending.clear()
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(), name="announcer")

    async def flush(self) -> None:
        """Wait until all is sent."""
        if self._sending is not None:
            await self._sending

    async def _send(self) -> None:
        while self._pending:
            notices, self._pending = list(self._pending), {}
            values = {"channels": [channel for channel, _ in notices], "payloads": [payload for _, payload in notices]}
            try:
                async with self._engine.begin() as connection:
                    await connection.execute(_SEND, values)
            except (SQLAlchemyError, OSError) as error:
                logger.warning("%s notices could not be sent: %s", len(notices), error)
            await asyncio.sleep(GATHER_SECONDS)
