"""Input types of the marketplace's share of `applyConfiguration`, and what they mean to the domain."""

from collections.abc import Sequence
from datetime import datetime

from guildhall.graphql.inputs import input_type
from guildhall.graphql.scalars import Credits
from marketplace.configuration import PeriodSetting, ProgrammeSetting
from marketplace.graphql.programmes import Weekday
from marketplace.price_configuration import HoursSetting, PriceListSetting, RateSetting
from marketplace.tables import StrategicClass, Tier


@input_type
class ProgrammeInput:
    """A programme as it should be."""

    name: str
    title: str
    strategic_class: StrategicClass


@input_type
class PeriodInput:
    """A period as it should be."""

    name: str
    starts_at: datetime
    ends_at: datetime


@input_type
class RateHoursInput:
    """In UTC, as 22:00; over midnight where `to` is not later than `from`."""

    days: list[Weekday]
    from_: str
    to: str


@input_type
class RateInput:
    """Credits for one accelerator-hour; without hours it holds wherever no rate with hours does."""

    pool: str
    tier: Tier
    credits_per_hour: Credits
    hours: RateHoursInput | None = None


@input_type
class PriceListInput:
    """A price list as it should be; its rates replace those that it had. Quotes already made keep theirs."""

    name: str
    valid_from: datetime
    rates: list[RateInput]
    valid_to: datetime | None = None


def programme_settings(given: Sequence[ProgrammeInput]) -> list[ProgrammeSetting]:
    """For `marketplace.configuration.apply_programmes`."""
    return [ProgrammeSetting(each.name, each.title, each.strategic_class) for each in given]


def period_settings(given: Sequence[PeriodInput]) -> list[PeriodSetting]:
    """For `marketplace.configuration.apply_periods`."""
    return [PeriodSetting(each.name, each.starts_at, each.ends_at) for each in given]


def price_list_settings(given: Sequence[PriceListInput]) -> list[PriceListSetting]:
    """For `marketplace.price_configuration.apply_price_lists`."""
    return [
        PriceListSetting(each.name, each.valid_from, [_rate(rate) for rate in each.rates], each.valid_to)
        for each in given
    ]


def _rate(given: RateInput) -> RateSetting:
    hours = given.hours
    window = None if hours is None else HoursSetting([day.value for day in hours.days], hours.from_, hours.to)
    return RateSetting(given.pool, given.tier, given.credits_per_hour, window)
