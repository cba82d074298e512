"""Following a job while things go wrong: rights that are withdrawn, parts that go away, clients that do not read."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import delete, select, text

from guildhall.auth.actor import system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import RoleBinding, Token
from guildhall.clock import new_id
from guildhall.graphql.ids import encode_id
from guildhall.organisation.tokens import revoke_token
from guildhall_client.async_client import AsyncClient
from tests.scheduler.graphql.test_job_changes import CHANGES, codes, finish, node, told
from tests.scheduler.site import Runner, Site, line, report
from tests.streaming import Events, events, free_bind, joined, served

FOLLOWERS = 200


@pytest.fixture
async def url(site: Site) -> AsyncIterator[str]:
    settings = replace(site.yard.settings, graphql_subscriptions_per_caller_max=FOLLOWERS)
    async with served(site.yard.database, settings, site.yard.clock) as address:
        yield address


async def withdraw_token(site: Site, who: str) -> None:
    yard = site.yard
    async with yard.database.transaction() as session:
        of_person = select(Token.id).where(Token.subject_id == yard.people[who])
        token_id = (await session.scalars(of_person)).one()
        await revoke_token(session, system_actor("tests"), token_id, at=yard.clock.now(), new_id=new_id)


async def remove_member(site: Site, who: str) -> None:
    async with site.yard.database.transaction() as session:
        await session.execute(
            delete(RoleBinding).where(
                RoleBinding.subject_kind == ActorKind.USER.value, RoleBinding.subject_id == site.yard.people[who]
            )
        )


async def write_line(runner: Runner, number: int) -> None:
    await runner.post("reports", report(number, logs=[line(f"line {number}")]))


async def lines_until(stream: Events, last: str) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = []
    while not changes or told(changes[-1]) != last:
        changes.append(await stream.data())
    return changes


class TestWithdrawing:
    async def test_a_token_ends_its_event_stream_at_once(
        self, site: Site, job_id: UUID, runner: Runner, url: str
    ) -> None:
        async with events(url, site.tokens["anna"], CHANGES, node(job_id)) as stream:
            await stream.data()
            await withdraw_token(site, "anna")
            (refusal,) = await stream.rest()
            assert codes(refusal) == ["TOKEN_REFUSED"]
            await write_line(runner, 1)
            assert await stream.block() == {}

    async def test_a_token_ends_its_socket_and_every_operation_on_it(self, site: Site, job_id: UUID, url: str) -> None:
        async with joined(url, site.tokens["anna"]) as opened:
            for key in "12":
                await opened.follow(key, CHANGES, **node(job_id))
                assert (await opened.read())["type"] == "next"
            await withdraw_token(site, "anna")
            refusals = [await opened.read(), await opened.read()]
            assert {(message["id"], message["type"]) for message in refusals} == {("1", "error"), ("2", "error")}
            assert refusals[0]["payload"][0]["extensions"]["code"] == "TOKEN_REFUSED"
            assert await opened.closed() == (4401, "This token was withdrawn; ask for a new one.")

    async def test_an_idle_socket_ends_with_its_token(self, site: Site, url: str) -> None:
        async with joined(url, site.tokens["anna"]) as opened:
            await withdraw_token(site, "anna")
            assert (await opened.closed())[0] == 4401

    async def test_who_leaves_the_team_sees_no_further_line(
        self, site: Site, job_id: UUID, runner: Runner, url: str
    ) -> None:
        async with (
            events(url, site.tokens["anna"], CHANGES, node(job_id)) as stream,
            joined(url, site.tokens["anna"]) as opened,
        ):
            await stream.data()
            await opened.follow("1", CHANGES, **node(job_id))
            await opened.read()
            await remove_member(site, "anna")
            (refusal,) = await stream.rest()
            assert codes(refusal) == ["NOT_FOUND"]
            message = await opened.read()
            assert (message["type"], message["payload"][0]["extensions"]["code"]) == ("error", "NOT_FOUND")
            await opened.follow("2", "query { __typename }")  # the connection stays: its token still counts
            assert (await opened.read())["type"] == "next"

    async def test_a_change_that_takes_nothing_away_is_not_noticed(
        self, site: Site, job_id: UUID, runner: Runner, url: str
    ) -> None:
        async with events(url, site.tokens["anna"], CHANGES, node(job_id)) as stream:
            await stream.data()
            await remove_member(site, "quinn")
            await write_line(runner, 1)
            assert told(await stream.data()) == "line 1"


class TestGoingAway:
    async def test_lines_written_while_the_notices_are_cut_are_not_lost(
        self, site: Site, job_id: UUID, runner: Runner, url: str
    ) -> None:
        async with events(url, site.tokens["anna"], CHANGES, node(job_id)) as stream:
            await stream.data()
            for number in range(1, 6):
                async with site.yard.database.transaction() as session:
                    await session.execute(
                        text(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                            "WHERE application_name = 'guildhall-notices' AND datname = current_database()"
                        )
                    )
                await write_line(runner, number)
            changes = await lines_until(stream, "line 5")
        assert [told(change) for change in changes] == [f"line {number}" for number in range(1, 6)]

    async def test_every_connection_to_the_database_is_cut(
        self, site: Site, job_id: UUID, runner: Runner, url: str
    ) -> None:
        async with events(url, site.tokens["anna"], CHANGES, node(job_id)) as stream:
            await stream.data()
            for number in range(1, 6):
                await write_line(runner, number)
                async with site.yard.database.transaction() as session:
                    await session.execute(
                        text(
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
                        )
                    )
            changes = await lines_until(stream, "line 5")
        assert [told(change) for change in changes] == [f"line {number}" for number in range(1, 6)]

    async def test_the_server_is_stopped_and_started_and_the_client_goes_on(
        self, site: Site, job_id: UUID, runner: Runner
    ) -> None:
        yard, bind, seen = site.yard, free_bind(), []
        cursor: str | None = None
        number = 0
        for _ in range(3):
            async with served(yard.database, yard.settings, yard.clock, bind=bind) as url:
                variables = {**node(job_id), "after": cursor}
                async with events(url, site.tokens["anna"], CHANGES, variables) as stream:
                    for _ in range(3):
                        number += 1
                        await write_line(runner, number)
                    seen += await lines_until(stream, f"line {number - 1}")
                    cursor = seen[-1]["cursor"]
        assert [told(change) for change in seen] == ["RUNNING", *(f"line {number}" for number in range(1, 9))]

    async def test_our_client_goes_on_by_itself(self, site: Site, job_id: UUID, runner: Runner) -> None:
        yard, bind = site.yard, free_bind()
        seen: list[str] = []

        async def follow() -> None:
            async with AsyncClient(f"http://{bind}", site.tokens["anna"]) as client:
                async for change in client.follow_job(encode_id("Job", job_id)):
                    seen.append(told(change))  # noqa: PERF401 -- looked at while it grows

        async with served(yard.database, yard.settings, yard.clock, bind=bind):
            following = asyncio.create_task(follow())
            await write_line(runner, 1)
            while "line 1" not in seen:
                await asyncio.sleep(0.02)
        await write_line(runner, 2)
        async with served(yard.database, yard.settings, yard.clock, bind=bind):
            await write_line(runner, 3)
            await finish(site, runner)
            await asyncio.wait_for(following, 30)
        assert [each for each in seen if each.startswith("line")] == ["line 1", "line 2", "line 3"]
        assert seen.count("SUCCEEDED") == 1

    async def test_a_stopping_server_cuts_the_stream_without_completing_it(self, site: Site, job_id: UUID) -> None:
        yard = site.yard
        async with served(yard.database, yard.settings, yard.clock) as url:
            context = events(url, site.tokens["anna"], CHANGES, node(job_id))
            stream = await context.__aenter__()
            await stream.data()
        assert await stream.block() == {}
        await context.__aexit__(None, None, None)


class TestManyFollowers:
    async def test_each_sees_every_line_once(self, site: Site, job_id: UUID, runner: Runner, url: str) -> None:
        async with joined(url, site.tokens["anna"]) as opened:
            for key in range(FOLLOWERS):
                await opened.follow(str(key), CHANGES, **node(job_id))
            for number in range(1, 11):
                await write_line(runner, number)
            await finish(site, runner)
            seen: dict[str, list[str]] = {str(key): [] for key in range(FOLLOWERS)}
            completed = 0
            while completed < FOLLOWERS:
                message = json.loads(await asyncio.wait_for(opened.connection.recv(), 30))
                if message["type"] == "next":
                    seen[message["id"]].append(told(message["payload"]["data"]["jobChanges"]))
                completed += message["type"] == "complete"
        for lines in seen.values():
            assert [each for each in lines if each.startswith("line")] == [f"line {number}" for number in range(1, 11)]
            assert "SUCCEEDED" in lines


async def until_followed(url: str, streams: int) -> None:
    """Return when the server at that address says that so many streams are open."""
    metrics = url.replace("ws://", "http://").removesuffix("/graphql") + "/metrics"
    async with httpx.AsyncClient(timeout=60) as client, asyncio.timeout(60):
        while f"guildhall_graphql_streams {streams}.0" not in (await client.get(metrics)).text:
            await asyncio.sleep(0.05)


class TestSlowClients:
    async def test_lose_the_connection_and_nothing_is_kept_for_them(
        self, site: Site, job_id: UUID, runner: Runner
    ) -> None:
        yard = site.yard
        settings = replace(yard.settings, graphql_stream_patience_seconds=1)
        text_ = "x" * 8_000
        for number in range(1, 9):
            lines = [{**line(text_, place), "seq": place} for place in range(1, 501)]
            await runner.post("reports", report(number, logs=lines))
        async with served(yard.database, settings, yard.clock) as url, joined(url, site.tokens["anna"]) as opened:
            opened.connection.transport.pause_reading()
            await opened.follow("1", CHANGES, **node(job_id))
            await until_followed(url, 1)
            await until_followed(url, 0)
            opened.connection.transport.resume_reading()
            assert (await opened.closed())[0] in {4413, 4414, 1006}  # too slow, or too silent to answer pings
