"""What an accelerator-hour costs on one pool in one tier, for every moment: rates by the hour of the week, in UTC.

A price list states rates that hold always or in some hours of the week. Where several hold at once, the most specific
counts: the one that covers the fewest minutes of a week. Minutes of the week run from Monday 00:00 to Sunday 24:00.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Self
from uuid import UUID

from guildhall.credits import format_credits
from guildhall.errors import Invalid

DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class RateGap(Invalid):
    """Some hours of the week would have no rate."""

    code = "RATE_GAP"


class RatesAmbiguous(Invalid):
    """Two rates that are equally specific hold at once and differ."""

    code = "RATES_AMBIGUOUS"


class NoRate(Invalid):
    """No price list states a rate for some of the time asked about."""

    code = "NO_RATE"


@dataclass(frozen=True)
class Hours:
    """A daily window of the week: on these ISO weekdays (1 is Monday) from one minute of the day to another.

    A window whose end is not later than its beginning runs over midnight into the next day.
    """

    days: tuple[int, ...]
    from_minute: int
    to_minute: int

    @property
    def minutes(self) -> int:
        """How many minutes of a day's window there are."""
        length = self.to_minute - self.from_minute
        return length if length > 0 else length + DAY_MINUTES

    def windows(self) -> list[tuple[int, int]]:
        """The windows as minutes of the week, cut where the week ends."""
        windows = []
        for day in self.days:
            start = (day - 1) * DAY_MINUTES + self.from_minute
            end = start + self.minutes
            windows.append((start, min(end, WEEK_MINUTES)))
            if end > WEEK_MINUTES:
                windows.append((0, end - WEEK_MINUTES))
        return windows


@dataclass(frozen=True)
class StatedRate:
    """A rate as a price list states it, in micro-credits per accelerator-hour; without hours it holds always."""

    credits_per_hour: int
    hours: Hours | None = None

    @property
    def minutes_per_week(self) -> int:
        """How much of the week it covers; fewer is more specific."""
        return WEEK_MINUTES if self.hours is None else self.hours.minutes * len(self.hours.days)

    def windows(self) -> list[tuple[int, int]]:
        """Where it holds, as minutes of the week."""
        return [(0, WEEK_MINUTES)] if self.hours is None else self.hours.windows()


@dataclass(frozen=True)
class WeekRate:
    """The one rate that counts between two minutes of the week, half open."""

    from_minute: int
    to_minute: int
    credits_per_hour: int


Week = tuple[WeekRate, ...]
"""Every minute of the week once, in order."""


@dataclass(frozen=True)
class TariffPeriod:
    """A week that repeats between two moments; without an end it goes on."""

    starts_at: datetime
    ends_at: datetime | None
    week: Week


@dataclass(frozen=True)
class Tariff:
    """The rates of one pool in one tier over time: periods in order, without overlap; gaps have no rate."""

    pool_id: UUID
    tier: str
    periods: tuple[TariffPeriod, ...]

    def covers(self, starts_at: datetime, ends_at: datetime) -> bool:
        """Whether there is a rate for every moment between the two."""
        reached = starts_at
        for period in self.periods:
            if period.starts_at > reached:
                break
            if period.ends_at is None or period.ends_at >= ends_at:
                return True
            reached = max(reached, period.ends_at)
        return reached >= ends_at

    def unbounded(self) -> Self:
        """The same with its first and last week going on for ever: a run that is stopped late is still priced."""
        periods = list(self.periods)
        periods[0] = replace(periods[0], starts_at=datetime.min.replace(tzinfo=UTC))
        periods[-1] = replace(periods[-1], ends_at=None)
        return replace(self, periods=tuple(periods))

    def to_json(self) -> dict[str, Any]:
        """As a quote keeps it; `from_json` gives an equal tariff."""
        return {
            "poolId": str(self.pool_id),
            "tier": self.tier,
            "periods": [
                {
                    "startsAt": period.starts_at.isoformat(),
                    "endsAt": period.ends_at.isoformat() if period.ends_at else None,
                    "week": [[rate.from_minute, rate.to_minute, rate.credits_per_hour] for rate in period.week],
                }
                for period in self.periods
            ],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(
            UUID(value["poolId"]),
            value["tier"],
            tuple(
                TariffPeriod(
                    datetime.fromisoformat(period["startsAt"]),
                    datetime.fromisoformat(period["endsAt"]) if period["endsAt"] else None,
                    tuple(WeekRate(*rate) for rate in period["week"]),
                )
                for period in value["periods"]
            ),
        )


def compile_week(rates: Sequence[StatedRate], *, what: str, field: str | None = None) -> Week:
    """The rate that counts for every minute of the week; raises RateGap or RatesAmbiguous, a sentence about `what`."""
    windows = [(start, end, rate) for rate in rates for start, end in rate.windows()]
    edges = sorted({0, WEEK_MINUTES, *(edge for start, end, _ in windows for edge in (start, end))})
    week: list[WeekRate] = []
    for start, end in pairwise(edges):
        holding = [rate for first, last, rate in windows if first <= start and end <= last]
        if not holding:
            raise RateGap(
                f"{what} has no rate from {_moment(start)} to {_moment(end)} (UTC): add a rate without hours, "
                "which holds wherever no other does.",
                field=field,
            )
        credits = _most_specific(holding, what=what, moment=_moment(start), field=field)
        if week and week[-1].credits_per_hour == credits:
            week[-1] = replace(week[-1], to_minute=end)
        else:
            week.append(WeekRate(start, end, credits))
    return tuple(week)


def week_start(moment: datetime) -> datetime:
    """Monday 00:00 UTC of the week of the moment."""
    moment = moment.astimezone(UTC)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=midnight.weekday())


def _most_specific(rates: Sequence[StatedRate], *, what: str, moment: str, field: str | None) -> int:
    fewest = min(rate.minutes_per_week for rate in rates)
    credits = {rate.credits_per_hour for rate in rates if rate.minutes_per_week == fewest}
    if len(credits) > 1:
        shown = " and ".join(format_credits(each) for each in sorted(credits))
        raise RatesAmbiguous(
            f"{what} has {len(credits)} rates from {moment} (UTC) that are equally specific: {shown} credits an hour.",
            field=field,
        )
    return credits.pop()


def _moment(minute: int) -> str:
    day, of_day = divmod(minute, DAY_MINUTES)
    return f"{DAYS[day % 7]} {of_day // 60:02}:{of_day % 60:02}"
