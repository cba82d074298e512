from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from guildhall.clock import new_id
from guildhall.db.transaction import Database, WriteSession
from guildhall.errors import Conflict
from marketplace.price_configuration import PriceListSetting, RateSetting, apply_price_lists
from marketplace.price_lists import load_tariffs
from marketplace.pricing import charge, segments
from marketplace.quotes import (
    NewQuote,
    QuoteAlreadyAccepted,
    QuoteExpired,
    UnknownQuote,
    load_quote_for_acceptance,
    mark_accepted,
    store_quote,
    tariffs_of,
)
from marketplace.tables import Quote, Tier
from marketplace.tariffs import StatedRate, Tariff, TariffPeriod, compile_week
from tests.concurrency.rivals import Rival, open_transaction
from tests.marketplace.bank import CREDIT, DAY, START
from tests.marketplace.market import Market

POOL = new_id()
TARIFF = Tariff(POOL, "STANDARD", (TariffPeriod(START, START + 2 * DAY, compile_week([StatedRate(CREDIT)], what="x")),))
HOUR = timedelta(hours=1)


def quote_of(market: Market, **changed: Any) -> NewQuote:
    made = NewQuote(
        id=new_id(),
        team_id=market.teams["maintenance"],
        programme_id=market.programme,
        requested_by=market.people["anna"],
        job={"name": "train", "nodes": 1},
        tariffs=[TARIFF],
        segments=segments(TARIFF, START, 3600, 1),
        estimated_price=CREDIT,
        hold=2 * CREDIT,
        predicted_start=START,
        predicted_energy_watt_hours=300,
        start_by=START + DAY,
        expires_at=START + HOUR,
        excluded=[{"poolId": str(new_id()), "code": "TOO_SMALL", "message": "Too small."}],
        suggestions=[],
    )
    return replace(made, **changed)


async def load(market: Market, quote_id: UUID, *, by: str = "anna", at: Any = START) -> Quote:
    return await load_quote_for_acceptance(market.session, market.actor(by), quote_id=quote_id, at=at)


class TestStoreQuote:
    async def test_all_of_it_comes_back(self, market: Market) -> None:
        made = quote_of(market)
        assert await store_quote(market.session, made, at=START) == made.id
        stored = await load(market, made.id)
        assert (stored.job, stored.hold, stored.estimated_price) == (made.job, 2 * CREDIT, CREDIT)
        assert stored.segments == [
            {
                "startsAt": START.isoformat(),
                "endsAt": (START + HOUR).isoformat(),
                "poolId": str(POOL),
                "creditsPerHour": CREDIT,
                "credits": CREDIT,
            }
        ]
        assert stored.eligible_pool_ids == [POOL]
        assert stored.excluded == list(made.excluded)
        assert tariffs_of(stored) == {POOL: TARIFF}
        assert tariffs_of(stored, []) == {}

    async def test_a_change_of_prices_does_not_reach_it(self, market: Market) -> None:
        async def prices(credits: int) -> dict[UUID, Tariff]:
            rates = [RateSetting("a100", Tier.STANDARD, credits)]
            listed = PriceListSetting("spring", START, rates)
            await apply_price_lists(market.session, market.actor("alma"), [listed], pools={"a100": POOL}, **market.now)
            return await load_tariffs(
                market.session, pool_ids=[POOL], tier="STANDARD", starts_at=START, ends_at=START + DAY
            )

        before = await prices(CREDIT)
        made = quote_of(market, tariffs=list(before.values()))
        await store_quote(market.session, made, at=START)
        after = await prices(100 * CREDIT)
        kept = tariffs_of(await load(market, made.id))[POOL]
        hour = [(START, START + HOUR)]
        assert (charge(kept, hour, 1), charge(after[POOL], hour, 1)) == (CREDIT, 100 * CREDIT)

    @pytest.mark.parametrize(
        "changed", [{"hold": CREDIT - 1}, {"hold": -1, "estimated_price": -1}, {"expires_at": START}]
    )
    async def test_the_database_refuses_what_binds_nobody(self, market: Market, changed: dict[str, Any]) -> None:
        with pytest.raises(DBAPIError, match="ck_quotes"):
            await store_quote(market.session, quote_of(market, **changed), at=START)

    @pytest.mark.parametrize("change", ["hold = 0", "snapshot = '{}'", "expires_at = expires_at + interval '1 day'"])
    async def test_what_binds_cannot_be_changed(self, market: Market, change: str) -> None:
        await store_quote(market.session, quote_of(market), at=START)
        with pytest.raises(DBAPIError, match="permission denied"):
            await market.session.execute(text(f"UPDATE quotes SET {change}"))


class TestLoadQuoteForAcceptance:
    async def test_until_the_last_moment(self, market: Market) -> None:
        made = quote_of(market)
        await store_quote(market.session, made, at=START)
        assert (await load(market, made.id, at=START + HOUR - timedelta(microseconds=1))).id == made.id
        with pytest.raises(QuoteExpired, match="valid until 2026-03-02 09:00:00 UTC: ask for a new one") as refused:
            await load(market, made.id, at=START + HOUR)
        assert refused.value.field == "quoteId"

    async def test_once(self, market: Market) -> None:
        made = quote_of(market)
        await store_quote(market.session, made, at=START)
        await load(market, made.id)
        await mark_accepted(market.session, quote_id=made.id, job_id=new_id(), at=START)
        with pytest.raises(QuoteAlreadyAccepted) as refused:
            await load(market, made.id, at=START + DAY)
        assert isinstance(refused.value, Conflict)

    async def test_two_quotes_do_not_lead_to_one_job(self, market: Market) -> None:
        job_id = new_id()
        first, second = quote_of(market), quote_of(market)
        for made in (first, second):
            await store_quote(market.session, made, at=START)
        await mark_accepted(market.session, quote_id=first.id, job_id=job_id, at=START)
        with pytest.raises(DBAPIError, match="uq_quotes_job_id"):
            await mark_accepted(market.session, quote_id=second.id, job_id=job_id, at=START)

    async def test_the_database_accepts_nothing_late_either(self, market: Market) -> None:
        made = quote_of(market)
        await store_quote(market.session, made, at=START)
        with pytest.raises(DBAPIError, match="ck_quotes_accepted_in_time"):
            await mark_accepted(market.session, quote_id=made.id, job_id=new_id(), at=START + HOUR)

    @pytest.mark.parametrize("name", ["quinn", "mia"])
    async def test_of_another_team_it_is_not_there(self, market: Market, name: str) -> None:
        made = quote_of(market)
        await store_quote(market.session, made, at=START)
        with pytest.raises(UnknownQuote):
            await load(market, made.id, by=name)

    async def test_an_unknown_one(self, market: Market) -> None:
        with pytest.raises(UnknownQuote):
            await load(market, new_id())

    async def test_a_rival_waits_and_then_learns(self, database: Database) -> None:
        async with database.transaction() as session:
            market = await Market(session, START).build()
            made = quote_of(market)
            await store_quote(session, made, at=START)

        async def accept(session: WriteSession) -> None:
            quote = await load_quote_for_acceptance(session, market.actor("anna"), quote_id=made.id, at=START)
            await mark_accepted(session, quote_id=quote.id, job_id=new_id(), at=START)

        async with open_transaction(database) as session:
            await accept(session)
            rival: Rival[None] = Rival(database, accept, {})
            await rival.waits()
        with pytest.raises(QuoteAlreadyAccepted):
            await rival.answer()
        async with database.transaction() as session:
            assert (await session.scalars(select(Quote.accepted_at).where(Quote.id == made.id))).one() == START
            await session.execute(update(Quote).values(accepted_at=None, job_id=None))
