"""Runs as a process of its own in test_embedded: holds the embedded server in a folder until it is killed."""

import asyncio
import sys
from pathlib import Path

from guildhall.db.embedded import EmbeddedServer
from guildhall.errors import GuildhallError


async def hold(folder: Path) -> None:
    try:
        async with EmbeddedServer(folder) as server:
            sys.stdout.write(f"{server.pid}\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.readline)
    except GuildhallError as error:
        sys.exit(error.message)


if __name__ == "__main__":
    asyncio.run(hold(Path(sys.argv[1])))
