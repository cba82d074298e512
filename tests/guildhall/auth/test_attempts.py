"""Who fails too often waits; who was known a moment ago does not, and memory has an end."""

from datetime import UTC, datetime, timedelta

import pytest

from guildhall.auth import attempts as module
from guildhall.auth.attempts import WINDOW, Attempts, TooManyAttempts

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
HERE, THERE = "192.0.2.1", "192.0.2.2"


def failed(times: int, per_minute: int = 3) -> Attempts:
    made = Attempts(per_minute)
    for _ in range(times):
        made.count(HERE, AT)
    return made


class TestAttempts:
    def test_below_the_limit_everybody_is_admitted(self) -> None:
        failed(2).admit(HERE, AT)

    def test_beyond_it_one_address_waits(self) -> None:
        made = failed(3)
        with pytest.raises(TooManyAttempts) as refusal:
            made.admit(HERE, AT + timedelta(seconds=20))
        assert refusal.value.retry_after_seconds == 41
        assert refusal.value.details == {"retryAfterSeconds": "41"}
        made.admit(THERE, AT)

    def test_says_of_which_failures_others_want_to_know(self) -> None:
        made = failed(1)
        assert [made.count(HERE, AT) for _ in range(3)] == [True, True, False]
        assert made.count(HERE, AT + WINDOW)

    def test_until_the_minute_is_over(self) -> None:
        made = failed(3)
        made.admit(HERE, AT + timedelta(seconds=60))
        made.count(HERE, AT + timedelta(seconds=60))
        made.admit(HERE, AT + timedelta(seconds=60))

    def test_a_clock_that_was_set_back_locks_nobody_out(self) -> None:
        failed(3).admit(HERE, AT - timedelta(hours=1))

    def test_knows_a_token_that_counted_until_it_fails(self) -> None:
        made = failed(3)
        made.succeeded(b"token")
        assert made.knows(b"token")
        made.count(HERE, AT, token_hash=b"token")
        assert not made.knows(b"token")

    def test_what_others_counted_of_this_minute_replaces_a_higher_count_of_the_last(self) -> None:
        made = failed(5)
        made.learn(HERE, AT + WINDOW, 4)
        with pytest.raises(TooManyAttempts) as refusal:
            made.admit(HERE, AT + WINDOW)
        assert refusal.value.retry_after_seconds == 61

    def test_less_than_is_known_of_a_minute_is_not_learned(self) -> None:
        made = failed(3)
        made.learn(HERE, AT, 1)
        with pytest.raises(TooManyAttempts):
            made.admit(HERE, AT)

    def test_what_others_counted_is_learned(self) -> None:
        made = failed(1)
        for address in (HERE, THERE):
            made.learn(address, AT, 3)
            with pytest.raises(TooManyAttempts):
                made.admit(address, AT)

    def test_memory_has_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "ADDRESSES_MAX", 2)
        monkeypatch.setattr(module, "KNOWN_MAX", 2)
        made = Attempts(1)
        for number in range(5):
            made.count(f"192.0.2.{number}", AT)
            made.succeeded(bytes([number]))
        assert list(made._counts) == ["192.0.2.3", "192.0.2.4"]
        assert list(made._known) == [b"\x03", b"\x04"]
