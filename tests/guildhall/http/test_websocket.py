"""graphql-transport-ws, message by message: what the protocol asks of a server, and how a connection ends."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import websockets

from guildhall.clock import SimulatedClock
from guildhall.db.transaction import Database
from guildhall.graphql.execution import Answer, Request
from guildhall.http.identity import REQUEST_ID
from guildhall.http.websocket import _Connection
from guildhall.settings import Settings
from tests.streaming import PROTOCOL, connected, free_bind, joined, served

NAME = "query { __typename }"
SIGN_IN = (4401, "Sign in first: send `connection_init` with the payload {authorization: 'Bearer …'}.")


@pytest.fixture(scope="module")
async def url(database: Database, app_settings: Settings, module_clock: SimulatedClock) -> AsyncIterator[str]:
    settings = replace(app_settings, graphql_keepalive_seconds=1)
    async with served(database, settings, module_clock) as address:
        yield address


class TestHandshake:
    async def test_a_client_of_another_protocol_is_told(self, url: str) -> None:
        async with connected(url, subprotocols=[websockets.Subprotocol("graphql-ws")]) as opened:
            assert await opened.closed() == (4406, "Subprotocol not acceptable")

    @pytest.mark.parametrize("origin", ["https://evil.example", "http://guildhall.example.evil.example", "null"])
    async def test_a_page_from_elsewhere_is_refused(self, url: str, origin: str) -> None:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with connected(url, origin=websockets.Origin(origin)):
                pass
        assert refused.value.response.status_code == 403

    async def test_our_own_page_is_not(self, url: str, tokens: dict[str, str]) -> None:
        for origin in (url, "http://guildhall.example"):
            async with connected(url, origin=websockets.Origin(origin)) as opened:
                await opened.initialise(tokens["mia"])

    async def test_there_is_nothing_elsewhere(self, url: str) -> None:
        address = url.replace("http", "ws", 1) + "/elsewhere"
        with pytest.raises(websockets.InvalidStatus):
            async with websockets.connect(address, subprotocols=[PROTOCOL]):
                pass


class TestInitialising:
    async def test_the_token_may_stand_in_the_header(self, url: str, tokens: dict[str, str]) -> None:
        headers = {"authorization": f"Bearer {tokens['mia']}"}
        async with connected(url, additional_headers=headers) as opened:
            await opened.send(type="connection_init")
            assert await opened.read() == {"type": "connection_ack"}

    @pytest.mark.parametrize(
        ("payload", "want"),
        [
            (None, SIGN_IN),
            ({}, SIGN_IN),
            ({"authorization": 7}, SIGN_IN),
            ({"authorization": "Basic x"}, (4401, "The Authorization header must be `Bearer` and a token.")),
            ({"authorization": "Bearer x"},
             (4401, "This is not a token of Guildhall, or a part of it is missing: copy it whole.")),
            ([], (4400, "The payload of connection_init is an object.")),
        ],
    )  # fmt: skip
    async def test_nobody_unknown_stays(self, url: str, payload: object, want: tuple[int, str]) -> None:
        async with connected(url) as opened:
            await opened.send(type="connection_init", payload=payload)
            assert await opened.closed() == want

    async def test_is_done_once(self, url: str, tokens: dict[str, str]) -> None:
        async with joined(url, tokens["mia"]) as opened:
            await opened.send(type="connection_init")
            assert await opened.closed() == (4429, "Too many initialisation requests")

    async def test_comes_before_anything_else(self, url: str) -> None:
        async with connected(url) as opened:
            await opened.follow("1", NAME)
            assert await opened.closed() == (4401, "Unauthorized")

    async def test_is_waited_for_so_long(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("guildhall.http.websocket.INIT_SECONDS_MAX", 0.2)
        async with connected(url) as opened:
            assert await opened.closed() == (4408, "Connection initialisation timeout")


class TestMessages:
    async def test_a_query_has_one_answer(self, url: str, tokens: dict[str, str]) -> None:
        async with joined(url, tokens["mia"]) as opened:
            for _ in range(2):  # the id is free again
                await opened.follow("1", NAME)
                assert await opened.read() == {"id": "1", "type": "next", "payload": {"data": {"__typename": "Query"}}}
                assert await opened.read() == {"id": "1", "type": "complete"}

    async def test_a_ping_is_answered(self, url: str, tokens: dict[str, str]) -> None:
        async with connected(url) as opened:
            await opened.send(type="ping")
            assert await opened.read() == {"type": "pong"}
            await opened.initialise(tokens["mia"])
            await opened.send(type="ping", payload={"a": 1})
            assert await opened.read() == {"type": "pong"}

    @pytest.mark.parametrize(
        "text",
        ["", "{", "[]", "7", '{"type": 7}', "{}", '{"type": "start"}', '{"type": "subscribe", "payload": {}}',
         '{"type": "subscribe", "id": "", "payload": {}}', '{"type": "subscribe", "id": 1}', "[" * 10_000],
    )  # fmt: skip
    async def test_what_is_no_message_ends_the_connection(self, url: str, tokens: dict[str, str], text: str) -> None:
        async with joined(url, tokens["mia"]) as opened:
            await opened.connection.send(text)
            code, reason = await opened.closed()
            assert code == 4400
            assert reason

    async def test_a_message_has_a_size(self, url: str, tokens: dict[str, str]) -> None:
        async with joined(url, tokens["mia"]) as opened:
            await opened.follow("1", NAME, long="x" * 2_000_000)
            assert (await opened.closed())[0] == 4400

    @pytest.mark.parametrize(
        ("payload", "code"),
        [
            ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
            ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
            ({"query": "subscription { __typename }"}, "GRAPHQL_VALIDATION_FAILED"),
            ({"query": 'subscription { a: jobChanges(id: "x") { state } b: jobChanges(id: "y") { state } }'},
             "GRAPHQL_VALIDATION_FAILED"),
            ({"query": "subscription($id: ID!) { jobChanges(id: $id) { state } }"}, "BAD_USER_INPUT"),
            ({"query": 'subscription { jobChanges(id: "x") { state } }'}, "NOT_FOUND"),
            ({"query": 'subscription { walletChanges(team: "none") { cursor } }'}, "NOT_FOUND"),
            ({"query": 7}, "BAD_REQUEST"),
            ({"query": NAME, "variables": []}, "BAD_REQUEST"),
            ({"query": "{ " + "__typename " * 3_000 + "}"}, "DOCUMENT_TOO_LARGE"),
        ],
    )  # fmt: skip
    async def test_a_refused_operation_leaves_the_others(
        self, url: str, tokens: dict[str, str], payload: dict[str, Any], code: str
    ) -> None:
        async with joined(url, tokens["mia"]) as opened:
            await opened.send(id="1", type="subscribe", payload=payload)
            answer = await opened.read()
            assert (answer["id"], answer["type"]) == ("1", "error")
            assert answer["payload"][0]["extensions"]["code"] == code
            await opened.follow("1", NAME)
            assert (await opened.read())["payload"] == {"data": {"__typename": "Query"}}

    async def test_an_id_is_used_once_at_a_time(self, url: str, tokens: dict[str, str]) -> None:
        async with joined(url, tokens["mia"]) as opened:
            for _ in range(2):
                await opened.follow("1", 'subscription { walletChanges(team: "press") { cursor } }')
            assert await opened.closed() == (4409, "Subscriber for 1 already exists")

    async def test_what_is_completed_by_the_client_is_over(self, url: str, tokens: dict[str, str]) -> None:
        async with joined(url, tokens["mia"]) as opened:
            await opened.send(id="none", type="complete")
            for _ in range(3):
                await opened.follow(
                    "1", 'subscription { walletChanges(team: "press") { cursor wallet { available } } }'
                )
                answer = await opened.read()
                assert answer["payload"]["data"]["walletChanges"]["wallet"] == {"available": "0"}
                await opened.send(id="1", type="complete")
            await opened.follow("2", NAME)
            assert (await opened.read())["id"] == "2"


class TestKeepingAlive:
    async def test_a_silent_client_is_pinged_and_then_left(self, url: str, tokens: dict[str, str]) -> None:
        async with joined(url, tokens["mia"]) as opened:
            kinds = [json.loads(await asyncio.wait_for(opened.connection.recv(), 10))["type"] for _ in range(3)]
            assert kinds == ["ping", "ping", "ping"]
            assert (await opened.closed())[0] == 4414

    async def test_a_client_that_answers_stays(self, url: str, tokens: dict[str, str]) -> None:
        async with joined(url, tokens["mia"]) as opened:
            for _ in range(5):
                assert json.loads(await asyncio.wait_for(opened.connection.recv(), 10))["type"] == "ping"
                await opened.send(type="pong")


class TestLimits:
    async def test_of_one_caller_and_of_the_process(
        self, database: Database, app_settings: Settings, module_clock: SimulatedClock, tokens: dict[str, str]
    ) -> None:
        settings = replace(app_settings, graphql_subscriptions_max=3, graphql_subscriptions_per_caller_max=2)
        document = 'subscription { walletChanges(team: "press") { cursor } }'
        async with (
            served(database, settings, module_clock) as address,
            joined(address, tokens["mia"]) as mia,
            joined(address, tokens["otto"]) as otto,
        ):
            told = []
            for key in "123":
                await mia.follow(key, document)
                told.append(await mia.read())
            assert [message["type"] for message in told] == ["next", "next", "error"]
            assert told[2]["payload"][0]["extensions"]["code"] == "TOO_MANY_SUBSCRIPTIONS"
            await otto.follow("1", document)
            assert (await otto.read())["type"] == "next"
            await otto.follow("2", document)
            assert (await otto.read())["payload"][0]["extensions"]["code"] == "NO_PLACE_LEFT"
            async with httpx.AsyncClient() as client:
                assert "guildhall_graphql_streams 3.0" in (await client.get(f"{address}/metrics")).text
            await mia.send(id="1", type="complete")
            await mia.follow("4", document)
            assert (await mia.read())["type"] == "next"

    async def test_of_a_client_that_takes_nothing_no_more_is_read(self) -> None:
        """Each of these operations is over at once; what waits is its last word."""
        wanted = 20
        taken, told, read = asyncio.Event(), list[str](), list[int]()

        async def follow(*_: object) -> AsyncIterator[Answer]:
            yield Answer([{"message": "Refused."}], executed=False)

        async def receive() -> Any:
            await asyncio.sleep(0)  # what was read before begins
            if len(read) == wanted:
                while len(told) < wanted:
                    await asyncio.sleep(0)
                return {"type": "websocket.disconnect"}
            read.append(len(read))
            message = {"id": str(len(read)), "type": "subscribe", "payload": {"query": NAME}}
            return {"type": "websocket.receive", "text": json.dumps(message)}

        async def send(message: Any) -> None:
            await taken.wait()
            told.append(json.loads(message["text"])["id"])

        desk: Any = SimpleNamespace(
            settings=replace(Settings(), graphql_subscriptions_per_caller_max=2),
            streams=SimpleNamespace(stopping=asyncio.Event(), follow=follow),
            read_request=lambda body: Request(body.decode()),
            make_context=None,
        )
        scope: Any = {"state": {REQUEST_ID: "1"}}
        connection = _Connection(desk, scope, receive, send)
        presence: Any = object()
        connection._presence = presence  # as after `connection_init`
        serving = asyncio.create_task(connection.serve())
        for _ in range(50 * wanted):
            await asyncio.sleep(0)
        assert len(read) == 5
        taken.set()
        async with asyncio.timeout(120):
            await serving
        assert sorted(told, key=int) == [str(number + 1) for number in range(wanted)]


class TestStopping:
    async def test_clients_are_told_to_come_again(
        self, database: Database, app_settings: Settings, module_clock: SimulatedClock, tokens: dict[str, str]
    ) -> None:
        async with served(database, app_settings, module_clock, bind=free_bind()) as address:
            opened = await websockets.connect(address.replace("http", "ws", 1) + "/graphql", subprotocols=[PROTOCOL])
        with pytest.raises(websockets.ConnectionClosed):
            await opened.recv()
        assert (opened.close_code, opened.close_reason) == (1012, "The server restarts; connect again.")
        assert tokens
