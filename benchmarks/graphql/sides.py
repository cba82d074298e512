"""Who is compared: each a server on the same database, asked the same question in its own words."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import psutil
from sqlalchemy.engine import make_url

from benchmarks.graphql.postgraphile.installing import POSTGRAPHILE, NotHere, installed_postgraphile
from benchmarks.graphql.questions import PAGE, POSTGRAPHILE_PAGE
from benchmarks.graphql.seeding import Seeded
from benchmarks.processes import free_port, python, running
from benchmarks.report import OUT
from guildhall.db.embedded import DATABASE
from guildhall.graphql.scalars import serialize_moment

PAGE_MAX = 1_000
CONNECTIONS = 8
"""To the database, of all processes of a side together; as many as the load comes over."""
PUBLIC_URL = "https://guildhall.example"


@dataclass(frozen=True)
class Side:
    """A running server; `page` is the document that asks it for a page of models."""

    name: str
    port: int
    process: psutil.Process
    """The one that was started; what it costs is counted with its children."""
    headers: Mapping[str, str]
    page: str
    plain: Callable[[Any], Any]

    def body(self, document: str, **variables: Any) -> bytes:
        """A request as it goes over the wire."""
        return json.dumps({"query": " ".join(document.split()), "variables": variables}).encode()

    async def ask(self, document: str, **variables: Any) -> Any:
        """The data, in the words that all sides share."""
        async with httpx.AsyncClient(timeout=60) as client:
            headers = {"content-type": "application/json", **self.headers}
            content = self.body(document, **variables)
            told = await client.post(f"http://127.0.0.1:{self.port}/graphql", content=content, headers=headers)
        assert told.status_code == 200, f"{self.name}: {told.status_code} {told.text[:500]}"
        answer = told.json()
        assert answer.keys() == {"data"}, f"{self.name}: {str(answer)[:500]}"
        return self.plain(answer["data"])


def in_our_words(data: Any) -> Any:
    """A peer's answer with ids and moments written as we write them."""
    for model in data["models"]["nodes"]:
        for kind, node in [("Model", model), *(("ModelVersion", each) for each in model["versions"]["nodes"])]:
            if "_" not in node["id"]:
                node["id"] = f"{kind}_{UUID(node['id']).hex}"
            node["createdAt"] = serialize_moment(datetime.fromisoformat(node["createdAt"]))
    return data


def same(data: Any) -> Any:
    """An answer in our own words."""
    return data


def _times(processes: int, module: str, port: int) -> list[str]:
    """The module in so many processes at one port; together they have as many connections as all sides."""
    return python("-m", "benchmarks.graphql.several", str(processes), module, str(port), str(CONNECTIONS // processes))


@asynccontextmanager
async def our_side(seeded: Seeded, processes: int = 1) -> AsyncIterator[Side]:
    """`python -m guildhall api`, with a token."""
    port = free_port()
    environment = {
        "GUILDHALL_DATABASE_URL": seeded.database_url,
        "GUILDHALL_DATA_DIR": str(seeded.folder / "api"),
        "GUILDHALL_SECRET_KEY_FILE": str(seeded.secret_key_file),
        "GUILDHALL_AUDIT_KEY_FILE": str(seeded.folder / "audit.key"),
        "GUILDHALL_BIND": f"127.0.0.1:{port}",
        "GUILDHALL_PUBLIC_URL": PUBLIC_URL,
        "GUILDHALL_GRAPHQL_PAGE_MAX": str(PAGE_MAX),
        "GUILDHALL_DATABASE_KEPT_CONNECTIONS": str(CONNECTIONS),
        "GUILDHALL_LOG_LEVEL": "WARNING",  # no side writes a line for each request
    }
    (seeded.folder / "api").mkdir(exist_ok=True)
    command = python("-m", "guildhall", "api", "--processes", str(processes))
    async with running(command, port, environment=environment, log=OUT / "ours.log") as process:
        headers = {"authorization": f"Bearer {seeded.token}"}
        yield Side("ours", port, process, headers, PAGE, same)


@asynccontextmanager
async def limit_side(seeded: Seeded, processes: int = 1) -> AsyncIterator[Side]:
    """One hand-written statement for each question."""
    port = free_port()
    environment = {
        "LIMIT_DATABASE_URL": seeded.database_url,
        "LIMIT_KEY_FILE": str(seeded.secret_key_file),
        "LIMIT_PUBLIC_URL": PUBLIC_URL,
        "LIMIT_TEAMS": ",".join(map(str, seeded.team_ids)),
        "LIMIT_VIEWER": str(seeded.viewer),
    }
    command = _times(processes, "benchmarks.graphql.limit", port)
    async with running(command, port, environment=environment, log=OUT / "limit.log") as process:
        yield Side("limit", port, process, {}, PAGE, same)


@asynccontextmanager
async def strawberry_side(seeded: Seeded, processes: int = 1) -> AsyncIterator[Side]:
    """Strawberry with dataloaders."""
    port = free_port()
    environment = {"PEER_DATABASE_URL": seeded.database_url, "PEER_TEAMS": ",".join(map(str, seeded.team_ids))}
    command = _times(processes, "benchmarks.graphql.strawberry_peer", port)
    async with running(command, port, environment=environment, log=OUT / "strawberry.log") as process:
        yield Side("strawberry", port, process, {}, PAGE, in_our_words)


@asynccontextmanager
async def postgraphile_side(seeded: Seeded, processes: int = 1) -> AsyncIterator[Side]:
    """PostGraphile 5 in Node, on views; raises NotHere where it cannot be had."""
    node = await installed_postgraphile()
    connection = await seeded.server.connect(database=DATABASE)
    try:
        teams = ",".join(map(str, seeded.team_ids))
        await connection.execute((POSTGRAPHILE / "views.sql").read_text("utf-8").replace("{teams}", f"{{{teams}}}"))
    finally:
        await connection.close()
    port, url = free_port(), make_url(seeded.database_url)
    environment = {
        "PEER_HOST": str(url.query["host"]),
        "PEER_USER": str(url.username),
        "PEER_PASSWORD": str(url.password),
        "PEER_DATABASE": str(url.database),
        "PEER_PORT": str(port),
        "PEER_PROCESSES": str(processes),
        "PEER_CONNECTIONS": str(CONNECTIONS // processes),
        "GRAPHILE_ENV": "production",
        "NODE_ENV": "production",
    }
    command = [str(node), str(POSTGRAPHILE / "server.mjs")]
    async with running(command, port, environment=environment, log=OUT / "postgraphile.log") as process:
        yield Side("postgraphile", port, process, {}, POSTGRAPHILE_PAGE, in_our_words)


@asynccontextmanager
async def opened_sides(seeded: Seeded, processes: int = 1) -> AsyncIterator[tuple[dict[str, Side], list[str]]]:
    """All that can be had here, by name, each in so many processes, and a sentence for each that cannot."""
    sides, missing = [], []
    async with AsyncExitStack() as stack:
        for open_side in (our_side, limit_side, strawberry_side, postgraphile_side):
            try:
                sides.append(await stack.enter_async_context(open_side(seeded, processes)))
            except NotHere as reason:
                missing.append(str(reason))
        yield {side.name: side for side in sides}, missing
