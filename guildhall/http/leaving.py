"""A client that goes away: what was done for it is cancelled, down to the statement in the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar.types import Receive

from guildhall.http.exchange import ClientGone

PATIENCE_SECONDS = 0.05
"""Whoever is answered sooner is never watched: the watch would cost more than what is left to do."""


@asynccontextmanager
async def while_connected(receive: Receive) -> AsyncIterator[None]:
    """Cancels the block when the connection ends, and raises ClientGone; for a request whose body has been read."""
    working = asyncio.current_task()
    assert working is not None, "a request is served by a task"
    watching: asyncio.Task[None] | None = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        if (await receive())["type"] == "http.disconnect":  # all that is left to come after the body
            gone = True
            working.cancel()

    def begin() -> None:
        nonlocal watching
        watching = asyncio.create_task(watch())

    timer = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, begin)
    try:
        yield
    except asyncio.CancelledError:
        if not gone or working.uncancel() > 0:  # the server is stopping: not ours to catch
            raise
        raise ClientGone("The connection ended before the answer was there.") from None
    finally:
        timer.cancel()
        if watching is not None:
            watching.cancel()
