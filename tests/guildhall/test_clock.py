"""Clocks and ids."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from guildhall.clock import SimulatedClock, SteadyClock, SystemClock, new_id

START = datetime(2026, 3, 2, 8, tzinfo=UTC)


class TestSystemClock:
    def test_is_aware_and_in_utc(self) -> None:
        assert SystemClock().now().utcoffset() == timedelta()


class TestSimulatedClock:
    def test_moves_only_when_told(self, clock: SimulatedClock) -> None:
        assert clock.now() == clock.now() == datetime(2026, 3, 2, 8, tzinfo=UTC)
        assert clock.advance(seconds=90) == datetime(2026, 3, 2, 8, 1, 30, tzinfo=UTC)
        assert clock.advance(timedelta(days=1), seconds=30) == datetime(2026, 3, 3, 8, 2, tzinfo=UTC)
        assert clock.advance_to(datetime(2026, 4, 1, tzinfo=UTC)) == clock.now()

    def test_reads_a_start_elsewhere_in_utc(self) -> None:
        start = datetime(2026, 3, 2, 9, tzinfo=timezone(timedelta(hours=1)))
        assert SimulatedClock(start).now() == datetime(2026, 3, 2, 8, tzinfo=UTC)

    def test_does_not_run_backwards(self, clock: SimulatedClock) -> None:
        with pytest.raises(AssertionError, match="backwards"):
            clock.advance(seconds=-1)
        with pytest.raises(AssertionError, match="aware"):
            SimulatedClock(datetime(2026, 3, 2))  # noqa: DTZ001 -- the mistake under test


class TestNewId:
    def test_is_version_7_and_sorts_as_made(self) -> None:
        made = [new_id() for _ in range(10_000)]
        assert {one.version for one in made} == {7}
        assert made == sorted(set(made))


class TestSteadyClock:
    def test_time_goes_on_when_the_clock_is_set_back(self, caplog: pytest.LogCaptureFixture) -> None:
        said, elapsed = [START], [0.0]

        class Machine:
            def now(self) -> datetime:
                return said[0]

        clock = SteadyClock(Machine(), elapsed=lambda: elapsed[0])
        assert clock.now() == START
        said[0], elapsed[0] = START + timedelta(hours=2), 1.0
        assert clock.now() == START + timedelta(hours=2)
        said[0], elapsed[0] = START, 11.0
        assert clock.now() == START + timedelta(hours=2, seconds=10)
        elapsed[0] = 12.0
        assert clock.now() == START + timedelta(hours=2, seconds=11)
        assert caplog.text.count("was set back") == 1
        said[0] = START + timedelta(hours=3)
        assert clock.now() == START + timedelta(hours=3)
        said[0] = START
        assert clock.now() == START + timedelta(hours=3)
        assert caplog.text.count("was set back") == 2
