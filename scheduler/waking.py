"""Telling workers that something has changed; a hint, because they look by themselves as well."""

from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.db.announcing import announce

WAKE_CHANNEL = "guildhall_scheduler"


def wake_workers(session: AsyncSession) -> None:
    """Wake them when this transaction has committed."""
    announce(session, WAKE_CHANNEL)
