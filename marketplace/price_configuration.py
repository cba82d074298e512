"""Price lists of the organisation's configuration: checked whole before anything is stored.

A list says for each pool and tier that it names what every hour of the week costs: a rate without hours holds wherever
no rate with hours does. Hours are in UTC. Which list counts is decided by when it began, see `marketplace.price_lists`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.changes import Change, ChangeAction, Difference, compared
from guildhall.clock import IdSource
from guildhall.credits import format_credits
from guildhall.errors import Invalid, NotFound
from guildhall.slugs import require_slug
from marketplace.configuration import record_change, refuse_doubles
from marketplace.price_lists import stated_rate
from marketplace.tables import CREDITS_MAX, PriceList, Rate, Tier
from marketplace.tariffs import DAY_MINUTES, Hours, RatesAmbiguous, StatedRate, compile_week

PERMISSION = "marketplace:price:change"
RATES_MAX = 2_000
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")


class UnknownPool(NotFound):
    """No pool has this name."""


class HoursInvalid(Invalid):
    """A window of the week that is written wrong."""

    code = "HOURS_INVALID"


class RateInvalid(Invalid):
    """A rate below zero or beyond what can be kept, or too many rates."""

    code = "RATE_INVALID"


class PriceListEmpty(Invalid):
    """A price list without a rate, or one that would end before it begins."""

    code = "PRICE_LIST_EMPTY"


@dataclass(frozen=True)
class HoursSetting:
    """`days` by name ("MONDAY"); `from_` and `to` as "22:00" in UTC, over midnight where `to` is not later."""

    days: Sequence[str]
    from_: str
    to: str


@dataclass(frozen=True)
class RateSetting:
    """What one accelerator-hour costs on a pool in a tier, in micro-credits; always, or in some hours."""

    pool: str
    tier: Tier
    credits_per_hour: int
    hours: HoursSetting | None = None


@dataclass(frozen=True)
class PriceListSetting:
    """A price list as the configuration says it should be."""

    name: str
    valid_from: datetime
    rates: Sequence[RateSetting]
    valid_to: datetime | None = None


_Stated = tuple[UUID, str, StatedRate]
_ListStated = tuple[datetime, datetime | None, Sequence[_Stated]]


async def apply_price_lists(
    session: AsyncSession,
    actor: Actor,
    items: Sequence[PriceListSetting],
    *,
    pools: Mapping[str, UUID],
    at: datetime,
    new_id: IdSource,
) -> list[Change]:
    """Make or replace the price lists; one Change for each, in order. `pools` are all pools by name."""
    refuse_doubles([item.name for item in items], "priceLists")
    checked = [(item, _check(item, pools, f"priceLists.{index}")) for index, item in enumerate(items)]
    changes = []
    for index, (item, stated) in enumerate(checked):
        changes.append(
            await _apply(session, actor, item, stated, f"priceLists.{index}", pools=pools, at=at, new_id=new_id)
        )
    return changes


def parse_hours(hours: HoursSetting, field: str) -> Hours:
    """The window as numbers; raises HoursInvalid about what is wrong in it."""
    days = sorted({day.upper() for day in hours.days}, key=lambda day: (day not in WEEKDAYS, day))
    if not days or days[-1] not in WEEKDAYS:
        raise HoursInvalid(f"Name the days of the window: {', '.join(WEEKDAYS)}.", field=f"{field}.days")
    from_minute = _minute_of_day(hours.from_, f"{field}.from")
    to_minute = _minute_of_day(hours.to, f"{field}.to")
    if from_minute == DAY_MINUTES:
        raise HoursInvalid("A window begins before 24:00.", field=f"{field}.from")
    return Hours(tuple(sorted(WEEKDAYS.index(day) + 1 for day in days)), from_minute, to_minute)


def _check(item: PriceListSetting, pools: Mapping[str, UUID], field: str) -> list[_Stated]:
    require_slug(item.name, f"{field}.name")
    if item.valid_to is not None and item.valid_from >= item.valid_to:
        raise PriceListEmpty("A price list begins before it ends.", field=f"{field}.validTo")
    if not 1 <= len(item.rates) <= RATES_MAX:
        raise PriceListEmpty(f"A price list has 1 to {RATES_MAX} rates.", field=f"{field}.rates")
    stated = []
    names: dict[tuple[UUID, str], str] = {}
    for index, rate in enumerate(item.rates):
        place = f"{field}.rates.{index}"
        if rate.pool not in pools:
            raise UnknownPool(f"There is no pool named {rate.pool!r}.", field=f"{place}.pool")
        if not 0 <= rate.credits_per_hour <= CREDITS_MAX:
            raise RateInvalid(
                f"An hour costs between 0 and {format_credits(CREDITS_MAX)} credits.", field=f"{place}.creditsPerHour"
            )
        hours = None if rate.hours is None else parse_hours(rate.hours, f"{place}.hours")
        stated.append((pools[rate.pool], rate.tier.value, StatedRate(rate.credits_per_hour, hours)))
        names[pools[rate.pool], rate.tier.value] = rate.pool
    for (pool_id, tier), pool in names.items():
        rates = [rate for rate_pool, rate_tier, rate in stated if (rate_pool, rate_tier) == (pool_id, tier)]
        compile_week(rates, what=f"Tier {tier} of pool {pool}", field=f"{field}.rates")
    return stated


async def _apply(
    session: AsyncSession,
    actor: Actor,
    item: PriceListSetting,
    stated: Sequence[_Stated],
    field: str,
    *,
    pools: Mapping[str, UUID],
    at: datetime,
    new_id: IdSource,
) -> Change:
    require(actor, PERMISSION, team_id=None)
    await _refuse_rival(session, item, stated, field)
    row = await session.scalar(select(PriceList).where(PriceList.name == item.name).with_for_update(key_share=True))
    before = None if row is None else (row.valid_from, row.valid_to, await _stored(session, row.id))
    differences = _differences(before, (item.valid_from, item.valid_to, stated), pools)
    if not differences:
        return Change("PriceList", item.name, ChangeAction.UNCHANGED)
    if row is None:
        row = PriceList(id=new_id(), name=item.name, created_at=at)
        session.add(row)
    row.valid_from, row.valid_to = item.valid_from, item.valid_to
    await session.flush()
    await session.execute(delete(Rate).where(Rate.price_list_id == row.id))
    await session.execute(insert(Rate), [_values(row, n, rate, new_id) for n, rate in enumerate(stated)])
    await record_change(
        session,
        actor,
        PERMISSION,
        ResourceRef("PriceList", row.id),
        before=None if before is None else {"rates": _readable(before[2])},
        after={"name": item.name, "rates": _readable(stated)},
        at=at,
        new_id=new_id,
    )
    action = ChangeAction.CREATED if before is None else ChangeAction.UPDATED
    return Change("PriceList", item.name, action, differences)


async def _refuse_rival(session: AsyncSession, item: PriceListSetting, stated: Sequence[_Stated], field: str) -> None:
    """Two lists that begin at the same moment could both decide."""
    rival = await session.scalar(
        select(PriceList.name)
        .join(Rate, Rate.price_list_id == PriceList.id)
        .where(PriceList.name != item.name, PriceList.valid_from == item.valid_from)
        .where(Rate.pool_id.in_({pool_id for pool_id, _, _ in stated}))
        .limit(1)
    )
    if rival is not None:
        raise RatesAmbiguous(
            f"The price list {rival} begins at the same moment for one of these pools: which of the two counts?",
            field=f"{field}.validFrom",
        )


async def _stored(session: AsyncSession, price_list_id: UUID) -> list[_Stated]:
    rates = await session.scalars(select(Rate).where(Rate.price_list_id == price_list_id).order_by(Rate.position))
    return [(rate.pool_id, rate.tier, stated_rate(rate)) for rate in rates]


def _values(price_list: PriceList, position: int, stated: _Stated, new_id: IdSource) -> dict[str, object]:
    pool_id, tier, rate = stated
    return {
        "id": new_id(),
        "price_list_id": price_list.id,
        "pool_id": pool_id,
        "tier": tier,
        "position": position,
        "days": None if rate.hours is None else list(rate.hours.days),
        "from_minute": None if rate.hours is None else rate.hours.from_minute,
        "to_minute": None if rate.hours is None else rate.hours.to_minute,
        "credits_per_hour": rate.credits_per_hour,
        "valid_from": price_list.valid_from,
        "valid_to": price_list.valid_to,
    }


def _readable(stated: Sequence[_Stated]) -> list[dict[str, object]]:
    return [
        {
            "pool": str(pool_id),
            "tier": tier,
            "creditsPerHour": format_credits(rate.credits_per_hour),
            "hours": rate.hours,
        }
        for pool_id, tier, rate in stated
    ]


def _differences(before: _ListStated | None, after: _ListStated, pools: Mapping[str, UUID]) -> tuple[Difference, ...]:
    """When the list counts, and each rate by what it is for; a rate that is no longer stated is one that is gone."""
    names = {pool_id: name for name, pool_id in pools.items()}

    def fields(stated: _ListStated) -> dict[str, object]:
        valid_from, valid_to, rates = stated
        prices = {
            _purpose(names[pool], tier, rate): format_credits(rate.credits_per_hour) for pool, tier, rate in rates
        }
        return {"valid_from": valid_from, "valid_to": valid_to, **prices}

    return compared(None if before is None else fields(before), fields(after))


def _purpose(pool: str, tier: str, rate: StatedRate) -> str:
    """What a rate is for, as `rate of small STANDARD MONDAY,TUESDAY 22:00-06:00`."""
    if rate.hours is None:
        return f"rate of {pool} {tier}"
    days = ",".join(WEEKDAYS[day - 1] for day in rate.hours.days)
    return f"rate of {pool} {tier} {days} {_clock(rate.hours.from_minute)}-{_clock(rate.hours.to_minute)}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _minute_of_day(text: str, field: str) -> int:
    if _TIME.fullmatch(text) is None:
        raise HoursInvalid(f"{text[:20]!r} is no time of day: write it as 22:00, in UTC.", field=field)
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)
