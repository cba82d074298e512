"""How many may follow at once: of one caller, and of all callers of the process."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from guildhall.auth.subjects import Subject
from guildhall.errors import LimitExceeded, Unavailable


class TooManySubscriptions(LimitExceeded):
    """One caller follows more than one may; ending one makes room for another."""

    code = "TOO_MANY_SUBSCRIPTIONS"


class NoPlaceLeft(Unavailable):
    """All callers together follow more than this process can carry; another replica may have room."""

    code = "NO_PLACE_LEFT"


class Places:
    """The places of one process, taken for as long as something is followed; `tell` hears how many are taken."""

    def __init__(self, *, places_max: int, per_caller_max: int, tell: Callable[[float], None]) -> None:
        self._places_max = places_max
        self._per_caller_max = per_caller_max
        self._tell = tell
        self._taken: Counter[Subject] = Counter()

    @property
    def taken(self) -> int:
        """How many things are followed now."""
        return self._taken.total()

    @contextmanager
    def take(self, subject: Subject) -> Iterator[None]:
        """One place; raises TooManySubscriptions, NoPlaceLeft."""
        if self._taken[subject] >= self._per_caller_max:
            raise TooManySubscriptions(f"You follow {self._per_caller_max} things already, the most that one may.")
        if self.taken >= self._places_max:
            raise NoPlaceLeft("This server carries as many subscriptions as it can; try again in a moment.")
        self._taken[subject] += 1
        self._tell(self.taken)
        try:
            yield
        finally:
            self._taken[subject] -= 1
            if not self._taken[subject]:
                del self._taken[subject]
            self._tell(self.taken)
