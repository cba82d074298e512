"""Price lists as stored, and the tariffs that follow from them: at each moment the list that began last decides."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from marketplace.tables import PriceList, Rate
from marketplace.tariffs import Hours, StatedRate, Tariff, TariffPeriod, Week, compile_week


@dataclass(frozen=True)
class _ListedWeek:
    """What one price list says about one pool and tier."""

    valid_from: datetime
    valid_to: datetime | None
    week: Week

    def holds(self, moment: datetime) -> bool:
        return self.valid_from <= moment and (self.valid_to is None or moment < self.valid_to)


async def load_tariffs(
    session: AsyncSession, *, pool_ids: Iterable[UUID], tier: str, starts_at: datetime, ends_at: datetime
) -> dict[UUID, Tariff]:
    """The tariff of each pool between the two moments; pools without any rate there are left out.

    A tariff may have gaps: ask `covers` before pricing. It is a value: what is stored later does not change it.
    """
    rows = await session.execute(
        select(PriceList.id, PriceList.valid_from, PriceList.valid_to, Rate)
        .join(Rate, Rate.price_list_id == PriceList.id)
        .where(Rate.pool_id.in_(list(pool_ids)), Rate.tier == tier)
        .where(PriceList.valid_from < ends_at)
        .where(or_(PriceList.valid_to.is_(None), PriceList.valid_to > starts_at))
        .order_by(PriceList.valid_from, PriceList.id, Rate.position)
    )
    stated: dict[UUID, dict[UUID, tuple[datetime, datetime | None, list[StatedRate]]]] = {}
    for list_id, valid_from, valid_to, rate in rows:
        lists = stated.setdefault(rate.pool_id, {})
        lists.setdefault(list_id, (valid_from, valid_to, []))[2].append(stated_rate(rate))
    return {
        pool_id: Tariff(
            pool_id,
            tier,
            _periods(
                [
                    _ListedWeek(valid_from, valid_to, compile_week(rates, what=f"Tier {tier}"))
                    for valid_from, valid_to, rates in lists.values()
                ],
                starts_at,
                ends_at,
            ),
        )
        for pool_id, lists in stated.items()
    }


def stated_rate(rate: Rate) -> StatedRate:
    """The rate as a value."""
    if rate.days is None or rate.from_minute is None or rate.to_minute is None:
        return StatedRate(rate.credits_per_hour)
    return StatedRate(rate.credits_per_hour, Hours(tuple(rate.days), rate.from_minute, rate.to_minute))


def _periods(lists: Sequence[_ListedWeek], starts_at: datetime, ends_at: datetime) -> tuple[TariffPeriod, ...]:
    """Between two changes one list decides: of those that hold, the one that began last."""
    edges = {starts_at, ends_at}
    for listed in lists:
        edges |= {edge for edge in (listed.valid_from, listed.valid_to) if edge and starts_at < edge < ends_at}
    periods: list[TariffPeriod] = []
    for start, end in pairwise(sorted(edges)):
        holding = [listed for listed in lists if listed.holds(start)]
        if holding:
            week = max(holding, key=lambda listed: listed.valid_from).week
            periods.append(TariffPeriod(start, end, week))
    return tuple(periods)
