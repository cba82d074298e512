"""A number of places, given out in the order in which they are asked for."""

import asyncio
from collections import deque


class Turns:
    """Who takes a place gives it back; whoever comes when all are taken waits in line.

    A semaphore of asyncio does the same for several times the price, which a request pays twice.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self) -> bool:
        """Take a place, if one is free and nobody waits for it; whether one was."""
        if not self._free or self._waiting:
            return False
        self._free -= 1
        return True

    async def wait(self, seconds: float) -> None:
        """Take a place when it is our turn; raises TimeoutError."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(seconds):
                await place
        except BaseException:
            self._give_up(place)
            raise

    def give_back(self) -> None:
        """Hand the place on to who waits for it, so that nobody who comes now takes it before them."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _give_up(self, place: "asyncio.Future[None]") -> None:
        if place.done() and not place.cancelled():
            self.give_back()  # it came in the same moment: the next one takes it
        elif place in self._waiting:
            self._waiting.remove(place)
