"""A served application, and clients of its streams as plain as the protocols allow."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx
import websockets
from granian.constants import Interfaces
from granian.server.embed import Server

from guildhall.app import create_app
from guildhall.clock import Clock
from guildhall.db.transaction import Database
from guildhall.settings import Settings

PROTOCOL = websockets.Subprotocol("graphql-transport-ws")
PATIENCE_SECONDS = 20.0


def free_bind() -> str:
    """A loopback address nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


@asynccontextmanager
async def served(
    database: Database, settings: Settings, clock: Clock, *, bind: str | None = None
) -> AsyncIterator[str]:
    """The address of a server of ours, which stops as `python -m guildhall api` does."""
    settings = replace(settings, bind=bind or free_bind(), public_url="http://guildhall.example")
    app = create_app(settings, database, clock)
    server = Server(
        app,
        address=settings.bind_host,
        port=settings.bind_port,
        interface=Interfaces.ASGI,
        websockets=True,
        log_enabled=False,
    )
    serving = asyncio.create_task(server.serve())
    url = f"http://{settings.bind}"
    async with httpx.AsyncClient() as client:
        while True:
            with suppress(httpx.TransportError):
                await client.get(f"{url}/healthz")
                break
            await asyncio.sleep(0.02)
    try:
        yield url
    finally:
        await app.end_streams()
        server.stop()  # type: ignore[no-untyped-call]  # granian says nothing of it
        await asyncio.wait_for(serving, PATIENCE_SECONDS)


@dataclass
class Events:
    """One stream of server-sent events, read block by block."""

    response: httpx.Response
    lines: AsyncIterator[str]

    async def block(self) -> dict[str, str]:
        """The next event, comments left out; empty where the stream has ended."""
        found: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in self.lines:
                if line.startswith(":"):
                    continue
                if not line and found:
                    return found
                if line:
                    name, _, value = line.partition(":")
                    found[name] = value.removeprefix(" ")
        return found

    async def next(self) -> Any:
        """The payload of the next event, which must be a `next`."""
        block = await self.block()
        assert block.get("event") == "next", block
        return json.loads(block["data"])

    async def data(self) -> Any:
        """The one field of the next payload, which must have no errors."""
        payload = await self.next()
        assert "errors" not in payload, payload
        (value,) = payload["data"].values()
        return value

    async def rest(self) -> list[Any]:
        """All payloads until `complete`."""
        payloads = []
        while (block := await self.block()).get("event") == "next":
            payloads.append(json.loads(block["data"]))
        assert block == {"event": "complete", "data": ""}, block
        return payloads


@asynccontextmanager
async def events(
    url: str, token: str | None, document: str, variables: Mapping[str, Any] | None = None
) -> AsyncIterator[Events]:
    """Follow a document as server-sent events."""
    headers = {"accept": "text/event-stream"} | ({} if token is None else {"authorization": f"Bearer {token}"})
    body = {"query": document, "variables": dict(variables or {})}
    async with (
        httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client,
        client.stream("POST", f"{url}/graphql", json=body, headers=headers) as response,
    ):
        yield Events(response, response.aiter_lines())


@dataclass
class Socket:
    """One WebSocket that speaks graphql-transport-ws."""

    connection: websockets.ClientConnection

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def read(self) -> Any:
        """The next message that is no ping."""
        while True:
            message = json.loads(await asyncio.wait_for(self.connection.recv(), PATIENCE_SECONDS))
            if message["type"] != "ping":
                return message
            await self.send(type="pong")

    async def initialise(self, token: str) -> None:
        await self.send(type="connection_init", payload={"Authorization": f"Bearer {token}"})
        assert await self.read() == {"type": "connection_ack"}

    async def follow(self, key: str, document: str, **variables: Any) -> None:
        await self.send(id=key, type="subscribe", payload={"query": document, "variables": variables})

    async def closed(self) -> tuple[int | None, str | None]:
        """How the server ends the connection; what comes before is passed over."""
        with suppress(websockets.ConnectionClosed):
            while True:
                await asyncio.wait_for(self.connection.recv(), PATIENCE_SECONDS)
        return self.connection.close_code, self.connection.close_reason


@asynccontextmanager
async def connected(url: str, **given: Any) -> AsyncIterator[Socket]:
    """An open connection, not initialised."""
    address = url.replace("http", "ws", 1) + "/graphql"
    given = {"subprotocols": [PROTOCOL], "open_timeout": PATIENCE_SECONDS, "max_size": None, **given}
    async with websockets.connect(address, **given) as connection:
        yield Socket(connection)


@asynccontextmanager
async def joined(url: str, token: str) -> AsyncIterator[Socket]:
    """A connection of a caller."""
    async with connected(url) as opened:
        await opened.initialise(token)
        yield opened
