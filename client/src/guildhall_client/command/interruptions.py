"""What must not end in the middle: signals that would end the command wait for it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

DEFERRED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
"""Ctrl-C, a service that stops, a terminal that closes; not every platform has each."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Those that come meanwhile come at the end of the block, once each. Only the main thread ever gets any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if number not in came:
            came.append(number)

    # None is a handler that is not Python's: it could not be put back.
    before = {number: handler for number in DEFERRED if (handler := signal.getsignal(number)) is not None}
    try:
        for number in before:
            signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)
