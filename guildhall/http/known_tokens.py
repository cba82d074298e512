"""Whether tokens are known here, asked about together: however many guess at once, one statement at a time answers.

So what an attacker sends from a network that has to wait costs the database no more than one connection, and a token
that counts is found among their guesses in the same statement.
"""

import asyncio
import logging

from sqlalchemy.exc import SQLAlchemyError

from guildhall.auth.tokens import known_digests
from guildhall.db.transaction import Database
from guildhall.errors import Unavailable

WAITING_MAX = 10_000
"""How many different tokens wait for the next statement at most; beyond that, none is known."""
ANSWER_SECONDS_MAX = 5.0
"""How long one statement may take; then it is given up, and none of those that it asked about is known."""

logger = logging.getLogger(__name__)


class KnownTokens:
    """The look-ups of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[bytes, asyncio.Future[bool]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def has(self, digest: bytes) -> bool:
        """Whether the hash is of a token that nobody has withdrawn; not where the database does not say in time."""
        answer = self._waiting.get(digest)
        if answer is None:
            if len(self._waiting) >= WAITING_MAX:
                return False
            answer = self._waiting[digest] = asyncio.get_running_loop().create_future()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(answer)  # others may wait for the same

    async def _ask(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, {}
            known: frozenset[bytes] = frozenset()
            try:
                async with asyncio.timeout(ANSWER_SECONDS_MAX), self._database.read() as session:
                    known = await known_digests(session, asked)
            except (Unavailable, SQLAlchemyError, TimeoutError) as error:
                logger.warning("Tokens could not be looked up: %s", str(error) or "the database does not answer")
            finally:
                for digest, answer in asked.items():
                    answer.set_result(digest in known)
