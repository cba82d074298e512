"""Cleaning up what was begun and never ended, or is kept for a time only.

Intents of reads without an outcome, uploads that nobody finished, deliveries and effects that ended long ago.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from guildhall.audit.outcomes import abort_stale_intents
from guildhall.inbox.deliveries import sweep_deliveries
from guildhall.outbox.outbox import forget_done
from registry.artifacts.sweeping import delete_stored_parts, sweep_uploads
from registry.minimisation.filtering import sweep_filtered
from registry.storage import ArtifactStore
from scheduler.context import SchedulerContext

INTENT_STALE_AFTER = timedelta(hours=24)
"""Longer than any download may take."""

logger = logging.getLogger(__name__)


async def delete_parts(context: SchedulerContext, store: ArtifactStore) -> None:
    """Delete the bytes of parts whose files are stored; cheap where there are none."""
    await delete_stored_parts(context.database, store, owner=context.owner, clock=context.clock, new_id=context.new_id)


async def sweep(context: SchedulerContext, store: ArtifactStore) -> None:
    """One round of each; safe beside other workers, and worth nothing if it is late.

    What fails is told and comes again with the next round; it keeps none of the others from running.
    """
    sweeps: Mapping[str, Callable[[SchedulerContext, ArtifactStore], Awaitable[str]]] = {
        "stale intents": _sweep_intents,
        "ended deliveries": _sweep_deliveries,
        "done effects": _sweep_outbox,
        "unfinished uploads": _sweep_uploads,
        "narrowed files": _sweep_narrowed,
    }
    for name, sweep_one in sweeps.items():
        try:
            swept = await sweep_one(context, store)
        except Exception:
            logger.exception("The %s were not swept; the next round tries again.", name)
        else:
            if swept:
                logger.info("Swept %s.", swept)


async def _sweep_intents(context: SchedulerContext, _: ArtifactStore) -> str:
    at = context.clock.now()
    async with context.database.transaction() as session:
        aborted = await abort_stale_intents(session, older_than=at - INTENT_STALE_AFTER, at=at, new_id=context.new_id)
    return f"{aborted} stale intents" if aborted else ""


async def _sweep_deliveries(context: SchedulerContext, _: ArtifactStore) -> str:
    kept = timedelta(days=context.settings.deliveries_kept_days)
    async with context.database.transaction() as session:
        deliveries = await sweep_deliveries(session, kept=kept, at=context.clock.now())
    return f"{deliveries} ended deliveries" if deliveries else ""


async def _sweep_outbox(context: SchedulerContext, _: ArtifactStore) -> str:
    done = await forget_done(context.database, at=context.clock.now())
    return f"{done} done effects" if done else ""


async def _sweep_uploads(context: SchedulerContext, store: ArtifactStore) -> str:
    swept = await sweep_uploads(context.database, store, at=context.clock.now())
    found = {"parts": swept.parts, "orphans": swept.orphans, "staged uploads": swept.staged}
    return ", ".join(f"{number} {name}" for name, number in found.items() if number)


async def _sweep_narrowed(context: SchedulerContext, store: ArtifactStore) -> str:
    narrowed = await sweep_filtered(context.database, store, at=context.clock.now())
    return f"{narrowed} narrowed files" if narrowed else ""
