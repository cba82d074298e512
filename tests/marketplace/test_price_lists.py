from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import func, select

from guildhall.auth.authorize import PermissionRefused
from guildhall.changes import Change, ChangeAction, Difference
from guildhall.clock import new_id
from guildhall.errors import GuildhallError
from guildhall.slugs import InvalidSlug
from marketplace.configuration import NamedTwice
from marketplace.price_configuration import (
    HoursInvalid,
    HoursSetting,
    PriceListEmpty,
    PriceListSetting,
    RateInvalid,
    RateSetting,
    UnknownPool,
    apply_price_lists,
    parse_hours,
)
from marketplace.price_lists import load_tariffs
from marketplace.pricing import charge
from marketplace.tables import CREDITS_MAX, Rate, Tier
from marketplace.tariffs import Hours, RateGap, RatesAmbiguous, Tariff
from tests.marketplace.bank import CREDIT, DAY, START
from tests.marketplace.market import Market

POOLS = {"a100": new_id(), "t4": new_id()}
EVERY_DAY = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
NIGHT = HoursSetting(EVERY_DAY, "22:00", "06:00")
DAY_RATE = RateSetting("a100", Tier.STANDARD, 12 * CREDIT)
NIGHT_RATE = RateSetting("a100", Tier.STANDARD, 6 * CREDIT, NIGHT)
LIST = PriceListSetting("spring", START, [DAY_RATE, NIGHT_RATE])


async def apply(market: Market, *items: PriceListSetting, by: str = "alma") -> list[Change]:
    return await apply_price_lists(market.session, market.actor(by), items, pools=POOLS, **market.now)


async def tariff(market: Market, starts_at: datetime, ends_at: datetime, pool: str = "a100") -> Tariff:
    found = await load_tariffs(
        market.session, pool_ids=POOLS.values(), tier="STANDARD", starts_at=starts_at, ends_at=ends_at
    )
    return found[POOLS[pool]]


class TestApplyPriceLists:
    async def test_makes_changes_and_leaves_alone(self, market: Market) -> None:
        cheaper = replace(LIST, rates=[DAY_RATE, replace(NIGHT_RATE, credits_per_hour=CREDIT)])
        actions = [(await apply(market, item))[0].action for item in (LIST, LIST, cheaper, cheaper)]
        assert actions == [
            ChangeAction.CREATED,
            ChangeAction.UNCHANGED,
            ChangeAction.UPDATED,
            ChangeAction.UNCHANGED,
        ]
        stored = (await market.session.scalars(select(Rate).order_by(Rate.position))).all()
        assert [(rate.credits_per_hour, rate.days, rate.from_minute, rate.to_minute) for rate in stored] == [
            (12 * CREDIT, None, None, None),
            (CREDIT, [1, 2, 3, 4, 5, 6, 7], 22 * 60, 6 * 60),
        ]
        assert {(rate.valid_from, rate.valid_to) for rate in stored} == {(START, None)}

    async def test_a_plan_names_each_rate(self, market: Market) -> None:
        night = "rate of a100 STANDARD MONDAY,TUESDAY,WEDNESDAY,THURSDAY,FRIDAY,SATURDAY,SUNDAY 22:00-06:00"
        (made,) = await apply(market, LIST)
        assert made.differences == (
            Difference("valid_from", None, START.isoformat().replace("+00:00", "Z")),
            Difference("rate of a100 STANDARD", None, "12"),
            Difference(night, None, "6"),
        )
        other = RateSetting("t4", Tier.STANDARD, CREDIT)
        (changed,) = await apply(market, replace(LIST, rates=[replace(DAY_RATE, credits_per_hour=13 * CREDIT), other]))
        assert changed.differences == (
            Difference("rate of a100 STANDARD", "12", "13"),
            Difference(night, "6", None),
            Difference("rate of t4 STANDARD", None, "1"),
        )

    async def test_the_order_of_rates_means_nothing(self, market: Market) -> None:
        await apply(market, LIST)
        (change,) = await apply(market, replace(LIST, rates=[NIGHT_RATE, DAY_RATE]))
        assert change.action is ChangeAction.UNCHANGED

    async def test_changed_times_reach_the_rates(self, market: Market) -> None:
        await apply(market, LIST)
        await apply(market, replace(LIST, valid_to=START + DAY))
        assert set(await market.session.scalars(select(Rate.valid_to))) == {START + DAY}

    async def test_each_change_is_recorded(self, market: Market) -> None:
        await apply(market, LIST)
        await apply(market, LIST)
        (event,) = await market.audited()
        assert event.action == "marketplace:price:change"
        assert event.before is None
        assert event.after is not None
        assert event.after["rates"][1] == {
            "pool": str(POOLS["a100"]),
            "tier": "STANDARD",
            "creditsPerHour": "6",
            "hours": {"days": [1, 2, 3, 4, 5, 6, 7], "from_minute": 1320, "to_minute": 360},
        }

    @pytest.mark.parametrize(
        ("item", "refusal", "field"),
        [
            (replace(LIST, name="Spring!"), InvalidSlug, "priceLists.0.name"),
            (replace(LIST, rates=[]), PriceListEmpty, "priceLists.0.rates"),
            (replace(LIST, valid_to=START), PriceListEmpty, "priceLists.0.validTo"),
            (replace(LIST, rates=[replace(DAY_RATE, pool="none")]), UnknownPool, "priceLists.0.rates.0.pool"),
            (
                replace(LIST, rates=[DAY_RATE, replace(DAY_RATE, credits_per_hour=-1)]),
                RateInvalid,
                "priceLists.0.rates.1.creditsPerHour",
            ),
            (
                replace(LIST, rates=[replace(DAY_RATE, credits_per_hour=CREDITS_MAX + 1)]),
                RateInvalid,
                "priceLists.0.rates.0.creditsPerHour",
            ),
            (replace(LIST, rates=[NIGHT_RATE]), RateGap, "priceLists.0.rates"),
            (
                replace(LIST, rates=[DAY_RATE, replace(DAY_RATE, credits_per_hour=1)]),
                RatesAmbiguous,
                "priceLists.0.rates",
            ),
            (
                replace(LIST, rates=[DAY_RATE, replace(NIGHT_RATE, hours=replace(NIGHT, to="6"))]),
                HoursInvalid,
                "priceLists.0.rates.1.hours.to",
            ),
        ],
    )
    async def test_what_makes_no_sense_changes_nothing(
        self, market: Market, item: PriceListSetting, refusal: type[GuildhallError], field: str
    ) -> None:
        with pytest.raises(refusal) as refused:
            await apply(market, item)
        assert refused.value.field == field
        assert (await market.session.scalars(select(func.count()).select_from(Rate))).one() == 0

    async def test_a_wrong_list_keeps_the_right_one_beside_it_away(self, market: Market) -> None:
        with pytest.raises(RateGap):
            await apply(market, LIST, replace(LIST, name="other", rates=[NIGHT_RATE]))
        assert (await market.session.scalars(select(func.count()).select_from(Rate))).one() == 0

    async def test_the_sentence_of_a_gap_names_tier_pool_and_hours(self, market: Market) -> None:
        with pytest.raises(RateGap) as refused:
            await apply(market, replace(LIST, rates=[NIGHT_RATE]))
        assert "Tier STANDARD of pool a100 has no rate from Monday 06:00 to Monday 22:00 (UTC)" in refused.value.message

    async def test_named_twice(self, market: Market) -> None:
        with pytest.raises(NamedTwice):
            await apply(market, LIST, LIST)

    async def test_two_lists_that_begin_at_once_would_both_decide(self, market: Market) -> None:
        await apply(market, LIST)
        with pytest.raises(RatesAmbiguous) as refused:
            await apply(market, replace(LIST, name="rival"))
        assert refused.value.field == "priceLists.0.validFrom"
        elsewhere = replace(LIST, name="elsewhere", rates=[replace(DAY_RATE, pool="t4")])
        assert (await apply(market, elsewhere))[0].action is ChangeAction.CREATED

    @pytest.mark.parametrize("name", ["anna", "audrey", "mia"])
    async def test_others_may_not(self, market: Market, name: str) -> None:
        with pytest.raises(PermissionRefused):
            await apply(market, LIST, by=name)
        assert (await market.session.scalars(select(func.count()).select_from(Rate))).one() == 0


class TestParseHours:
    def test_days_in_any_order_and_case(self) -> None:
        assert parse_hours(HoursSetting(["sunday", "MONDAY"], "00:00", "24:00"), "h") == Hours((1, 7), 0, 1440)

    @pytest.mark.parametrize(
        ("hours", "field"),
        [
            (HoursSetting([], "00:00", "01:00"), "h.days"),
            (HoursSetting(["MOONDAY"], "00:00", "01:00"), "h.days"),
            (HoursSetting(["ADAY", "MONDAY"], "00:00", "01:00"), "h.days"),
            (HoursSetting(["MONDAY"], "24:00", "01:00"), "h.from"),
            (HoursSetting(["MONDAY"], "7:00", "08:00"), "h.from"),
            (HoursSetting(["MONDAY"], "07:00", "24:01"), "h.to"),
            (HoursSetting(["MONDAY"], "07:00", "07:60"), "h.to"),
            (HoursSetting(["MONDAY"], "07:00", "٠٧:٠٠"), "h.to"),
        ],
    )
    def test_what_is_no_window(self, hours: HoursSetting, field: str) -> None:
        with pytest.raises(HoursInvalid) as refused:
            parse_hours(hours, "h")
        assert refused.value.field == field


class TestLoadTariffs:
    async def test_the_list_that_began_last_decides_and_its_end_gives_back(self, market: Market) -> None:
        base = PriceListSetting("base", START, [replace(DAY_RATE, credits_per_hour=CREDIT)])
        sale = PriceListSetting("sale", START + DAY, [replace(DAY_RATE, credits_per_hour=2)], START + 2 * DAY)
        await apply(market, base, sale)
        found = await tariff(market, START, START + 5 * DAY)
        assert [(each.starts_at, each.ends_at, each.week[0].credits_per_hour) for each in found.periods] == [
            (START, START + DAY, CREDIT),
            (START + DAY, START + 2 * DAY, 2),
            (START + 2 * DAY, START + 5 * DAY, CREDIT),
        ]
        assert found.covers(START, START + 5 * DAY)

    async def test_before_the_first_list_there_is_no_rate(self, market: Market) -> None:
        await apply(market, LIST)
        found = await tariff(market, START - DAY, START + DAY)
        assert [(each.starts_at, each.ends_at) for each in found.periods] == [(START, START + DAY)]
        assert not found.covers(START - DAY, START + DAY)

    async def test_pools_and_tiers_without_a_rate_are_left_out(self, market: Market) -> None:
        await apply(market, LIST)
        window: dict[str, Any] = {"pool_ids": POOLS.values(), "starts_at": START, "ends_at": START + DAY}
        assert set(await load_tariffs(market.session, tier="STANDARD", **window)) == {POOLS["a100"]}
        assert await load_tariffs(market.session, tier="GUARANTEED", **window) == {}

    async def test_a_list_for_one_pool_leaves_the_others_to_the_older_list(self, market: Market) -> None:
        both = PriceListSetting("both", START, [DAY_RATE, replace(DAY_RATE, pool="t4", credits_per_hour=CREDIT)])
        one = PriceListSetting("one", START + DAY, [replace(DAY_RATE, credits_per_hour=1)])
        await apply(market, both, one)
        assert len((await tariff(market, START, START + 2 * DAY, "a100")).periods) == 2
        assert len((await tariff(market, START, START + 2 * DAY, "t4")).periods) == 1

    async def test_hours_come_back_as_they_were_set(self, market: Market) -> None:
        await apply(market, LIST)
        found = await tariff(market, START, START + 2 * DAY)
        evening = START.replace(hour=21)
        assert charge(found, [(evening, evening.replace(hour=23))], 1) == 18 * CREDIT
