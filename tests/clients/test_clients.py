"""Clients that other people wrote, as their users use them, against a real server."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport
from sqlalchemy import select

from guildhall.auth.tables import Team
from guildhall.clock import SystemClock, new_id
from guildhall.db.transaction import Database
from marketplace.following import wallet_changed
from marketplace.ledger import allocate
from marketplace.tables import Programme
from tests.clients.conftest import FOLDER, Live, Run, output_of

SCHEMA = FOLDER.parent.parent / "guildhall" / "schema.graphql"


CHANGES = """
subscription ($after: String) { walletChanges(team: "press", after: $after) { cursor wallet { available } } }
"""


@pytest.fixture
async def giver(database: Database) -> AsyncIterator[None]:
    """Somebody who gives the team `press` a credit again and again."""
    at = SystemClock().now()
    async with database.transaction() as session:
        team_id = (await session.scalars(select(Team.id).where(Team.name == "press"))).one()
        programme = Programme(
            id=new_id(), name=f"p-{new_id().hex[-8:]}", title="A programme", strategic_class="A",
            created_at=at,
        )  # fmt: skip
        session.add(programme)

    async def give() -> None:
        while True:
            async with database.transaction() as session:
                wallet_changed(session, team_id)
                await allocate(
                    session, allocation_id=new_id(), team_id=team_id, programme_id=programme.id, credits=1_000_000,
                    valid_from=at, valid_to=at + timedelta(days=1), reason="tests", at=at, key=str(new_id()),
                )  # fmt: skip
            await asyncio.sleep(0.2)

    giving = asyncio.create_task(give())
    yield
    giving.cancel()
    await asyncio.wait([giving])


class TestGraphQLOverHTTP:
    @pytest.mark.parametrize("signed_in", [False, True], ids=["without a token", "with a token"])
    async def test_every_audit_of_graphql_http_is_ok(self, node: Run, live: Live, signed_in: bool) -> None:
        audits = await node("audits.mjs", live.url, *([live.token] if signed_in else []))
        assert [audit for audit in audits if audit["status"] != "ok"] == []
        assert len(audits) == 61


class TestJavaScript:
    async def test_apollo_client(self, node: Run, live: Live) -> None:
        told = await node("apollo.mjs", live.url, live.token)
        assert told == {
            "names": ["press", "press-two"],
            "cached": 2,
            "refused": "PAGE_TOO_LARGE",
            # The hash is not known here, so the text is sent after it.
            "requests": [{"sentText": False, "status": 400}, {"sentText": True, "status": 200}] * 3,
        }

    async def test_urql(self, node: Run, live: Live) -> None:
        assert await node("urql.mjs", live.url, live.token) == {
            "title": "Press",
            "errors": [{"code": "NOT_FOUND", "field": "tokenId"}],
            "refused": "UNAUTHENTICATED",
            "status": 401,
        }

    async def test_graphql_request(self, node: Run, live: Live) -> None:
        assert await node("graphql-request.mjs", live.url, live.token) == {
            "title": "Press",
            "refused": "FIRST_REQUIRED",
        }

    async def test_graphql_ws(self, node: Run, live: Live, giver: None) -> None:
        told = await node("graphql-ws.mjs", live.url, live.token)
        assert told == {"more": True, "title": "Press", "refused": "NOT_FOUND", "closed": 4401}

    async def test_graphql_sse(self, node: Run, live: Live, giver: None) -> None:
        told = await node("graphql-sse.mjs", live.url, live.token)
        assert told == {"more": True, "title": "Press", "refused": "NOT_FOUND", "closed": 401}

    async def test_relay_compiles_against_our_schema_and_its_documents_run(
        self, node: Run, live: Live, tmp_path: Path
    ) -> None:
        shutil.copytree(FOLDER / "relay", tmp_path / "relay")
        shutil.copy(FOLDER / "relay.config.json", tmp_path)
        shutil.copy(SCHEMA, tmp_path)
        compiler = FOLDER / "node_modules" / "relay-compiler" / "cli.js"
        await output_of("node", str(compiler), "relay.config.json", cwd=tmp_path)
        assert len(json.loads((tmp_path / "relay" / "documents.json").read_text())) == 3
        answers = await node("relay.mjs", live.url, live.token, str(tmp_path / "relay"))
        for answer in answers.values():
            assert "errors" not in answer
            (edge,) = answer["data"]["teams"]["edges"]
            assert edge["node"]["__typename"] == "Team"
            assert edge["node"]["models"]["edges"] == []


class TestPython:
    async def test_gql(self, live: Live) -> None:
        headers = {"authorization": f"Bearer {live.token}"}
        transport = HTTPXAsyncTransport(url=live.url, headers=headers, timeout=60)
        async with Client(transport=transport, fetch_schema_from_transport=True) as session:
            query = gql("query ($name: String!) { team(name: $name) { title } }")
            query.variable_values = {"name": "press"}
            assert await session.execute(query) == {"team": {"title": "Press"}}
            with pytest.raises(TransportQueryError, match="Say how many with `first`"):
                await session.execute(gql("{ teams { nodes { id } } }"))

    async def test_gql_follows(self, live: Live, giver: None) -> None:
        transport = WebsocketsTransport(
            url=live.url.replace("http", "ws", 1),
            init_payload={"authorization": f"Bearer {live.token}"},
            # It looks for the answer's protocol by a name in capitals, and takes the older one where it finds none.
            subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
        )
        async with Client(transport=transport) as session:
            amounts: list[float] = []
            async for data in session.subscribe(gql(CHANGES)):
                amounts.append(float(data["walletChanges"]["wallet"]["available"]))
                if len(amounts) == 3:
                    break
            assert amounts == sorted(set(amounts))
