"""The limit: each question as one statement written by hand, behind a bare ASGI app with prepared statements.

Shape, cursors and the viewer's predicate are those of our answers. Who calls is not looked up and the document is not
read: that is what it costs us to be a product, and what the ratio shows.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server
from sqlalchemy.engine import make_url

from guildhall.db.engine import SERVICE_ROLE, server_settings

STATEMENTS = dict(
    re.findall(
        r"-- name: (\w+)\n(.*?)(?=\n-- name:|\Z)", Path(__file__).with_name("limit.sql").read_text("utf-8"), re.DOTALL
    )
)
BINDING = b"\0" * 32
_BLOCK = 64

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]


@dataclass(frozen=True)
class Viewer:
    """Who asks: what the token of the others says."""

    id: UUID
    teams: list[UUID]


class Limit:
    """The ASGI app."""

    def __init__(self, url: str, key: bytes, viewer: Viewer, public_url: str, connections: int) -> None:
        self._url = url
        self._count = connections
        self._public_url = public_url
        self._viewer = viewer
        padded = key.ljust(_BLOCK, b"\0")
        self._key = key
        self._inner, self._outer = (bytes(byte ^ pad for byte in padded) for pad in (0x36, 0x5C))
        self._free: asyncio.LifoQueue[dict[str, Any]] = asyncio.LifoQueue()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connections whose statements stay prepared for as long as they live."""
        url = make_url(self._url)
        connections = []
        for _ in range(self._count):
            connection = await asyncpg.connect(
                host=str(url.query["host"]),
                user=url.username,
                password=url.password,
                database=url.database,
                server_settings={
                    # With 30, as ours have, PostgreSQL once in a long while ended one of some milliseconds as too long.
                    **server_settings(url, statement_seconds=600, role=SERVICE_ROLE),
                    # Or a page's length, being a parameter, has every request planned anew.
                    "plan_cache_mode": "force_generic_plan",
                },
            )
            connections.append(connection)
            self._free.put_nowait({name: await connection.prepare(text) for name, text in statements().items()})
        try:
            yield
        finally:
            for connection in connections:
                await connection.close()

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Answer a POST; what fails is told in the log, as Granian's own answer tells nothing of it."""
        if scope["type"] != "http":
            return
        try:
            await self._answer(receive, send)
        except Exception:
            logger.exception("a request failed")
            raise

    async def _answer(
        self, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """Of {query, variables}, the document's first word after `query` says which statement."""
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        asked = msgspec.json.decode(body)
        name, binds = self._binds(asked["query"][5:20], asked["variables"])
        prepared = await self._free.get()
        try:
            text = await prepared[name].fetchval(*binds)
        finally:
            self._free.put_nowait(prepared)
        content = text.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _binds(self, begin: str, variables: dict[str, Any]) -> tuple[str, list[Any]]:
        if begin.startswith(" Page"):
            given = [variables["first"], self._viewer.teams, self._inner, self._outer, BINDING]
            after = variables.get("after")
            return ("page", given) if after is None else ("page_after", [*given, *self._opened(after)])
        if begin.startswith(" ModelPage"):
            viewer = self._viewer
            return "model_page", [variables["team"], variables["name"], viewer.teams, self._public_url, viewer.id]
        words = variables["text"].split()
        texts = [variables["text"], _beginnings(words, " & "), " or ".join(words), _beginnings(words, " | ")]
        return "search", [variables["first"], self._viewer.teams, *texts, self._inner, self._outer, BINDING]

    def _opened(self, cursor: str) -> tuple[datetime, UUID]:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        message = len(BINDING).to_bytes(4, "big") + BINDING + raw[16:]
        assert hmac.compare_digest(raw[:16], hmac.digest(self._key, message, "sha256")[:16]), "not our cursor"
        (_, at), (_, key) = json.loads(raw[16:])
        return datetime.fromisoformat(at), UUID(key)


def _beginnings(words: Sequence[str], between: str) -> str:
    return between.join(f"'{word}':*" for word in words)


def statements() -> dict[str, str]:
    """The statements by name, the page with and without the row that it comes after."""
    found = dict(STATEMENTS)
    page = found.pop("page")
    found["page"] = page.replace("{after}", "true")
    found["page_after"] = page.replace("{after}", "(created_at, id) < ($6::timestamptz, $7::uuid)")
    return found


async def serve(url: str, key: bytes, viewer: Viewer, public_url: str, port: int, connections: int) -> None:
    """Until the process is ended. Granian shares the port with others of its kind, so this may run several times."""
    app = Limit(url, hashlib.sha256(key).digest(), viewer, public_url, connections)
    async with app.opened():
        await Server(
            app, address="127.0.0.1", port=port, interface=Interfaces.ASGI, websockets=False, log_enabled=False
        ).serve()


if __name__ == "__main__":
    uvloop.run(  # as our own server
        serve(
            os.environ["LIMIT_DATABASE_URL"],
            Path(os.environ["LIMIT_KEY_FILE"]).read_bytes(),
            Viewer(UUID(os.environ["LIMIT_VIEWER"]), [UUID(each) for each in os.environ["LIMIT_TEAMS"].split(",")]),
            os.environ["LIMIT_PUBLIC_URL"],
            int(sys.argv[1]),
            int(sys.argv[2]),
        )
    )
