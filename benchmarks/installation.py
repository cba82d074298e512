"""An installation of its own for a benchmark: a durable PostgreSQL, an API in a process, and a house with people."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from guildhall.db.embedded import EmbeddedServer
from guildhall.db.migrating import load_tables, migrate
from tests.e2e.faults.conftest import make_house
from tests.e2e.faults.house import House
from tests.e2e.faults.processes import running

PART_BYTES = 8 << 20
"""The parts that files are uploaded in."""


@dataclass(frozen=True)
class Installation:
    """What a benchmark works with; all of it is gone with its folder at the end."""

    folder: Path
    server: EmbeddedServer
    house: House
    api_pid: int


@asynccontextmanager
async def installed(name: str) -> AsyncIterator[Installation]:
    """In a temporary folder that says which benchmark it is of."""
    load_tables()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"guildhall-bench-{name}-")))
        async with EmbeddedServer(folder / "postgres") as server:
            await migrate(server.owner_url)
            addresses = {
                "GUILDHALL_DATABASE_URL": server.service_url,
                "GUILDHALL_MIGRATION_DATABASE_URL": server.owner_url,
                "GUILDHALL_UPLOAD_PART_BYTES": str(PART_BYTES),
            }
            (folder / "site").mkdir()
            with ExitStack() as processes:
                house = await asyncio.to_thread(make_house, folder / "site", addresses, processes)
                api = processes.enter_context(running(house.site, "api"))
                await asyncio.to_thread(house.furnish)
                yield Installation(folder, server, house, api.pid)
