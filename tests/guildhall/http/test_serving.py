"""What surrounds an answer: who is proven how, its headers, its budgets, and what is told of it elsewhere."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from sqlalchemy import text, update

from guildhall.app import create_app
from guildhall.auth.tables import Token, User
from guildhall.auth.tokens import hash_token
from guildhall.clock import SimulatedClock
from guildhall.db.transaction import Database
from guildhall.graphql.execution import Executor
from guildhall.graphql.trusted import digest_of
from guildhall.http import exchange, graphql
from guildhall.settings import Settings

GRAPHQL = "application/graphql-response+json"
TEAM = {"query": "query Team($name: String!) { team(name: $name) { title } }", "variables": {"name": "press"}}
PRESS = {"data": {"team": {"title": "Press"}}}


@pytest.fixture
def mia(tokens: dict[str, str]) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens['mia']}"}


@asynccontextmanager
async def other(settings: Settings, database: Database, clock: SimulatedClock, **changed: Any) -> AsyncIterator[Any]:
    """A client of an application with other settings."""
    app: Any = create_app(replace(settings, **changed), database, clock)
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://guildhall.example") as client:
        yield client


def code(answer: httpx.Response) -> str:
    found: str = answer.json()["errors"][0]["extensions"]["code"]
    return found


async def answers_by(client: httpx.AsyncClient, made_by: str) -> float:
    metrics = (await client.get("/metrics")).text
    line = f'guildhall_graphql_answers_total{{made_by="{made_by}"}} '
    return sum(float(each.removeprefix(line)) for each in metrics.splitlines() if each.startswith(line))


class TestHotPath:
    async def test_the_statement_answers_and_is_counted(self, client: httpx.AsyncClient, mia: dict[str, str]) -> None:
        before = await answers_by(client, "a statement")
        for _ in range(3):
            assert (await client.post("/graphql", json=TEAM, headers=mia)).json() == PRESS
        assert await answers_by(client, "a statement") == before + 3

    async def test_a_token_that_was_withdrawn_is_refused_by_the_next_statement(
        self, client: httpx.AsyncClient, tokens: dict[str, str], database: Database, module_clock: SimulatedClock
    ) -> None:
        headers = {"authorization": f"Bearer {tokens['nora']}"}
        for _ in range(2):
            assert (await client.post("/graphql", json=TEAM, headers=headers)).json() == PRESS
        this = Token.hash == hash_token(tokens["nora"])
        async with database.transaction() as session:
            await session.execute(update(Token).where(this).values(revoked_at=module_clock.now()))
        answer = await client.post("/graphql", json=TEAM, headers=headers)
        assert (answer.status_code, code(answer)) == (401, "TOKEN_REFUSED")
        async with database.transaction() as session:
            await session.execute(update(Token).where(this).values(revoked_at=None))
        assert (await client.post("/graphql", json=TEAM, headers=headers)).json() == PRESS

    async def test_who_is_deactivated_is_refused_by_the_next_statement(
        self, client: httpx.AsyncClient, tokens: dict[str, str], database: Database, module_clock: SimulatedClock
    ) -> None:
        headers = {"authorization": f"Bearer {tokens['otto']}"}
        assert (await client.post("/graphql", json=TEAM, headers=headers)).json() == PRESS
        async with database.transaction() as session:
            otto = update(User).where(User.email == "otto@example.org")
            await session.execute(otto.values(deactivated_at=module_clock.now()))
        answer = await client.post("/graphql", json=TEAM, headers=headers)
        assert (answer.status_code, code(answer)) == (401, "TOKEN_REFUSED")
        async with database.transaction() as session:
            await session.execute(otto.values(deactivated_at=None))

    async def test_mistakes_are_worded_by_graphql_core(self, client: httpx.AsyncClient, mia: dict[str, str]) -> None:
        body = {"query": "{ teams { nodes { id } } }"}
        for _ in range(2):
            assert code(await client.post("/graphql", json=body, headers=mia)) == "FIRST_REQUIRED"

    async def test_a_lost_connection_is_not_noticed(
        self, client: httpx.AsyncClient, mia: dict[str, str], database: Database
    ) -> None:
        assert (await client.post("/graphql", json=TEAM, headers=mia)).json() == PRESS
        end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        async with database.read() as session:
            await session.execute(text(f"{end} AND usename = current_user AND datname = current_database()"))
        assert (await client.post("/graphql", json=TEAM, headers=mia)).json() == PRESS


class TestHeaders:
    async def test_a_get_may_be_asked_whether_it_has_changed(
        self, client: httpx.AsyncClient, mia: dict[str, str]
    ) -> None:
        params = {"query": str(TEAM["query"]), "variables": json.dumps(TEAM["variables"])}
        first = await client.get("/graphql", params=params, headers=mia)
        assert (first.status_code, first.json()) == (200, PRESS)
        assert first.headers["cache-control"] == "private, no-cache"
        assert first.headers["vary"] == "accept, accept-encoding, authorization, cookie"
        again = await client.get("/graphql", params=params, headers={**mia, "if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        refused = await client.get("/graphql", params={"query": "{ viewer }"}, headers=mia)
        assert "etag" not in refused.headers

    async def test_long_answers_are_compressed_for_who_reads_gzip(
        self, client: httpx.AsyncClient, mia: dict[str, str]
    ) -> None:
        query = {"query": "{ " + " ".join(f"some_longer_name_{index}: __typename" for index in range(50)) + " }"}
        plain = await client.post("/graphql", json=query, headers={**mia, "accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        async with client.stream("POST", "/graphql", json=query, headers={**mia, "accept-encoding": "gzip"}) as answer:
            raw = b"".join([chunk async for chunk in answer.aiter_raw()])
        assert answer.headers["content-encoding"] == "gzip"
        assert json.loads(gzip.decompress(raw)) == plain.json()

    async def test_the_caller_s_trace_goes_on(
        self, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        with caplog.at_level(logging.INFO):
            answer = await client.post(
                "/graphql", json={"query": "{ __typename }"}, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
            )
        version, found, span, flags = answer.headers["traceresponse"].split("-")
        assert (version, found, len(span), flags) == ("00", trace, 16, "01")
        assert f"trace={trace}" in caplog.text

    async def test_a_compressed_request_is_not_taken(self, client: httpx.AsyncClient) -> None:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        answer = await client.post("/graphql", content=gzip.compress(b'{"query": "{ __typename }"}'), headers=headers)
        assert (answer.status_code, code(answer)) == (415, "BAD_REQUEST")


class TestDocuments:
    async def test_one_may_be_named_by_its_hash(self, client: httpx.AsyncClient) -> None:
        body = {"documentId": "sha256:" + digest_of("{ __typename }")}
        assert (await client.post("/graphql", json=body)).json() == {"data": {"__typename": "Query"}}
        assert (await client.get("/graphql", params=body)).json() == {"data": {"__typename": "Query"}}
        unknown = await client.post("/graphql", json={"documentId": "sha256:00"}, headers={"accept": GRAPHQL})
        assert (unknown.status_code, code(unknown)) == (400, "PERSISTED_QUERY_NOT_FOUND")

    async def test_where_only_trusted_ones_run_no_other_does(
        self, app_settings: Settings, database: Database, module_clock: SimulatedClock, mia: dict[str, str]
    ) -> None:
        async with other(app_settings, database, module_clock, graphql_trusted_only=True) as client:
            answer = await client.post("/graphql", json=TEAM, headers={**mia, "accept": GRAPHQL})
            assert (answer.status_code, code(answer)) == (400, "DOCUMENT_NOT_TRUSTED")
            for alive in ("{ __typename }", "{__typename}"):
                assert (await client.get("/graphql", params={"query": alive})).json() == {
                    "data": {"__typename": "Query"}
                }

    async def test_what_it_may_cost_is_told_on_request(self, client: httpx.AsyncClient, mia: dict[str, str]) -> None:
        body = {"query": "{ teams(first: 2) { nodes { name } } }", "extensions": {"cost": True}}
        for _ in range(2):
            answer = (await client.post("/graphql", json=body, headers=mia)).json()
            assert answer["extensions"] == {"cost": {"rows": 2, "rowsMax": 1_000_000}}

    async def test_a_slow_one_is_in_the_log_with_its_sql(
        self,
        app_settings: Settings,
        database: Database,
        module_clock: SimulatedClock,
        mia: dict[str, str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        async with other(app_settings, database, module_clock, graphql_slow_milliseconds=0) as client:
            with caplog.at_level(logging.WARNING):
                await client.post("/graphql", json=TEAM, headers={**mia, "x-request-id": "slow-1"})
        assert f"slow document {digest_of(str(TEAM['query']))} (query Team) took " in caplog.text
        assert "in request slow-1, 1 statements, the slowest: " in caplog.text
        assert "FROM teams" in caplog.text
        assert "press" not in caplog.text


class TestBudgets:
    async def test_a_query_has_a_budget(
        self,
        app_settings: Settings,
        database: Database,
        module_clock: SimulatedClock,
        mia: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def never(*_: Any, **__: Any) -> Any:
            await asyncio.sleep(60)

        monkeypatch.setattr(Executor, "answers", never)
        monkeypatch.setattr(Executor, "_statement", lambda *_, **__: asyncio.sleep(0))
        async with other(app_settings, database, module_clock, graphql_seconds_max=0.05) as client:
            answer = await client.post("/graphql", json=TEAM, headers={**mia, "accept": GRAPHQL})
        assert (answer.status_code, code(answer)) == (400, "QUERY_TIMEOUT")

    async def test_a_statement_has_a_budget(
        self,
        app_settings: Settings,
        database: Database,
        module_clock: SimulatedClock,
        mia: dict[str, str],
    ) -> None:
        async with (
            other(app_settings, database, module_clock, database_statement_seconds=1) as client,
            database.transaction() as rival,
        ):
            await client.post("/graphql", json=TEAM, headers=mia)
            await rival.execute(text("LOCK TABLE teams IN ACCESS EXCLUSIVE MODE"))
            answer = await client.post("/graphql", json=TEAM, headers={**mia, "accept": GRAPHQL})
        assert (answer.status_code, code(answer)) == (400, "STATEMENT_TIMEOUT")

    async def test_too_many_at_once_are_told_to_come_again(
        self, app_settings: Settings, database: Database, module_clock: SimulatedClock, mia: dict[str, str]
    ) -> None:
        few = {"graphql_working_max": 1, "graphql_waiting_max": 1}
        async with other(app_settings, database, module_clock, **few) as client:
            asked = [client.post("/graphql", json=TEAM, headers=mia) for _ in range(6)]
            answers = await asyncio.gather(*asked)
        refused = [answer for answer in answers if answer.status_code == 503]
        assert {code(answer) for answer in refused} == {"OVERLOADED"}
        assert {answer.headers["retry-after"] for answer in refused} == {"5"}
        assert [answer.json() for answer in answers if answer.status_code == 200] == [PRESS, PRESS]

    async def test_a_body_that_does_not_end(self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exchange, "BODY_SECONDS_MAX", 0.05)

        async def slowly() -> AsyncIterator[bytes]:
            yield b'{"query": '
            await asyncio.sleep(60)

        answer = await client.post("/graphql", content=slowly(), headers={"content-type": "application/json"})
        assert (answer.status_code, code(answer)) == (408, "BODY_TOO_SLOW")


class TestFaults:
    async def test_what_nobody_foresaw_is_masked_under_the_request_s_id(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def broken(*_: Any, **__: Any) -> Any:
            raise RuntimeError("a secret of ours")

        monkeypatch.setattr(graphql.GraphQLEndpoint, "_answer", broken)
        answer = await client.post("/graphql", json=TEAM, headers={"x-request-id": "broken-2"})
        assert answer.status_code == 500
        assert answer.json() == {
            "errors": [
                {
                    "message": "Something went wrong on our side; it is in the log as broken-2.",
                    "extensions": {"code": "INTERNAL_ERROR", "errorId": "broken-2"},
                }
            ]
        }
        assert "a secret of ours" in caplog.text
