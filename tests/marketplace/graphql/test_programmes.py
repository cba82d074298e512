from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from guildhall.clock import new_id
from guildhall.db.transaction import Database
from marketplace.configuration import PeriodSetting, ProgrammeSetting, apply_periods, apply_programmes
from marketplace.graphql.configuration import (
    PeriodInput,
    PriceListInput,
    ProgrammeInput,
    RateHoursInput,
    RateInput,
    period_settings,
    price_list_settings,
    programme_settings,
)
from marketplace.graphql.programmes import Weekday
from marketplace.price_configuration import (
    WEEKDAYS,
    HoursSetting,
    PriceListSetting,
    RateSetting,
    apply_price_lists,
)
from marketplace.tables import StrategicClass, Tier
from tests.marketplace.bank import CREDIT, DAY, START
from tests.marketplace.graphql.conftest import Ask
from tests.marketplace.market import Market

POOL = new_id()
RATES: Sequence[RateSetting] = [
    RateSetting("a100", Tier.STANDARD, 12 * CREDIT),
    RateSetting("a100", Tier.STANDARD, 6 * CREDIT, HoursSetting(["FRIDAY", "MONDAY"], "22:30", "06:05")),
]


@pytest.fixture
async def configured(fresh_database: Database, shop: Market) -> Market:
    """Two programmes, a period and a price list."""
    async with fresh_database.transaction() as session:
        alma = shop.actor("alma")
        extra = ProgrammeSetting("save-energy", "Save energy", StrategicClass.C)
        await apply_programmes(session, alma, [extra], **shop.now)
        await apply_periods(session, alma, [PeriodSetting("q1", START, START + DAY)], **shop.now)
        prices = [PriceListSetting("spring", START, RATES)]
        await apply_price_lists(session, alma, prices, pools={"a100": POOL}, **shop.now)
    return shop


class TestQueries:
    async def test_everybody_sees_programmes_periods_and_prices(self, configured: Market, ask: Ask) -> None:
        document = """{
            programmes(first: 5) { totalCount nodes { name title strategicClass } }
            periods(first: 5) { nodes { name startsAt endsAt } }
            priceLists(first: 5) { nodes { name validFrom validTo
              rates { tier creditsPerHour validFrom validTo hours { days from to } priceList { name } }
            } }
            programme(name: "save-energy") { title }
            other: programme(name: "nothing") { title }
        }"""
        body: Mapping[str, Any] = await ask("mia", document)
        assert "errors" not in body
        data = body["data"]
        assert data["programmes"] == {
            "totalCount": 2,
            "nodes": [
                {"name": "save-energy", "title": "Save energy", "strategicClass": "C"},
                {"name": "zero-defects", "title": "Zero defects", "strategicClass": "A"},
            ],
        }
        assert [period["name"] for period in data["periods"]["nodes"]] == ["q1"]
        begins = "2026-03-02T08:00:00.000000Z"
        shared = {"tier": "STANDARD", "validFrom": begins, "validTo": None, "priceList": {"name": "spring"}}
        night = {"days": ["MONDAY", "FRIDAY"], "from": "22:30", "to": "06:05"}
        assert data["priceLists"]["nodes"] == [
            {
                "name": "spring",
                "validFrom": begins,
                "validTo": None,
                "rates": [
                    {**shared, "creditsPerHour": "12", "hours": None},
                    {**shared, "creditsPerHour": "6", "hours": night},
                ],
            }
        ]
        assert (data["programme"], data["other"]) == ({"title": "Save energy"}, None)

    async def test_the_end_of_a_day_is_told_as_24(self, fresh_database: Database, shop: Market, ask: Ask) -> None:
        async with fresh_database.transaction() as session:
            monday = HoursSetting(WEEKDAYS[:1], "00:00", "24:00")
            rates = [RATES[0], RateSetting("a100", Tier.STANDARD, 1, monday)]
            prices = [PriceListSetting("spring", START, rates)]
            await apply_price_lists(session, shop.actor("alma"), prices, pools={"a100": POOL}, **shop.now)
        body = await ask("mia", "{ priceLists(first: 1) { nodes { rates { hours { from to } } } } }")
        assert body["data"]["priceLists"]["nodes"][0]["rates"][1]["hours"] == {"from": "00:00", "to": "24:00"}


class TestWeekday:
    def test_names_are_those_that_the_configuration_reads(self) -> None:
        assert tuple(Weekday) == WEEKDAYS


class TestInputs:
    def test_mean_the_same_to_the_domain(self) -> None:
        programme = ProgrammeInput(name="p", title="P", strategic_class=StrategicClass.B)
        assert programme_settings([programme]) == [ProgrammeSetting("p", "P", StrategicClass.B)]
        period = PeriodInput(name="q", starts_at=START, ends_at=START + DAY)
        assert period_settings([period]) == [PeriodSetting("q", START, START + DAY)]
        hours = RateHoursInput(days=[Weekday.SUNDAY], from_="22:00", to="06:00")
        rates = [
            RateInput(pool="a", tier=Tier.STANDARD, credits_per_hour=1),  # type: ignore[arg-type]
            RateInput(pool="b", tier=Tier.GUARANTEED, credits_per_hour=2, hours=hours),  # type: ignore[arg-type]
        ]
        listed = PriceListInput(name="l", valid_from=START, rates=rates)
        assert price_list_settings([listed]) == [
            PriceListSetting(
                "l",
                START,
                [
                    RateSetting("a", Tier.STANDARD, 1),
                    RateSetting("b", Tier.GUARANTEED, 2, HoursSetting(["SUNDAY"], "22:00", "06:00")),
                ],
            )
        ]
