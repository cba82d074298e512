"""Cleaning up what was begun and never ended, or is kept for a time only.

Intents of reads without an outcome, uploads that nobody finished, deliveries that ended long ago.
"""

import logging
from datetime import timedelta

from guildhall.audit.outcomes import abort_stale_intents
from guildhall.inbox.deliveries import sweep_deliveries
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
    """One round of each; safe beside other workers, and worth nothing if it is late."""
    at = context.clock.now()
    async with context.database.transaction() as session:
        aborted = await abort_stale_intents(session, older_than=at - INTENT_STALE_AFTER, at=at, new_id=context.new_id)
    kept = timedelta(days=context.settings.deliveries_kept_days)
    async with context.database.transaction() as session:
        deliveries = await sweep_deliveries(session, kept=kept, at=at)
    swept = await sweep_uploads(context.database, store, at=at)
    narrowed = await sweep_filtered(context.database, store, at=at)
    if aborted or deliveries or narrowed or swept.parts or swept.orphans or swept.staged:
        logger.info(
            "Swept %s stale intents, %s parts, %s orphans, %s narrowed files, %s deliveries.",
            aborted, swept.parts, swept.orphans, narrowed, deliveries,
        )  # fmt: skip
