"""How many workers there are now: what all of them together may ask of a cluster is shared among so many.

A worker holds a lock in the database as long as it lives, and counts the locks of all while somebody asks. It believes
its count only for a moment, and who is new waits until everybody else must have counted it; so at no time do they take
more than the whole.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import asyncpg

from guildhall.db.notify import open_connection

LOCK = (0x6775696C, 1)
"""`guil`, and the number of this use among ours."""
COUNTED_EVERY_SECONDS = 0.25
BELIEVED_SECONDS = 1.0
ASKED_SECONDS = 5.0
"""When nobody has asked for so long, it is counted again with the next question."""
LINGERING_SECONDS = 1.0
"""What a worker sent in its last second still counts at the cluster when it is gone."""
ANSWER_SECONDS_MAX = 10.0
RECONNECT_SECONDS = 0.5

COUNT = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND classid = $1::int::oid AND objid = $2::int::oid AND objsubid = 2 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""

logger = logging.getLogger(__name__)


class Crew:
    """One worker's view of it. `clock` answers in seconds and never runs backwards."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._count = 0
        self._counted_at = float("-inf")
        self._silent_until = float("inf")
        self._lingering: list[tuple[float, int]] = []
        self._asked_at = float("-inf")
        self._asked = asyncio.Event()

    def sharers(self) -> int | None:
        """Among how many the requests are shared; None: not known now, so that nothing may be sent."""
        now = self._asked_at = self._clock()
        self._asked.set()
        if self._count == 0 or now < self._silent_until or now >= self._counted_at + BELIEVED_SECONDS:
            return None
        return max([self._count, *(count for until, count in self._lingering if now < until)])

    async def run(self, url: str) -> None:
        """Be one of the workers on this database until cancelled; a lost connection is made anew."""
        while True:
            try:
                connection = await open_connection(url)
                try:
                    await connection.execute(f"SELECT pg_advisory_lock_shared({LOCK[0]}, {LOCK[1]})")
                    self.joined()
                    while True:
                        asked_at = self._clock()
                        self.counted(await connection.fetchval(COUNT, *LOCK, timeout=ANSWER_SECONDS_MAX), asked_at)
                        await self._sleep(COUNTED_EVERY_SECONDS)
                        await self._until_asked()
                finally:
                    connection.terminate()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                logger.warning("The workers cannot be counted, so that no cluster is asked anything: %s", error)
            self._count = 0
            await self._sleep(RECONNECT_SECONDS)

    async def _until_asked(self) -> None:
        if self._clock() >= self._asked_at + ASKED_SECONDS:
            self._asked.clear()
            await self._asked.wait()

    def joined(self) -> None:
        """From now on others count us; whoever went before us may have sent something just now."""
        self._count = 0
        self._lingering = []
        self._silent_until = self._clock() + LINGERING_SECONDS

    def counted(self, count: int, asked_at: float) -> None:
        """So many there were at that moment or later, ourselves included."""
        if self._count == 0 and count > 1:
            self._silent_until += BELIEVED_SECONDS
        if count < self._count:
            self._lingering = [each for each in self._lingering if asked_at < each[0]]
            self._lingering.append((self._clock() + LINGERING_SECONDS, self._count))
        self._count, self._counted_at = count, asked_at
