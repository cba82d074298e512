"""The worker's part that sends notices, beside the cycle: an address that does not answer keeps no job waiting."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from registry.notices.sending import AT_ONCE_MAX, send_notices
from scheduler.context import SchedulerContext

LOOKS_EVERY_SECONDS = 5.0

logger = logging.getLogger(__name__)


@asynccontextmanager
async def telling(context: SchedulerContext) -> AsyncIterator[None]:
    """Sends as long as it is entered."""
    task = asyncio.create_task(_tell(context), name="notices")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _tell(context: SchedulerContext) -> None:
    while True:
        taken = 0
        try:
            taken = await send_notices(
                context.database,
                context.settings.notices_url,
                owner=context.owner,
                clock=context.clock,
                new_id=context.new_id,
            )
        except Exception:
            logger.exception("Sending notices failed; it will be tried again.")
        if taken < AT_ONCE_MAX:
            await asyncio.sleep(LOOKS_EVERY_SECONDS)
