"""Time and ids as parameters, so that months of load can be run in simulated time by the same code."""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

from uuid_utils import compat

MOMENT_MIN = datetime(1970, 1, 1, tzinfo=UTC)
MOMENT_MAX = datetime(9000, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
"""What may come in from outside; the driver takes Python's own extremes for PostgreSQL's infinities."""

IdSource = Callable[[], UUID]
"""Where new ids come from; `new_id` outside tests."""

logger = logging.getLogger(__name__)


class Clock(Protocol):
    """The only source of "now"; `now()` in SQL and `datetime.now()` in domain code are forbidden for business time."""

    def now(self) -> datetime:
        """The present moment, aware and in UTC."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """The machine's present moment in UTC."""
        return datetime.now(UTC)


class SteadyClock:
    """Another clock that never goes back: when that is set back, time goes on from where it was.

    Otherwise what had ended would count again: tokens, sessions, access to data. A restart takes the new time.
    """

    def __init__(self, clock: Clock, *, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._last = clock.now()
        self._last_elapsed = elapsed()
        self._behind = False

    def now(self) -> datetime:
        """What the other clock says, or where it was set back, its last moment and the time since then."""
        said, elapsed = self._clock.now(), self._elapsed()
        behind = said < self._last
        if behind and not self._behind:
            logger.warning("The clock was set back from %s to %s; time goes on from the first.", self._last, said)
        self._behind = behind
        if behind:
            said = self._last + timedelta(seconds=max(0.0, elapsed - self._last_elapsed))
        self._last, self._last_elapsed = said, elapsed
        return said


class SimulatedClock:
    """A clock that moves only when it is told to, and never backwards."""

    def __init__(self, start: datetime) -> None:
        assert start.tzinfo is not None, "a simulated clock starts at an aware moment"
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """The moment that the simulation has reached."""
        return self._now

    def advance(self, duration: timedelta | None = None, *, seconds: float = 0) -> datetime:
        """Move forward by the duration or the seconds, and answer with the moment reached."""
        step = (duration or timedelta()) + timedelta(seconds=seconds)
        assert step >= timedelta(), "a clock does not run backwards"
        self._now += step
        return self._now

    def advance_to(self, moment: datetime) -> datetime:
        """Move forward to an aware moment."""
        return self.advance(moment - self._now)


def new_id() -> UUID:
    """A fresh UUIDv7: ids sort by the millisecond in which they were made, so pages and B-trees stay in order."""
    return compat.uuid7()
