"""Following a wallet through the life of a job that it pays."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete

from guildhall.auth.tables import RoleBinding
from tests.scheduler.graphql.test_job_changes import codes, finish
from tests.scheduler.site import Site
from tests.streaming import events, served

CHANGES = """
subscription($team: String!, $after: String) { walletChanges(team: $team, after: $after) {
  cursor team { name } wallet { available held }
} }
"""
TEAM = {"team": "maintenance"}


@pytest.fixture
async def url(site: Site) -> AsyncIterator[str]:
    async with served(site.yard.database, site.yard.settings, site.yard.clock) as address:
        yield address


def figures(change: dict[str, Any]) -> tuple[Decimal, Decimal]:
    return Decimal(change["wallet"]["available"]), Decimal(change["wallet"]["held"])


class TestWalletChanges:
    async def test_a_job_is_held_for_and_charged(self, site: Site, url: str) -> None:
        async with events(url, site.tokens["vera"], CHANGES, TEAM) as stream:
            first = await stream.data()
            available, held = figures(first)
            assert (first["team"], held) == ({"name": "maintenance"}, Decimal(0))
            job_id = await site.yard.submit()
            job = await site.yard.job(job_id)
            hold = Decimal(job.held) / 1_000_000
            assert figures(await stream.data()) == (available - hold, hold)
            await site.yard.cycle()
            await site.yard.cycle(1)
            await finish(site, await site.runner(job_id))
            captured = Decimal((await site.yard.job(job_id)).captured) / 1_000_000
            settled = await stream.data()
            assert figures(settled) == (available - captured, Decimal(0))
        async with events(url, site.tokens["vera"], CHANGES, {**TEAM, "after": settled["cursor"]}) as stream:
            await site.yard.submit()
            assert figures(await stream.data())[1] == hold
        async with events(url, site.tokens["vera"], CHANGES, {**TEAM, "after": settled["cursor"]}) as stream:
            assert figures(await stream.data())[1] == hold

    async def test_a_job_that_is_cancelled_gives_its_hold_back(self, site: Site, url: str) -> None:
        async with events(url, site.tokens["anna"], CHANGES, TEAM) as stream:
            before = figures(await stream.data())
            job_id = await site.yard.submit()
            await stream.data()
            await site.yard.cancel(job_id)
            assert figures(await stream.data()) == before

    async def test_another_team_is_refused(self, site: Site, url: str) -> None:
        async with events(url, site.tokens["quinn"], CHANGES, TEAM) as stream:
            (refusal,) = await stream.rest()
        assert codes(refusal) == ["FORBIDDEN"]

    async def test_who_leaves_the_team_sees_no_more(self, site: Site, url: str) -> None:
        async with events(url, site.tokens["anna"], CHANGES, TEAM) as stream:
            await stream.data()
            async with site.yard.database.transaction() as session:
                await session.execute(delete(RoleBinding).where(RoleBinding.subject_id == site.yard.people["anna"]))
            (refusal,) = await stream.rest()
        assert codes(refusal) == ["FORBIDDEN"]
