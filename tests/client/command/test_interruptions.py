"""Signals that wait for the end of a block."""

import signal
import threading
from collections.abc import Iterator

import pytest

from guildhall_client.command.interruptions import DEFERRED, uninterrupted


@pytest.fixture
def came() -> Iterator[list[int]]:
    """The signals that were let through, for as long as the test."""
    heard: list[int] = []
    before = {number: signal.signal(number, lambda given, _frame: heard.append(given)) for number in DEFERRED}
    yield heard
    for number, handler in before.items():
        signal.signal(number, handler)


class TestUninterrupted:
    def test_what_comes_meanwhile_comes_at_the_end(self, came: list[int]) -> None:
        with uninterrupted():
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
                signal.raise_signal(number)
            assert came == []
        assert came == [signal.SIGTERM, signal.SIGINT]
        signal.raise_signal(signal.SIGINT)
        assert came == [signal.SIGTERM, signal.SIGINT, signal.SIGINT]

    def test_what_fails_meanwhile_is_raised(self, came: list[int]) -> None:
        with pytest.raises(ValueError, match="no good"), uninterrupted():  # noqa: PT012 -- the order is the matter
            signal.raise_signal(signal.SIGINT)
            raise ValueError("no good")
        assert came == [signal.SIGINT]

    def test_beside_the_main_thread(self, came: list[int]) -> None:
        handlers: list[object] = []

        def block() -> None:
            with uninterrupted():
                handlers.append(signal.getsignal(signal.SIGINT))

        thread = threading.Thread(target=block)
        thread.start()
        thread.join()
        assert handlers == [signal.getsignal(signal.SIGINT)]
        assert came == []
