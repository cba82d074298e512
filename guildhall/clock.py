"""Time and ids as parameters, so that months of load can be run in simulated time by the same code."""

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


class Clock(Protocol):
    """The only source of "now"; `now()` in SQL and `datetime.now()` in domain code are forbidden for business time."""

    def now(self) -> datetime:
        """The present moment, aware and in UTC."""


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """The machine's present moment in UTC."""
        return datetime.now(UTC)


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
