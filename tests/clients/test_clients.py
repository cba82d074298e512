"""Clients that other people wrote, as their users use them, against a real server."""

import json
import shutil
from pathlib import Path

import pytest
from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport

from tests.clients.conftest import FOLDER, Live, Run, output_of

SCHEMA = FOLDER.parent.parent / "guildhall" / "schema.graphql"


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
        transport = HTTPXAsyncTransport(url=live.url, headers={"authorization": f"Bearer {live.token}"})
        async with Client(transport=transport, fetch_schema_from_transport=True) as session:
            query = gql("query ($name: String!) { team(name: $name) { title } }")
            query.variable_values = {"name": "press"}
            assert await session.execute(query) == {"team": {"title": "Press"}}
            with pytest.raises(TransportQueryError, match="Say how many with `first`"):
                await session.execute(gql("{ teams { nodes { id } } }"))
