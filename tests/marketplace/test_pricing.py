from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildhall.clock import new_id
from marketplace.pricing import (
    Interval,
    PriceOutOfRange,
    Run,
    Segment,
    charge,
    charge_runs,
    hold_for,
    segments,
    worst_case,
)
from marketplace.tables import CREDITS_MAX
from marketplace.tariffs import DAY_MINUTES, Hours, NoRate, StatedRate, Tariff, TariffPeriod, compile_week

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)
CREDIT = 1_000_000
POOL = new_id()


def tariff(*rates: StatedRate, until: datetime | None = None, pool: object = POOL) -> Tariff:
    period = TariffPeriod(MONDAY - timedelta(days=30), until, compile_week(rates, what="x"))
    return Tariff(pool, "STANDARD", (period,))  # type: ignore[arg-type]


DAY_AND_NIGHT = tariff(StatedRate(12 * CREDIT), StatedRate(6 * CREDIT, Hours(EVERY_DAY, 22 * 60, 6 * 60)))


def exact(prices: Tariff, starts_at: datetime, ends_at: datetime) -> Fraction:
    """The price of a run of one unit, minute by minute, by fractions."""
    total = Fraction(0)
    moment = starts_at
    while moment < ends_at:
        minute_end = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        end = min(minute_end, ends_at)
        minute = moment.weekday() * DAY_MINUTES + moment.hour * 60 + moment.minute
        period = next(p for p in prices.periods if p.starts_at <= moment and (p.ends_at is None or moment < p.ends_at))
        (rate,) = [r.credits_per_hour for r in period.week if r.from_minute <= minute < r.to_minute]
        total += Fraction(rate * ((end - moment) // timedelta(microseconds=1)), 3_600_000_000)
        moment = end
    return total


rates = st.integers(0, 10**12)
windows = st.builds(
    lambda days, start, end: Hours(tuple(sorted(days)), start, end),
    st.sets(st.integers(1, 7), min_size=1),
    st.integers(0, DAY_MINUTES - 1),
    st.integers(0, DAY_MINUTES),
)


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    """A base rate, a window or two of different size, and a change of the price list in the second week."""
    periods = []
    edges = [MONDAY - timedelta(days=30), MONDAY + timedelta(minutes=draw(st.integers(1, 30_000))), None]
    for starts_at, ends_at in pairwise(edges):
        stated = [StatedRate(draw(rates))]
        window = draw(st.none() | windows)
        if window is not None and window.minutes * len(window.days) < 7 * DAY_MINUTES:
            stated.append(StatedRate(draw(rates), window))
        assert starts_at is not None
        periods.append(TariffPeriod(starts_at, ends_at, compile_week(stated, what="x")))
    return Tariff(POOL, "STANDARD", tuple(periods))


moments = st.integers(0, 14 * 86_400 * 1_000_000).map(lambda micro: MONDAY + timedelta(microseconds=micro))
lengths = st.integers(0, 3 * 86_400)
counts = st.integers(1, 64)


class TestSegments:
    def test_are_split_where_the_rate_changes(self) -> None:
        start = MONDAY + 21 * HOUR
        assert segments(DAY_AND_NIGHT, start, 3 * 3600, 2) == [
            Segment(start, start + HOUR, POOL, 12 * CREDIT, 24 * CREDIT),
            Segment(start + HOUR, start + 3 * HOUR, POOL, 6 * CREDIT, 24 * CREDIT),
        ]

    def test_a_boundary_without_a_change_does_not_split(self) -> None:
        same = tariff(StatedRate(CREDIT), StatedRate(CREDIT, Hours((1,), 60, 120)))
        assert len(segments(same, MONDAY, 3 * 3600, 1)) == 1

    def test_shares_sum_up_where_rounding_one_by_one_would_not(self) -> None:
        odd = tariff(StatedRate(1), StatedRate(3, Hours(EVERY_DAY, 30, 60)))
        found = segments(odd, MONDAY, 3600, 1)
        assert [segment.credits for segment in found] == [0, 2]  # exactly 0.5 and 1.5: each alone rounds to 0 and 2
        assert sum(segment.credits for segment in found) == charge(odd, [(MONDAY, MONDAY + HOUR)], 1) == 2

    def test_no_rate_for_some_of_the_time(self) -> None:
        ending = tariff(StatedRate(1), until=MONDAY + HOUR)
        with pytest.raises(NoRate, match="tier STANDARD from 2026-03-02 01:00 UTC on"):
            segments(ending, MONDAY, 3601, 1)
        with pytest.raises(NoRate):
            segments(Tariff(POOL, "STANDARD", ()), MONDAY, 1, 1)

    def test_no_time_costs_nothing(self) -> None:
        assert segments(DAY_AND_NIGHT, MONDAY, 0, 1) == []

    @given(tariffs(), moments, lengths, counts)
    def test_sum_up_to_the_charge_and_touch_each_other(
        self, prices: Tariff, start: datetime, seconds: int, units: int
    ) -> None:
        found = segments(prices, start, seconds, units)
        end = start + timedelta(seconds=seconds)
        assert sum(segment.credits for segment in found) == charge(prices, [(start, end)], units)
        edges = [start, *(segment.ends_at for segment in found)]
        assert [segment.starts_at for segment in found] == edges[:-1]
        assert edges[-1] == end
        assert all(segment.credits >= 0 for segment in found)


class TestCharge:
    def test_an_hour_across_the_boundary(self) -> None:
        start = MONDAY + 21 * HOUR + HOUR / 2
        assert charge(DAY_AND_NIGHT, [(start, start + HOUR)], 1) == 9 * CREDIT

    @pytest.mark.parametrize(("micro_per_hour", "want"), [(1, 0), (3, 2), (5, 2), (7, 4), (2, 1)])
    def test_rounds_half_to_even(self, micro_per_hour: int, want: int) -> None:
        assert charge(tariff(StatedRate(micro_per_hour)), [(MONDAY, MONDAY + HOUR / 2)], 1) == want

    def test_rounds_once_over_all_intervals(self) -> None:
        quarter = (MONDAY, MONDAY + HOUR / 4)
        later = (MONDAY + 2 * HOUR, MONDAY + 2 * HOUR + HOUR / 4)
        cheap = tariff(StatedRate(1))
        assert charge(cheap, [quarter], 1) == 0
        assert charge(cheap, [quarter, later] * 3, 1) == 2  # 1.5, and not six times 0

    def test_never_more_than_the_hold(self) -> None:
        assert charge(DAY_AND_NIGHT, [(MONDAY, MONDAY + HOUR)], 1, hold=CREDIT) == CREDIT
        assert charge(DAY_AND_NIGHT, [(MONDAY, MONDAY + HOUR)], 1, hold=60 * CREDIT) == 6 * CREDIT

    def test_a_run_that_is_stopped_late_goes_on_at_the_last_rate(self) -> None:
        ending = tariff(StatedRate(3600), until=MONDAY + HOUR)
        assert charge(ending, [(MONDAY, MONDAY + HOUR + timedelta(seconds=5))], 1) == 3605

    def test_runs_on_several_pools(self) -> None:
        other = tariff(StatedRate(CREDIT), pool=new_id())
        runs = [Run(DAY_AND_NIGHT, MONDAY, MONDAY + HOUR), Run(other, MONDAY + HOUR, MONDAY + 2 * HOUR)]
        assert charge_runs(runs, 2) == 14 * CREDIT

    def test_nothing_ran(self) -> None:
        assert charge(DAY_AND_NIGHT, [], 8) == 0

    @given(tariffs(), moments, st.integers(0, 200_000_000_000), counts)
    def test_is_the_exact_price_rounded_half_to_even(
        self, prices: Tariff, start: datetime, micro: int, units: int
    ) -> None:
        end = start + timedelta(microseconds=micro % 10_800_000_000)
        assert charge(prices, [(start, end)], units) == round(units * exact(prices, start, end))

    @given(tariffs(), moments, st.lists(st.integers(0, 10**11), min_size=1, max_size=4), counts)
    def test_a_run_costs_the_same_in_one_piece_or_several(
        self, prices: Tariff, start: datetime, pieces: list[int], units: int
    ) -> None:
        intervals: list[Interval] = []
        moment = start
        for micro in pieces:
            intervals.append((moment, moment + timedelta(microseconds=micro)))
            moment = intervals[-1][1]
        assert charge(prices, intervals, units) == charge(prices, [(start, moment)], units)

    @given(tariffs(), moments, lengths, lengths, counts)
    def test_more_time_never_costs_less(
        self, prices: Tariff, start: datetime, seconds: int, more: int, units: int
    ) -> None:
        shorter, longer = start + timedelta(seconds=seconds), start + timedelta(seconds=seconds + more)
        assert charge(prices, [(start, shorter)], units) <= charge(prices, [(start, longer)], units)


class TestWorstCase:
    def test_finds_the_dearest_start(self) -> None:
        earliest, latest = MONDAY + 2 * HOUR, MONDAY + 8 * HOUR
        assert worst_case(DAY_AND_NIGHT, earliest, latest, 3600, 1) == 12 * CREDIT
        assert worst_case(DAY_AND_NIGHT, earliest, MONDAY + 5 * HOUR, 3600, 1) == 6 * CREDIT
        assert worst_case(DAY_AND_NIGHT, earliest, MONDAY + 5 * HOUR + HOUR / 2, 3600, 1) == 9 * CREDIT

    def test_a_peak_between_the_ends_is_found(self) -> None:
        peak = tariff(StatedRate(CREDIT), StatedRate(100 * CREDIT, Hours((1,), 12 * 60, 12 * 60 + 7)))
        assert worst_case(peak, MONDAY, MONDAY + 24 * HOUR, 7 * 60, 60) == 60 * 100 * CREDIT * 7 // 60

    def test_no_time_costs_nothing(self) -> None:
        assert worst_case(DAY_AND_NIGHT, MONDAY, MONDAY, 0, 1) == 0

    def test_is_refused_where_there_is_no_rate(self) -> None:
        with pytest.raises(NoRate):
            worst_case(tariff(StatedRate(1), until=MONDAY + HOUR), MONDAY, MONDAY + HOUR, 1, 1)

    def test_more_than_can_be_kept(self) -> None:
        with pytest.raises(PriceOutOfRange):
            worst_case(tariff(StatedRate(CREDITS_MAX)), MONDAY, MONDAY, 7200, 1)

    def test_over_several_pools_the_dearest_counts(self) -> None:
        dear = tariff(StatedRate(50 * CREDIT), pool=new_id())
        assert hold_for([DAY_AND_NIGHT, dear], MONDAY, MONDAY, 3600, 1) == 50 * CREDIT

    @given(tariffs(), moments, st.integers(0, 7 * 86_400_000_000), lengths, counts, st.data())
    def test_covers_every_start_and_every_shorter_run(
        self, prices: Tariff, earliest: datetime, slack: int, seconds: int, units: int, data: st.DataObject
    ) -> None:
        latest = earliest + timedelta(microseconds=slack)
        most = worst_case(prices, earliest, latest, seconds, units)
        start = earliest + timedelta(microseconds=data.draw(st.integers(0, slack)))
        run = timedelta(microseconds=data.draw(st.integers(0, seconds * 1_000_000)))
        assert charge(prices, [(start, start + run)], units) <= most

    @given(tariffs(), moments, st.integers(0, 3 * 86_400), st.integers(0, 86_400), counts)
    def test_is_reached_by_some_start(
        self, prices: Tariff, earliest: datetime, slack: int, seconds: int, units: int
    ) -> None:
        """Not only an upper bound: somewhere on the way it is charged, within what a minute's grid can see."""
        latest, run = earliest + timedelta(seconds=slack), timedelta(seconds=seconds)
        edges = {earliest, latest}
        for period in prices.periods:
            edges |= {period.starts_at, period.starts_at - run}
        monday = MONDAY - timedelta(days=7)
        for week in range(5):
            for period in prices.periods:
                for rate in period.week:
                    edge = monday + timedelta(weeks=week, minutes=rate.from_minute)
                    edges |= {edge, edge - run}
        starts = [edge for edge in edges if earliest <= edge <= latest]
        most = max(charge(prices, [(start, start + run)], units) for start in starts)
        assert worst_case(prices, earliest, latest, seconds, units) == most
