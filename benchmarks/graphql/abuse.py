"""`make bench-abuse`: what a request that asks for trouble costs here, and at a Strawberry server as it comes.

Both are asked in this process, over ASGI, so that the CPU time is the server's and nothing else's.
"""

import asyncio
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import strawberry
from litestar import Litestar
from strawberry.litestar import make_graphql_controller
from strawberry.scalars import JSON

from benchmarks.graphql.unseen import unseen
from benchmarks.report import Figure, at_most, report
from guildhall.app import create_app
from guildhall.clock import SystemClock
from guildhall.db.transaction import connect_database
from guildhall.settings import Settings
from tests.guildhall.http.abuse import Abuse, corpus

WANTED_MILLISECONDS = 5.0
TRIES = 5
HEADERS = {"content-type": "application/json", "accept": "application/json"}


@strawberry.type
class Query:
    """A type that leads to itself, as every graph does."""

    x: str = "x"
    c: str = "c"

    @strawberry.field
    def a(self, b: JSON | None = None) -> "Query":  # noqa: ARG002 -- part of the question
        """Another one."""
        return Query()


def main() -> None:
    """Print the figures; a refusal that costs too much exits 1."""
    logging.disable(logging.CRITICAL)  # the peer tells every refusal as an error
    raise SystemExit(0 if asyncio.run(_measure()) else 1)


async def _measure() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        # A stranger's request is refused without the database: what a known caller's costs more is their identity.
        nowhere = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"
        settings = Settings(data_dir=Path(folder), database_url=nowhere)
        database = connect_database(nowhere)
        ours: Any = create_app(settings, database, SystemClock())
        controller = make_graphql_controller(strawberry.Schema(Query), path="/graphql")
        figures = [
            await _figure(abuse, ours, Litestar([controller])) for abuse in corpus() if abuse.code != "QUERY_TOO_COSTLY"
        ]
        await database.close()
    figures += unseen()
    notes = [
        "CPU milliseconds of one request, the least of several; less is better, what is refused must stay below 5.",
        "Never seen: from the text to the SQL; beside it graphql-core's parsing and validation of the same document.",
    ]
    return report("abuse", figures, notes=notes)


async def _figure(abuse: Abuse, ours: Any, theirs: Any) -> Figure:
    own, peer = await _milliseconds(ours, abuse), await _milliseconds(theirs, abuse)
    compared = at_most(abuse.name, own, peer)
    return Figure(abuse.name, own, peer, compared.ratio, WANTED_MILLISECONDS, own < WANTED_MILLISECONDS)


async def _milliseconds(app: Any, abuse: Abuse) -> float:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    found = []
    async with httpx.AsyncClient(transport=transport, base_url="http://measured.example", timeout=60) as client:
        for _ in range(TRIES):
            request = client.build_request("POST", "/graphql", content=abuse.body, headers=HEADERS)
            began = time.process_time()
            await client.send(request)
            found.append((time.process_time() - began) * 1000)
    return min(found)


if __name__ == "__main__":
    main()
