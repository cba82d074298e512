"""How many reads of one reader are decided at once: others of theirs wait here, where they hold nothing.

Reads that one budget counts wait for each other at its row, each with a connection to the database and with what
withdrawals wait for. So whoever asks for very many at once would have everybody wait with them.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from guildhall.auth.actor import Actor
from guildhall.errors import RateLimited
from guildhall.turns import Turns

AT_ONCE_MAX = 4
"""In one process: budgets let one through at a time, and the others prepare meanwhile."""
WAIT_SECONDS_MAX = 30


@dataclass
class _Queue:
    """Those of one reader that are decided or wait; it is forgotten with the last of them."""

    turns: Turns = field(default_factory=lambda: Turns(AT_ONCE_MAX))
    here: int = 0


class Readers:
    """Whose reads are being decided in this process: of a person, with their jobs, or of the programs of a team."""

    def __init__(self) -> None:
        self._queues: dict[UUID, _Queue] = {}

    @asynccontextmanager
    async def turn(self, actor: Actor) -> AsyncIterator[None]:
        """Come to one's turn, in the order of asking. Raises RateLimited after `WAIT_SECONDS_MAX`."""
        key = actor.user_id or actor.team_id or actor.id
        queue = self._queues.setdefault(key, _Queue())
        queue.here += 1
        try:
            await _come_in(queue.turns)
            try:
                yield
            finally:
                queue.turns.give_back()
        finally:
            queue.here -= 1
            if not queue.here:
                del self._queues[key]


async def _come_in(turns: Turns) -> None:
    if turns.take():
        return
    try:
        await turns.wait(WAIT_SECONDS_MAX)
    except TimeoutError as error:
        message = (
            f"You ask for so much at once that this read did not come to its turn within {WAIT_SECONDS_MAX} seconds. "
            "Ask for it again, for fewer at once, or for many files as one bundle."
        )
        raise RateLimited(message, retry_after_seconds=1) from error
