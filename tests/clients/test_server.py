"""What only a real server and a real connection show."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from sqlalchemy import text

from guildhall.db.transaction import Database
from tests.clients.conftest import Live

WAITING = text("SELECT count(*) FROM pg_locks WHERE relation = 'teams'::regclass AND NOT granted")
TEAM = {"query": '{ team(name: "press") { title } }'}
FIELDS = {"query": '{ team(name: "press") { title shownNever: __typename } }'}


async def waiting(database: Database) -> int:
    async with database.read() as session:
        found: int = (await session.execute(WAITING)).scalar_one()
        return found


async def until(database: Database, count: int) -> None:
    async with asyncio.timeout(120):
        while await waiting(database) != count:
            await asyncio.sleep(0.02)


class TestLeaving:
    @pytest.mark.parametrize("known_before", [True, False], ids=["a kept statement", "the first request"])
    async def test_a_client_that_goes_away_cancels_its_statement(
        self, live: Live, database: Database, known_before: bool
    ) -> None:
        headers = {"authorization": f"Bearer {live.token}"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as client:
            body = TEAM if known_before else FIELDS
            if known_before:
                assert (await client.post(live.url, json=body)).status_code == 200
            async with database.transaction() as rival:
                await rival.execute(text("LOCK TABLE teams IN ACCESS EXCLUSIVE MODE"))
                asking = asyncio.create_task(client.post(live.url, json=body))
                await until(database, 1)
                asking.cancel()  # closes the connection
                await asyncio.gather(asking, return_exceptions=True)
                await until(database, 0)
            assert (await client.post(live.url, json=TEAM)).json() == {"data": {"team": {"title": "Press"}}}


class TestBodies:
    async def test_one_that_is_too_large_is_refused_before_it_ends(self, live: Live) -> None:
        async def endless() -> AsyncIterator[bytes]:
            for _ in range(200):
                yield b" " * 65_536

        headers = {"content-type": "application/json", "authorization": f"Bearer {live.token}"}
        async with httpx.AsyncClient(headers=headers, timeout=30) as client:
            try:
                answer = await client.post(live.url, content=endless())
            except httpx.TransportError:  # the connection ended under the rest of the body
                return
        assert (answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (413, "BODY_TOO_LARGE")
