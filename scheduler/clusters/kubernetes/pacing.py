"""Never above the configured requests a second, counted as the API server counts them.

When a request reaches the server is not ours to see: it does so somewhere between our sending it and the answer. So a
request takes up one of the N places from its start until one second after its answer began; then no second of the
server's own record can hold more than N, however unevenly connections open and event loops stall.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

WINDOW_SECONDS = 1.0
REQUESTS_PER_SECOND_MAX = 10_000
UNSHARED_SECONDS = 0.05
PAUSE_SECONDS_MAX = 60.0
"""However long a server asks us to stay away, we look again after this."""


class Pace:
    """The places of one cluster's client. `clock` answers in seconds and never runs backwards.

    Workers that talk to one cluster share its places: `sharers` answers how many they are, or None while nobody knows,
    and then nothing is sent.
    """

    def __init__(
        self,
        requests_per_second: int,
        *,
        in_flight_max: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        sharers: Callable[[], int | None] = lambda: 1,
    ) -> None:
        assert 1 <= requests_per_second <= REQUESTS_PER_SECOND_MAX, requests_per_second
        assert in_flight_max >= 1, in_flight_max
        self.requests_per_second = requests_per_second
        self._in_flight_max = in_flight_max
        self._clock = clock
        self._sleep = sleep
        self._sharers = sharers
        self._in_flight = 0
        self._answered_at: deque[float] = deque()
        self._paused_until = float("-inf")
        # One waits at the door, the others behind it, in the order in which they came.
        self._door = asyncio.Lock()
        self._answered = asyncio.Event()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it; the body sends a request and leaves once its answer has begun."""
        async with self._door:
            await self._wait_for_place()
            self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            self._answered_at.append(self._clock())
            self._answered.set()

    def pause(self, seconds: float) -> float:
        """Send nothing for as long as the server asks, at most PAUSE_SECONDS_MAX; answers with what was granted."""
        granted = min(max(seconds, 0.0), PAUSE_SECONDS_MAX)
        self._paused_until = max(self._paused_until, self._clock() + granted)
        return granted

    async def _wait_for_place(self) -> None:
        while True:
            now = self._clock()
            sharers = self._sharers()
            places, window = self._share(sharers or 1)
            while self._answered_at and self._answered_at[0] + window <= now:
                self._answered_at.popleft()
            if now < self._paused_until:
                await self._sleep(self._paused_until - now)
            elif sharers is None:
                await self._sleep(UNSHARED_SECONDS)
            elif self._in_flight < self._in_flight_max and self._in_flight + len(self._answered_at) < places:
                return
            elif self._in_flight >= self._in_flight_max or not self._answered_at:
                self._answered.clear()
                await self._answered.wait()
            else:
                await self._sleep(self._answered_at[0] + window - now)

    def _share(self, sharers: int) -> tuple[int, float]:
        """Our part of the places; where there are fewer of them than sharers, one place for a longer time."""
        places = self.requests_per_second // sharers
        return (places, WINDOW_SECONDS) if places else (1, WINDOW_SECONDS * sharers / self.requests_per_second)
