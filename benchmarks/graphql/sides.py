"""Who is compared: each a server on the same database, asked the same question in its own words."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from benchmarks.graphql.questions import PAGE
from benchmarks.graphql.seeding import Seeded
from benchmarks.processes import free_port, python, running
from benchmarks.report import OUT

PAGE_MAX = 1_000


@dataclass(frozen=True)
class Side:
    """A running server; `page` is the document that asks it for a page of models."""

    name: str
    port: int
    process: psutil.Process
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
            answer = (
                await client.post(f"http://127.0.0.1:{self.port}/graphql", content=content, headers=headers)
            ).json()
        assert answer.keys() == {"data"}, f"{self.name}: {str(answer)[:500]}"
        return self.plain(answer["data"])


def same(data: Any) -> Any:
    """An answer in our own words."""
    return data


@asynccontextmanager
async def our_side(seeded: Seeded) -> AsyncIterator[Side]:
    """`python -m guildhall api`, with a token."""
    port = free_port()
    environment = {
        "GUILDHALL_DATABASE_URL": seeded.database_url,
        "GUILDHALL_DATA_DIR": str(seeded.folder / "api"),
        "GUILDHALL_SECRET_KEY_FILE": str(seeded.secret_key_file),
        "GUILDHALL_AUDIT_KEY_FILE": str(seeded.folder / "audit.key"),
        "GUILDHALL_BIND": f"127.0.0.1:{port}",
        "GUILDHALL_GRAPHQL_PAGE_MAX": str(PAGE_MAX),
    }
    (seeded.folder / "api").mkdir(exist_ok=True)
    command = python("-m", "guildhall", "api")
    async with running(command, port, environment=environment, log=OUT / "ours.log") as process:
        headers = {"authorization": f"Bearer {seeded.token}"}
        yield Side("ours", port, process, headers, PAGE, same)


@asynccontextmanager
async def limit_side(seeded: Seeded) -> AsyncIterator[Side]:
    """One hand-written statement for each question."""
    port = free_port()
    environment = {
        "LIMIT_DATABASE_URL": seeded.database_url,
        "LIMIT_KEY_FILE": str(seeded.secret_key_file),
        "LIMIT_TEAMS": ",".join(map(str, seeded.team_ids)),
    }
    command = python("-m", "benchmarks.graphql.limit", str(port))
    async with running(command, port, environment=environment, log=OUT / "limit.log") as process:
        yield Side("limit", port, process, {}, PAGE, same)


@asynccontextmanager
async def opened_sides(seeded: Seeded) -> AsyncIterator[dict[str, Side]]:
    """All that can be had here, by name."""
    async with AsyncExitStack() as stack:
        sides = [await stack.enter_async_context(open_side(seeded)) for open_side in (our_side, limit_side)]
        yield {side.name: side for side in sides}
