from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildhall.clock import new_id
from marketplace.tariffs import (
    DAY_MINUTES,
    WEEK_MINUTES,
    Hours,
    RateGap,
    RatesAmbiguous,
    StatedRate,
    Tariff,
    TariffPeriod,
    WeekRate,
    compile_week,
    week_start,
)

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)
NIGHT = Hours(EVERY_DAY, 22 * 60, 6 * 60)
FLAT = StatedRate(100)
POOL = new_id()

hours = st.builds(
    lambda days, start, end: Hours(tuple(sorted(days)), start, end),
    st.sets(st.integers(1, 7), min_size=1),
    st.integers(0, DAY_MINUTES - 1),
    st.integers(0, DAY_MINUTES),
)


def at_minute(rate: StatedRate, minute: int) -> bool:
    """The plain reading of a window, minute by minute."""
    if rate.hours is None:
        return True
    day, of_day = divmod(minute, DAY_MINUTES)
    yesterday = (day - 1) % 7
    start, end = rate.hours.from_minute, rate.hours.to_minute
    if start < end:
        return day + 1 in rate.hours.days and start <= of_day < end
    return (day + 1 in rate.hours.days and of_day >= start) or (yesterday + 1 in rate.hours.days and of_day < end)


class TestCompileWeek:
    def test_one_rate_is_the_whole_week(self) -> None:
        assert compile_week([FLAT], what="x") == (WeekRate(0, WEEK_MINUTES, 100),)

    def test_a_night_rate_runs_over_midnight_and_over_the_week(self) -> None:
        week = compile_week([FLAT, StatedRate(40, NIGHT)], what="x")
        assert week[:3] == (WeekRate(0, 360, 40), WeekRate(360, 1320, 100), WeekRate(1320, 1800, 40))
        assert week[-1] == WeekRate(6 * DAY_MINUTES + 1320, WEEK_MINUTES, 40)
        assert len(week) == 15

    def test_the_most_specific_counts_whatever_the_order(self) -> None:
        sunday = StatedRate(10, Hours((7,), 0, DAY_MINUTES))
        sunday_noon = StatedRate(5, Hours((7,), 720, 780))
        rates = [sunday_noon, FLAT, sunday]
        assert compile_week(rates, what="x") == compile_week(rates[::-1], what="x")
        assert compile_week(rates, what="x") == (
            WeekRate(0, 6 * DAY_MINUTES, 100),
            WeekRate(6 * DAY_MINUTES, 6 * DAY_MINUTES + 720, 10),
            WeekRate(6 * DAY_MINUTES + 720, 6 * DAY_MINUTES + 780, 5),
            WeekRate(6 * DAY_MINUTES + 780, WEEK_MINUTES, 10),
        )

    def test_midnight_to_midnight_is_a_whole_day(self) -> None:
        assert Hours((1,), 0, 0).minutes == DAY_MINUTES
        assert Hours((1,), 0, 0).windows() == [(0, DAY_MINUTES)]

    def test_a_gap_is_refused_with_its_hours(self) -> None:
        with pytest.raises(RateGap) as refused:
            compile_week([StatedRate(40, NIGHT)], what="Tier STANDARD of pool a100", field="rates")
        assert refused.value.message.startswith(
            "Tier STANDARD of pool a100 has no rate from Monday 06:00 to Monday 22:00 (UTC): add a rate without hours"
        )
        assert refused.value.field == "rates"

    def test_no_rate_at_all_is_a_gap_of_a_week(self) -> None:
        with pytest.raises(RateGap, match="from Monday 00:00 to Monday 00:00"):
            compile_week([], what="x")

    def test_two_rates_that_are_equally_specific_must_agree(self) -> None:
        first, second = StatedRate(40, NIGHT), StatedRate(30, Hours(EVERY_DAY, 23 * 60, 7 * 60))
        with pytest.raises(RatesAmbiguous, match=r"x has 2 rates from Monday 00:00 \(UTC\).*0.00003 and 0.00004"):
            compile_week([FLAT, first, second], what="x")
        agreeing = StatedRate(40, Hours(EVERY_DAY, 23 * 60, 7 * 60))
        assert len(compile_week([FLAT, first, agreeing], what="x")) == 15

    @given(st.lists(hours, max_size=5), st.integers(0, WEEK_MINUTES - 1))
    def test_every_minute_has_the_rate_that_a_plain_reading_gives(self, windows: list[Hours], minute: int) -> None:
        priced = [StatedRate(window.minutes * len(window.days), window) for window in windows]
        rates = [StatedRate(WEEK_MINUTES), *priced]
        week = compile_week(rates, what="x")
        assert (week[0].from_minute, week[-1].to_minute) == (0, WEEK_MINUTES)
        assert all(one.to_minute == other.from_minute for one, other in pairwise(week))
        (counted,) = [rate.credits_per_hour for rate in week if rate.from_minute <= minute < rate.to_minute]
        holding = [rate for rate in rates if at_minute(rate, minute)]
        assert counted == min(holding, key=lambda rate: rate.minutes_per_week).credits_per_hour


class TestWeekStart:
    @pytest.mark.parametrize(
        "moment",
        [
            MONDAY,
            MONDAY + timedelta(days=7, microseconds=-1),
            datetime(2026, 3, 2, 0, 30, tzinfo=timezone(timedelta(minutes=30))),
        ],
    )
    def test_is_monday_in_utc(self, moment: datetime) -> None:
        assert week_start(moment) == MONDAY

    def test_another_zone_may_be_in_another_week(self) -> None:
        late = datetime(2026, 3, 2, 0, 30, tzinfo=timezone(timedelta(hours=1)))
        assert week_start(late) == MONDAY - timedelta(days=7)


def tariff(*periods: tuple[int, int | None]) -> Tariff:
    """Periods in days after Monday."""
    week = compile_week([FLAT], what="x")
    return Tariff(
        POOL,
        "STANDARD",
        tuple(
            TariffPeriod(MONDAY + timedelta(days=start), None if end is None else MONDAY + timedelta(days=end), week)
            for start, end in periods
        ),
    )


class TestTariff:
    @pytest.mark.parametrize(
        ("periods", "want"),
        [
            ([(0, 3)], True),
            ([(0, None)], True),
            ([(-9, 2), (2, 3)], True),
            ([(0, 2)], False),
            ([(1, 3)], False),
            ([(0, 1), (2, 3)], False),
            ([(5, None)], False),
            ([(-5, -1)], False),
            ([], False),
        ],
    )
    def test_covers_three_days(self, periods: list[tuple[int, int | None]], want: bool) -> None:
        assert tariff(*periods).covers(MONDAY, MONDAY + timedelta(days=3)) is want

    def test_as_json_and_back(self) -> None:
        made: Any = tariff((0, 2), (2, None))
        assert Tariff.from_json(made.to_json()) == made

    def test_unbounded_goes_on_at_both_ends(self) -> None:
        assert tariff((0, 1), (2, 3)).unbounded().covers(MONDAY - timedelta(days=9), MONDAY + timedelta(hours=1))
        assert tariff((0, 1)).unbounded().covers(MONDAY - timedelta(days=9), MONDAY + timedelta(days=9))
        assert not tariff((0, 1), (2, 3)).unbounded().covers(MONDAY, MONDAY + timedelta(days=3))
