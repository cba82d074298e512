"""How often one address may fail to sign in: beyond that it is told to wait, but for tokens that are known here.

Nobody guesses a token by trying; what trying costs is the look-up and the check of a signature. Callers whose token
counts are not held up by a stranger behind the same address: of one that counted a moment ago it is remembered, others
are looked up together (`guildhall.http.known_tokens`). This is what one process remembers; all together count in the
database (`guildhall.organisation.failed_sign_ins`), and tell each other by it.
"""

from collections import OrderedDict
from datetime import datetime, timedelta

from guildhall.auth.networks import neighbourhood
from guildhall.errors import RateLimited

WINDOW = timedelta(minutes=1)
ADDRESSES_MAX = 10_000
"""How many addresses are counted at once; who has not failed for longest is forgotten first."""
KNOWN_MAX = 10_000
"""How many tokens that counted are remembered, by their hashes."""


class TooManyAttempts(RateLimited):
    """An address failed, or began, to sign in too often within a minute."""

    code = "TOO_MANY_ATTEMPTS"


class Attempts:
    """The failures of one process by address, and the tokens that counted of late."""

    def __init__(self, per_minute_max: int) -> None:
        self._per_minute_max = per_minute_max
        self._counts: OrderedDict[str, tuple[datetime, int]] = OrderedDict()
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def admit(self, address: str | None, at: datetime) -> None:
        """Return unless the address has failed too often; raises TooManyAttempts, which says how long to wait."""
        since, count = self._counts.get(neighbourhood(address), (at, 0))
        left = since + WINDOW - at
        if count >= self._per_minute_max and timedelta(0) < left <= WINDOW:
            seconds = int(left.total_seconds()) + 1
            raise TooManyAttempts(
                f"Too many failed attempts to sign in from this address; wait {seconds} seconds.",
                retry_after_seconds=seconds,
            )

    def knows(self, token_hash: bytes | None) -> bool:
        """Whether a token counted of late."""
        return token_hash is not None and token_hash in self._known

    def learn(self, address: str | None, since: datetime, failures: int) -> None:
        """What all processes together have counted of the address since then, where that is more than is known here."""
        key = neighbourhood(address)
        known = self._counts.get(key)
        if known is None or known[0] < since or known[1] < failures:
            self._keep(key, since, failures)

    def count(self, address: str | None, at: datetime, *, token_hash: bytes | None = None) -> bool:
        """One more failure, or one more sign-in begun; a token that failed is no longer known.

        Returns whether the address was still to be admitted before it, so that others want to know of it.
        """
        if token_hash is not None:
            self._known.pop(token_hash, None)
        key = neighbourhood(address)
        since, count = self._counts.get(key, (at, 0))
        if not timedelta(0) <= at - since < WINDOW:
            since, count = at, 0
        self._keep(key, since, count + 1)
        return count < self._per_minute_max

    def succeeded(self, token_hash: bytes) -> None:
        """The token counted."""
        self._known[token_hash] = None
        self._known.move_to_end(token_hash)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    def _keep(self, key: str, since: datetime, count: int) -> None:
        self._counts[key] = (since, count)
        self._counts.move_to_end(key)
        if len(self._counts) > ADDRESSES_MAX:
            self._counts.popitem(last=False)
