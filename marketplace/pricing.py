"""What a run costs, as pure functions of a tariff and times: exact in integers, rounded once, half to even.

Inside, a cost is a whole number of micro-credits per hour times microseconds; only the sum of a job is divided.
`units` is the number of accelerators that the job occupies, over all of its nodes.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from guildhall.credits import format_credits
from guildhall.errors import Invalid
from marketplace.tables import CREDITS_MAX
from marketplace.tariffs import NoRate, Tariff, week_start

HOUR_MICROSECONDS = 3_600 * 1_000_000
PIECES_MAX = 100_000
"""Constant stretches of one tariff that are priced together: centuries of a tariff that changes twice a day."""

Interval = tuple[datetime, datetime]
"""From container start to container stop, half open, aware."""


class PriceOutOfRange(Invalid):
    """A job so large that its price cannot be kept."""

    code = "PRICE_OUT_OF_RANGE"


@dataclass(frozen=True)
class Segment:
    """A stretch at one rate: `credits_per_hour` is for one accelerator, `credits` for all of the job's."""

    starts_at: datetime
    ends_at: datetime
    pool_id: UUID
    credits_per_hour: int
    credits: int


@dataclass(frozen=True)
class Run:
    """An interval in which the job ran, on the tariff of the pool it ran on."""

    tariff: Tariff
    starts_at: datetime
    ends_at: datetime


def segments(tariff: Tariff, start: datetime, seconds: int, units: int) -> list[Segment]:
    """The course of a run, split where the rate changes; the credits of the segments sum up to the charge, exactly."""
    found: list[Segment] = []
    cost, rounded = 0, 0
    for starts_at, ends_at, rate in _pieces(tariff, start, start + timedelta(seconds=seconds)):
        cost += rate * units * _microseconds(ends_at - starts_at)
        # The nth segment gets what the rounded sum grows by: shares rounded one by one would not sum up.
        found.append(Segment(starts_at, ends_at, tariff.pool_id, rate, _round(cost) - rounded))
        rounded = _round(cost)
    return found


def worst_case(tariff: Tariff, earliest: datetime, latest_start: datetime, seconds: int, units: int) -> int:
    """The most that a run of up to these seconds can cost if it starts between the two moments, both included.

    Between the starts at which the run's beginning or end meets a change of the rate, the cost is linear in the start,
    so the dearest is among those and the two ends.
    """
    assert earliest <= latest_start, "the earliest start is not after the latest"
    length = timedelta(seconds=seconds)
    course = _Course(tariff, earliest, latest_start + length)
    starts = {earliest, latest_start}
    for change in course.changes:
        starts |= {start for start in (change, change - length) if earliest <= start <= latest_start}
    return _checked(_round(units * max(course.cost(start, start + length) for start in starts)))


def charge(tariff: Tariff, intervals: Sequence[Interval], units: int, *, hold: int | None = None) -> int:
    """What a job that ran in these intervals on one pool is charged; never more than its hold, where one is given."""
    return charge_runs([Run(tariff, starts_at, ends_at) for starts_at, ends_at in intervals], units, hold=hold)


def charge_runs(runs: Sequence[Run], units: int, *, hold: int | None = None) -> int:
    """What a job is charged that ran on several pools: rounded once over all of its runs.

    A run that lasts longer than its tariff (stopped late) goes on at the last rate. Runs are taken as they are: the
    caller has removed doubles.
    """
    cost = sum(
        rate * units * _microseconds(ends_at - starts_at)
        for run in runs
        for starts_at, ends_at, rate in _pieces(run.tariff.unbounded(), run.starts_at, run.ends_at)
    )
    charged = _round(cost)
    return charged if hold is None else min(charged, hold)


def hold_for(tariffs: Sequence[Tariff], earliest: datetime, latest_start: datetime, seconds: int, units: int) -> int:
    """The worst case over several pools: the hold of a quote that leaves the pool open."""
    assert tariffs, "a quote has at least one eligible pool"
    return max(worst_case(tariff, earliest, latest_start, seconds, units) for tariff in tariffs)


class _Course:
    """The cost of one unit as a function of time over one window, for many questions about the same window."""

    def __init__(self, tariff: Tariff, starts_at: datetime, ends_at: datetime) -> None:
        pieces = _pieces(tariff, starts_at, ends_at)
        self.changes = [piece_start for piece_start, _, _ in pieces]
        self._rates = [rate for _, _, rate in pieces]
        self._before = [0]
        for piece_start, piece_end, rate in pieces:
            self._before.append(self._before[-1] + rate * _microseconds(piece_end - piece_start))

    def cost(self, starts_at: datetime, ends_at: datetime) -> int:
        return self._until(ends_at) - self._until(starts_at)

    def _until(self, moment: datetime) -> int:
        index = max(bisect_right(self.changes, moment) - 1, 0)
        if not self.changes:
            return 0
        return self._before[index] + self._rates[index] * _microseconds(moment - self.changes[index])


def _pieces(tariff: Tariff, starts_at: datetime, ends_at: datetime) -> list[tuple[datetime, datetime, int]]:
    """The window cut where the rate changes; raises NoRate where the tariff has a gap in it."""
    found: list[tuple[datetime, datetime, int]] = []
    reached = starts_at
    for period in tariff.periods:
        if period.starts_at > reached or reached >= ends_at:
            break
        until = ends_at if period.ends_at is None else min(period.ends_at, ends_at)
        while reached < until:
            monday = week_start(reached)
            minute = (reached - monday) // timedelta(minutes=1)
            rate = next(rate for rate in period.week if minute < rate.to_minute)
            piece_end = min(until, monday + timedelta(minutes=rate.to_minute))
            if found and found[-1][2] == rate.credits_per_hour:
                found[-1] = (found[-1][0], piece_end, rate.credits_per_hour)
            else:
                found.append((reached, piece_end, rate.credits_per_hour))
            assert len(found) <= PIECES_MAX, "a window of more rate changes than anything quoted can have"
            reached = piece_end
    if reached < ends_at:
        raise NoRate(f"No price list states a rate of tier {tariff.tier} from {reached:%Y-%m-%d %H:%M} UTC on.")
    return found


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _round(cost: int) -> int:
    """Micro-credits from micro-credits per hour times microseconds, half to even."""
    whole, rest = divmod(cost, HOUR_MICROSECONDS)
    return whole + (2 * rest > HOUR_MICROSECONDS or (2 * rest == HOUR_MICROSECONDS and whole % 2 == 1))


def _checked(credits: int) -> int:
    if credits > CREDITS_MAX:
        raise PriceOutOfRange(f"{format_credits(credits)} credits are more than one job can cost.")
    return credits
