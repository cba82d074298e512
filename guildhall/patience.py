"""How long something may take, watched by one timer of an event loop for all that is under way.

A timer for each would cost a request that is answered in a millisecond more than anything else that is done around it:
it has three such waits, and none of them is ever long. So ends come up to `TICK_SECONDS` late.
"""

import asyncio
from threading import get_ident
from types import TracebackType
from typing import Protocol

TICK_SECONDS = 0.05


class Waiting(Protocol):
    """Something under way that is to be told when it has taken too long."""

    def ring(self) -> None:
        """It has."""


class Patience:
    """What is under way on one event loop, each with the moment at which it has taken too long."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = get_ident()
        self._due: dict[Waiting, float] = {}
        self._ticking = False

    def begin(self, waiting: Waiting, seconds: float) -> None:
        """Ring after so long, unless it has ended by then."""
        self._due[waiting] = self.loop.time() + seconds
        if not self._ticking:
            self._ticking = True
            self.loop.call_later(TICK_SECONDS, self._tick)

    def end(self, waiting: Waiting) -> None:
        """It need not ring any more."""
        self._due.pop(waiting, None)

    def _tick(self) -> None:
        self._ticking = bool(self._due)
        if self._ticking:
            self.loop.call_later(TICK_SECONDS, self._tick)
        now = self.loop.time()
        for waiting in [each for each, due in self._due.items() if due <= now]:
            del self._due[waiting]
            waiting.ring()


_latest: Patience | None = None


def patience() -> Patience:
    """That of the running loop. Another loop's goes on by itself, for as long as anything is under way there.

    A thread runs one loop at a time, so the latest is ours if it runs in our thread. To ask asyncio, which asks the
    kernel for our process each time, costs more than all else here.
    """
    global _latest  # noqa: PLW0603 -- a process has one loop
    found = _latest
    if found is None or found.thread != get_ident() or not found.loop.is_running():
        found = _latest = Patience(asyncio.get_running_loop())
    return found


class Within:
    """Cancels its block when it has taken too long, and raises TimeoutError: `asyncio.timeout` without its price."""

    __slots__ = ("_cancelling", "_late", "_patience", "_seconds", "_working")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._late = False

    def __enter__(self) -> None:
        self._patience = found = patience()
        working = asyncio.current_task(found.loop)
        assert working is not None, "what takes time is done by a task"
        self._working = working
        self._cancelling = working.cancelling()
        found.begin(self, self._seconds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._patience.end(self)
        # One that was cancelled otherwise as well goes on being so.
        if self._late and self._working.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def ring(self) -> None:
        """It takes too long."""
        self._late = True
        self._working.cancel()
