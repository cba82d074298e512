"""Allocations that are about to expire: told of in time, once, and only while something is left."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from guildhall.auth.tables import User
from guildhall.clock import new_id
from guildhall.db.transaction import Database
from guildhall.inbox.tables import InboxEvent
from marketplace import wallets
from marketplace.ending import tell_ending_allocations
from tests.marketplace.bank import CREDIT, DAY, START
from tests.marketplace.market import Market
from tests.people import make_user
from tests.told import told


async def people_of(market: Market) -> dict[str, UUID]:
    """The market's people, with their roles, in the tables."""
    here = market.teams["maintenance"]
    return {
        "anna": await make_user(market.session, "anna", roles={"maintainer": [here]}),
        "vera": await make_user(market.session, "vera", roles={"viewer": [here]}),
        "quinn": await make_user(market.session, "quinn", roles={"maintainer": [market.teams["quality"]]}),
        "alma": await make_user(market.session, "alma", roles={"allocator": [None]}),
        "audrey": await make_user(market.session, "audrey", roles={"auditor": [None]}),
    }


async def gift(market: Market, days: int, credits: int = 5) -> UUID:
    return await wallets.allocate_credits(
        market.session, market.actor("alma"), team="maintenance", programme="zero-defects", credits=credits * CREDIT,
        valid_from=START, valid_to=START + days * DAY, reason="Gauges.", **market.now,
    )  # fmt: skip


async def warned(market: Market, people: dict[str, UUID], **after: float) -> list[tuple[str, list[str]]]:
    await tell_ending_allocations(market.session, at=START + timedelta(**after), new_id=new_id)
    return await told(market.session, people)


async def test_is_told_a_week_before_to_who_may_spend_or_allocate_there(market: Market) -> None:
    people, allocation_id = await people_of(market), await gift(market, 30)
    assert await warned(market, people, days=23, seconds=-1) == []
    said = [("5 credits of maintenance expire at 2026-04-01 08:00 UTC", ["alma", "anna"])]
    assert await warned(market, people, days=23) == said
    assert await warned(market, people, days=29) == said
    (event,) = await market.session.scalars(select(InboxEvent))
    assert (event.kind, event.subject_type, event.subject_id, event.team_id) == (
        "ALLOCATION_ENDS",
        "Allocation",
        allocation_id,
        market.teams["maintenance"],
    )
    assert event.facts == {
        "team": "maintenance",
        "programme": "zero-defects",
        "remaining": "5",
        "validTo": (START + 30 * DAY).isoformat(),
    }


async def test_a_short_one_is_told_at_half_of_its_time(market: Market) -> None:
    people = await people_of(market)
    await gift(market, 2)
    assert await warned(market, people, hours=23) == []
    assert len(await warned(market, people, hours=24)) == 1


async def test_what_is_over_or_used_up_is_not_told(market: Market) -> None:
    people, allocation_id = await people_of(market), await gift(market, 30)
    await wallets.return_team_credits(
        market.session, market.actor("anna"), allocation_id=allocation_id, credits=5 * CREDIT, reason="Not needed.",
        **market.now,
    )  # fmt: skip
    assert await warned(market, people, days=24) == []
    await gift(market, 20)
    assert await warned(market, people, days=20) == []


async def committed(database: Database) -> None:
    """A market with one allocation that ends in a day."""
    async with database.transaction() as session:
        market = await Market(session, START).build()
        await people_of(market)
        await gift(market, 1)


async def test_two_workers_tell_once(fresh_database: Database) -> None:
    await committed(fresh_database)

    async def look() -> None:
        async with fresh_database.transaction() as session:
            await tell_ending_allocations(session, at=START + timedelta(hours=12), new_id=new_id)

    await asyncio.gather(*(look() for _ in range(4)))
    async with fresh_database.read() as session:
        people: dict[str, Any] = {user.name: user.id for user in await session.scalars(select(User))}
        assert await told(session, people) == [
            ("5 credits of maintenance expire at 2026-03-03 08:00 UTC", ["Alma", "Anna"])
        ]
