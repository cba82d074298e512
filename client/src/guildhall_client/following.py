"""Following a subscription over server-sent events, resumed by its cursor whenever the stream is cut off.

What the drivers share: they open streams and wait, this says with what and how long.
"""

import json
from typing import Any

from guildhall_client.errors import SIGN_IN_CODES, Refused, Unreachable
from guildhall_client.steps import RETRIED_STATUSES, TRIES_MAX, backoff_seconds

SILENCE_SECONDS_MAX = 60.0
"""The server shows every 15 seconds that a stream is alive."""


class Following:
    """One subscription from its first change to its last; `complete` once no more comes."""

    def __init__(self, document: str, variables: dict[str, Any] | None) -> None:
        self._document = document
        self._variables = dict(variables or {})
        self._event = ""
        self._tries = 0
        self._unresumable = False
        self.complete = False

    def request(self) -> tuple[bytes, dict[str, str]]:
        """The body and headers that open the stream where the last one broke off."""
        body = json.dumps({"query": self._document, "variables": self._variables}).encode()
        return body, {"Content-Type": "application/json", "Accept": "text/event-stream"}

    def opened(self, status: int, body: bytes) -> None:
        """Look at the answer of a request that is no stream; raises `Refused` where asking again would not help."""
        if status in RETRIED_STATUSES:
            return
        try:
            error = json.loads(body)["errors"][0]
            raise Refused(error["extensions"]["code"], error["message"], error["extensions"].get("hint"))
        except (ValueError, KeyError, IndexError, TypeError):
            message = f"the server answered {status}, but not as Guildhall does; is the address right?"
            raise Unreachable(message) from None

    def take(self, line: str) -> Any:  # noqa: ANN401 -- the value of the one field
        """What a line of the stream brings: the field's value, or None; raises `Refused`."""
        name, _, value = line.partition(":")
        if name == "event":
            self._event = value.strip()
            self.complete = self._event == "complete"
        if name != "data" or self._event != "next":
            return None
        payload = json.loads(value)
        if payload.get("data") is None:
            error = payload["errors"][0]
            extensions = error.get("extensions", {})
            raise Refused(extensions.get("code", "UNKNOWN"), error["message"], extensions.get("hint"))
        ((_, change),) = payload["data"].items()
        self._tries = 0
        cursor = change.get("cursor")
        self._unresumable = cursor is None
        if cursor is not None:
            self._variables["after"] = cursor
        return change

    def outlives(self, refused: Refused) -> bool:
        """Whether it goes on with another token: the one that it was opened with has ended."""
        return refused.code in SIGN_IN_CODES and not self._unresumable

    def pause_seconds(self, reason: str) -> float:
        """How long to wait before asking again; raises `Unreachable` after so many tries that brought nothing."""
        if self._unresumable:
            raise Unreachable(f"the stream broke off ({reason}), and without `cursor` in the document it cannot go on")
        self._tries += 1
        if self._tries >= TRIES_MAX:
            raise Unreachable(f"the server does not answer: {reason}")
        return backoff_seconds(self._tries)
