"""How much comes in at once: beyond that a caller is told to come again, before memory or the event loop give way."""

from collections.abc import Coroutine
from typing import Any

from guildhall.errors import Unavailable
from guildhall.turns import Turns

BODY_BYTES_HELD_MAX = 64 << 20
"""The bytes of all bodies that are being read or worked on, of one process."""

WAIT_SECONDS_MAX = 5.0
"""Who has waited so long for a place goes; the caller has most likely gone before."""


class Overloaded(Unavailable):
    """Too many requests at once; the caller may come again in a moment."""

    code = "OVERLOADED"


class Door:
    """Lets `working_max` requests work at once and `waiting_max` wait for it, in the order in which they came."""

    def __init__(self, *, working_max: int, waiting_max: int) -> None:
        self._inside_max = working_max + waiting_max
        self._inside = 0
        self._turns = Turns(working_max)
        self._bytes_held = 0

    def inside(self) -> "_Inside":
        """From the first byte to the last; raises Overloaded."""
        return _Inside(self)

    def working(self) -> "_Working":
        """While there is work to be done for a request that has been read; raises Overloaded after a wait."""
        return _Working(self)

    def enter(self) -> None:
        """Come inside; raises Overloaded."""
        if self._inside >= self._inside_max:
            raise Overloaded("Too many requests at once; come again in a moment.")
        self._inside += 1

    def go(self) -> None:
        """Leave it."""
        self._inside -= 1

    async def begin(self) -> None:
        """Take a place to work; raises Overloaded after a wait."""
        if self._turns.take():
            return
        try:
            await self._turns.wait(WAIT_SECONDS_MAX)
        except TimeoutError as error:
            raise Overloaded("Too many requests at once; come again in a moment.") from error

    def hold(self, size: int) -> None:
        """Bytes of a body have come in; raises Overloaded. What was held is let go of with a negative size."""
        self._bytes_held += size
        if size > 0 and self._bytes_held > BODY_BYTES_HELD_MAX:
            raise Overloaded("Too much is being sent at once; come again in a moment.")

    def end(self) -> None:
        """Give the place to who waits for it, or back."""
        self._turns.give_back()


class _Inside:
    """A class, as a generator costs more than all that is done here; so are the others around each request."""

    __slots__ = ("_door",)

    def __init__(self, door: Door) -> None:
        self._door = door

    def __enter__(self) -> None:
        self._door.enter()

    def __exit__(self, *_: object) -> None:
        self._door.go()


class _Working:
    __slots__ = ("_door",)

    def __init__(self, door: Door) -> None:
        self._door = door

    def __aenter__(self) -> Coroutine[Any, Any, None]:
        return self._door.begin()

    async def __aexit__(self, *_: object) -> None:
        self._door.end()
