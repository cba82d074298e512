"""Parts that run side by side until the process is told to stop, and go down together."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from guildhall.errors import Unavailable

SHUTDOWN_SECONDS_MAX = 20

logger = logging.getLogger(__name__)


class PartEnded(Unavailable):
    """A part that should stay until it is told to stop has ended by itself; the others are stopped as well."""

    code = "PART_ENDED"


@asynccontextmanager
async def told_to_stop() -> AsyncIterator[asyncio.Event]:
    """An event that the first SIGTERM or SIGINT sets; a second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell(sign: signal.Signals) -> None:
        stop.set()
        loop.remove_signal_handler(sign)

    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, tell, sign)
    try:
        yield stop
    finally:
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(sign)


async def run_parts(stop: asyncio.Event, parts: dict[str, Coroutine[None, None, None]]) -> None:
    """Run the parts until `stop` is set; one that fails or ends early takes the others down with it."""
    tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
    first, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    early = not stop.is_set()
    stop.set()
    await asyncio.wait(tasks, timeout=SHUTDOWN_SECONDS_MAX)
    for task in tasks:
        if not task.done():
            logger.error("The %s did not stop within %s seconds.", task.get_name(), SHUTDOWN_SECONDS_MAX)
            task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (failure := task.exception()) is not None:
            raise failure
    if early:
        ended = " and the ".join(sorted(task.get_name() for task in first))
        raise PartEnded(f"The {ended} ended without being told to; everything was stopped.")
