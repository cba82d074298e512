"""Who fails to sign in waits, in whichever process they try next: each asks what all have counted, and tells its own.

Only failures wait: a token that is known here is admitted, whatever its neighbours tried. The count is advice. Where
the database does not answer, a process goes by what it remembers itself.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError

from guildhall.auth.actor import RequestContext
from guildhall.auth.attempts import WINDOW, Attempts, TooManyAttempts
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import Database
from guildhall.errors import GuildhallError, Unavailable
from guildhall.http.known_tokens import KnownTokens
from guildhall.organisation.failed_sign_ins import Count, Room, count_failure, failures_of, tell_of_minutes_past

TELL_SECONDS = WINDOW.total_seconds()
"""How often a process looks for failures of minutes past that auditors are to be told of."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SharedAttempts:
    """What this process remembers of failures, and what the database counts of all processes."""

    remembered: Attempts
    database: Database
    clock: Clock
    new_id: IdSource
    room: Room = field(default_factory=Room)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _known: KnownTokens = field(init=False)

    def __post_init__(self) -> None:
        """Tokens are looked up in the same database."""
        object.__setattr__(self, "_known", KnownTokens(self.database))

    async def admit(self, address: str | None, at: datetime, *, token_hash: bytes | None = None) -> None:
        """Return unless the address has failed too often; raises TooManyAttempts, which says how long to wait.

        `token_hash` is of what could be a token known here: then it is looked up before it has to wait. Nothing is
        asked of the database for one that counted of late, nor without one for an address that is known to wait.
        """
        if self.remembered.knows(token_hash):
            return
        try:
            await self._admit(address, at)
        except TooManyAttempts:
            if token_hash is None or not await self._known.has(token_hash):
                raise

    async def _admit(self, address: str | None, at: datetime) -> None:
        self.remembered.admit(address, at)
        try:
            async with self.database.read() as session:
                counted = await failures_of(session, address, at=at)
        except (Unavailable, SQLAlchemyError) as error:
            logger.warning("Failures to sign in could not be read: %s", error)
            return
        self._learn(address, counted)
        self.remembered.admit(address, at)

    async def count(
        self, request: RequestContext, at: datetime, why: GuildhallError | None, *, token_hash: bytes | None = None
    ) -> None:
        """One more failure, recorded as far as `failed_sign_ins` says; or a sign-in begun, where `why` is None.

        Those of a process wait for each other here rather than in the database, where many at once would hold a
        connection each; what came in beside them, and is beyond the limit already, is not told to the others.
        """
        if not self.remembered.count(request.address, at, token_hash=token_hash):
            return
        try:
            async with self._turn, self.database.transaction() as session:
                counted = await count_failure(session, request, why, room=self.room, at=at, new_id=self.new_id)
        except (Unavailable, SQLAlchemyError) as error:
            logger.warning("A failure to sign in could not be counted: %s", error)
            return
        self._learn(request.address, counted)

    def succeeded(self, token_hash: bytes) -> None:
        """The token counted."""
        self.remembered.succeeded(token_hash)

    async def tell(self) -> None:
        """Until cancelled: have auditors told of what was counted and not recorded by itself."""
        while True:
            try:
                async with self.database.transaction() as session:
                    await tell_of_minutes_past(session, at=self.clock.now(), new_id=self.new_id)
            except (Unavailable, SQLAlchemyError) as error:
                logger.warning("Failures to sign in could not be recorded: %s", error)
            await asyncio.sleep(TELL_SECONDS)

    def _learn(self, address: str | None, counted: Count | None) -> None:
        if counted is not None:
            self.remembered.learn(address, counted.since, counted.failures)
