"""The worker's parts beside the cycle: telling what time alone brings, and sending what is to leave the house."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from guildhall.inbox.dispatching import dispatching
from guildhall.inbox.retention import forget_notifications
from marketplace.ending import tell_ending_allocations
from registry.access.ending import tell_ending_access
from scheduler.context import SchedulerContext

LOOKS_EVERY_SECONDS = 60.0
FORGETS_EVERY = timedelta(hours=1)

logger = logging.getLogger(__name__)


@asynccontextmanager
async def telling(context: SchedulerContext) -> AsyncIterator[None]:
    """Looks and sends as long as it is entered."""
    task = asyncio.create_task(_look_often(context), name="telling")
    sending = dispatching(
        database=context.database, settings=context.settings, clock=context.clock, new_id=context.new_id,
        owner=context.owner,
    )  # fmt: skip
    try:
        async with sending:
            yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def look(context: SchedulerContext) -> None:
    """One round; safe beside other workers."""
    at, new_id = context.clock.now(), context.new_id
    async with context.database.transaction() as session:
        await tell_ending_access(session, at=at, new_id=new_id)
    async with context.database.transaction() as session:
        await tell_ending_allocations(session, at=at, new_id=new_id)


async def forget(context: SchedulerContext) -> None:
    """What was told long ago leaves; safe beside other workers."""
    days = timedelta(days=context.settings.notifications_days)
    await forget_notifications(context.database, read_kept=days, at=context.clock.now())


async def _look_often(context: SchedulerContext) -> None:
    forgot_at = None
    while True:
        try:
            await look(context)
            if forgot_at is None or context.clock.now() >= forgot_at + FORGETS_EVERY:
                forgot_at = context.clock.now()  # it walks all that is old, so no failure makes it come sooner
                await forget(context)
        except Exception:
            logger.exception("Telling what ends soon failed; it will be tried again.")
        await asyncio.sleep(LOOKS_EVERY_SECONDS)
