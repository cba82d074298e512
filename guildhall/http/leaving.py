"""A client that goes away: what was done for it is cancelled, down to the statement in the database."""

import asyncio
from types import TracebackType

from litestar.types import Receive

from guildhall.http.exchange import ClientGone
from guildhall.patience import Patience, patience

PATIENCE_SECONDS = 0.05
"""Whoever is answered sooner is never watched: the watch would cost more than what is left to do."""


class WhileConnected:
    """Cancels its block when the connection ends, and raises ClientGone; for a request whose body has been read."""

    __slots__ = ("_gone", "_patience", "_receive", "_watching", "_working")

    _patience: Patience
    _working: "asyncio.Task[object]"

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watching: asyncio.Task[None] | None = None
        self._gone = False

    def __enter__(self) -> None:
        self._patience = found = patience()
        working = asyncio.current_task(found.loop)
        assert working is not None, "a request is served by a task"
        self._working = working
        found.begin(self, PATIENCE_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._patience.end(self)
        if self._watching is not None:
            self._watching.cancel()
        # One that is cancelled otherwise is of a server that stops: not ours to catch.
        if isinstance(error, asyncio.CancelledError) and self._gone and self._working.uncancel() == 0:
            raise ClientGone("The connection ended before the answer was there.") from None

    def ring(self) -> None:
        """The answer takes a while: see whether anybody still waits for it."""
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        if (await self._receive())["type"] == "http.disconnect":  # all that is left to come after the body
            self._gone = True
            self._working.cancel()
