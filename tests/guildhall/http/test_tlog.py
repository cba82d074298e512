"""The sealed record over HTTP, as clients of any C2SP tlog-tiles log ask for it."""

import hashlib

import httpx
import pytest

from guildhall.audit.checkpoints import Signer, open_head
from guildhall.audit.record import add_events, compose_event
from guildhall.audit.sealing import seal_once
from guildhall.auth.actor import system_actor
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from tests.conftest import MONDAY_MORNING

SIGNER = Signer("guildhall.example/audit", b"s" * 32)


async def write(database: Database, number: int) -> None:
    clock = SimulatedClock(MONDAY_MORNING)
    async with database.transaction() as session:
        composed = [
            compose_event(system_actor("w"), action="registry:dataset:read", at=clock.now(), new_id=new_id)
            for _ in range(number)
        ]
        await add_events(session, composed)
    await seal_once(database, [SIGNER], at=clock.now())


class TestRoutes:
    async def test_checkpoint_tiles_and_entries(self, client: httpx.AsyncClient, database: Database) -> None:
        assert (await client.get("/audit/log/checkpoint")).status_code == 404
        await write(database, 300)
        answer = await client.get("/audit/log/checkpoint")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        size = open_head(answer.text, [SIGNER.verifier]).size
        assert 300 <= size < 512
        width = size - 256
        first = await client.get("/audit/log/tile/0/000")
        assert (len(first.content), first.headers["content-type"]) == (256 * 32, "application/octet-stream")
        assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
        second = await client.get(f"/audit/log/tile/0/001.p/{width}")
        assert (len(second.content), second.headers["cache-control"]) == (width * 32, "no-cache")
        assert (await client.get("/audit/log/tile/0/001.p/3")).content == second.content[:96]
        assert len((await client.get("/audit/log/tile/1/000.p/1")).content) == 32
        entries = (await client.get("/audit/log/tile/entries/000")).content
        assert len(entries) == 256 * 34
        leaves = [
            hashlib.sha256(b"\0" + entries[start + 2 : start + 34]).digest() for start in range(0, len(entries), 34)
        ]
        assert first.content == b"".join(leaves)
        assert len((await client.get("/audit/log/tile/entries/001.p/2")).content) == 2 * 34

    @pytest.mark.parametrize(
        "path",
        [
            "0/002",
            "0/001",
            "1/000",
            "8/000",
            "0/000.p/0",
            "0/000.p/256",
            "0/0",
            "x/000",
            "entries/x001/000",
            "9",
            "0/a.p/1",
        ],
    )
    async def test_what_is_not_there(self, client: httpx.AsyncClient, database: Database, path: str) -> None:
        answer = await client.get(f"/audit/log/tile/{path}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
