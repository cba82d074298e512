"""Telling workers that something has changed; a hint, because they look by themselves as well."""

from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.db.notify import notify

WAKE_CHANNEL = "guildhall_scheduler"


async def wake_workers(session: AsyncSession) -> None:
    """Wake them when this transaction has committed."""
    await notify(session, WAKE_CHANNEL)
