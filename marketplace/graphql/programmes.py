"""Programmes, periods and price lists."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import String, func

from guildhall.graphql.context import Context
from guildhall.graphql.declare import column, connection, embedded, extend, find, many, node, object_type, one, resolver
from guildhall.graphql.scalars import Credits
from guildhall.graphql.sources import Clauses, Orders
from marketplace.price_configuration import WEEKDAYS
from marketplace.tables import Period, PriceList, Programme, Rate, StrategicClass, Tier

PROGRAMME_READ = "marketplace:programme:read"
PRICE_READ = "marketplace:price:read"
RATES_MAX = 200


class Weekday(StrEnum):
    """A day of the week, in UTC."""

    MONDAY = "MONDAY"
    TUESDAY = "TUESDAY"
    WEDNESDAY = "WEDNESDAY"
    THURSDAY = "THURSDAY"
    FRIDAY = "FRIDAY"
    SATURDAY = "SATURDAY"
    SUNDAY = "SUNDAY"


PROGRAMME_ORDERS = Orders("Programme", {"NAME": Programme.name, "STRATEGIC_CLASS": Programme.strategic_class})


@node("Programme", table=Programme, visible=None, permission=PROGRAMME_READ)
class ProgrammeType:
    """What credits are for. Where jobs wait, those of class A go first."""

    name: str = column(Programme.name)
    title: str = column(Programme.title)
    strategic_class: StrategicClass = column(Programme.strategic_class)
    created_at: datetime = column(Programme.created_at)


@node("Period", table=Period, visible=None, permission=PROGRAMME_READ)
class PeriodType:
    """A stretch of time for which credits are given out."""

    name: str = column(Period.name)
    starts_at: datetime = column(Period.starts_at)
    ends_at: datetime = column(Period.ends_at)


@node("PriceList", table=PriceList, visible=None, permission=PRICE_READ)
class PriceListType:
    """Rates that hold from a moment on; at each moment the list that began last decides."""

    name: str = column(PriceList.name)
    valid_from: datetime = column(PriceList.valid_from)
    valid_to: datetime | None = column(PriceList.valid_to)
    rates = many("Rate", local=PriceList.id, remote=Rate.price_list_id, order_by=[Rate.position], maximum=RATES_MAX)


@node("Rate", table=Rate, visible=None, permission=PRICE_READ)
class RateType:
    """What one accelerator-hour costs on a pool in a tier; without hours it holds wherever no other rate does."""

    tier: Tier = column(Rate.tier)
    credits_per_hour: Credits = column(Rate.credits_per_hour)
    hours = embedded("RateHours", when=Rate.days.is_not(None))
    valid_from: datetime = column(Rate.valid_from)
    valid_to: datetime | None = column(Rate.valid_to)
    price_list = one("PriceList", local=Rate.price_list_id, nullable=False)


@object_type("RateHours", table=Rate)
class RateHoursType:
    """A window of the week in UTC; it runs over midnight where its end is not later than its beginning."""

    from_: str = column(func.to_char(func.make_interval(0, 0, 0, 0, 0, Rate.from_minute), "HH24:MI", type_=String))
    to: str = column(func.to_char(func.make_interval(0, 0, 0, 0, 0, Rate.to_minute), "HH24:MI", type_=String))

    @resolver(needs={"days": Rate.days}, nullable=False)
    def days(_context: Context, values: Mapping[str, Any]) -> list[Weekday]:
        """The days on which the window begins."""
        return [Weekday(WEEKDAYS[day - 1]) for day in values["days"]]


@extend("Query", permission=PROGRAMME_READ)
class ProgrammeQueries:
    """What everybody may know before they plan."""

    programmes = connection("Programme", orders=PROGRAMME_ORDERS, default_order=[Programme.name])
    periods = connection("Period", default_order=[Period.starts_at.desc()])
    price_lists = connection("PriceList", default_order=[PriceList.valid_from.desc()], permission=PRICE_READ)

    @find("Programme", permission=PROGRAMME_READ)
    def programme(name: str) -> Clauses:
        """A programme by its name."""
        return [Programme.name == name]


TYPES = [ProgrammeType, PeriodType, PriceListType, RateType, RateHoursType, ProgrammeQueries]
