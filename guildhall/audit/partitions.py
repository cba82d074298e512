"""The months that the audit record has partitions of their own for."""

import re
from datetime import UTC, datetime

from sqlalchemy import text

from guildhall.db.transaction import ReadSession

_PARTITIONS = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_events'::regclass")
_MONTH = re.compile(r"audit_events_(\d{4})_(\d{2})")


async def month_beginnings(session: ReadSession) -> list[datetime]:
    """When they begin, the oldest first."""
    names = [_MONTH.fullmatch(name) for name in await session.scalars(_PARTITIONS)]
    return sorted(datetime(int(name[1]), int(name[2]), 1, tzinfo=UTC) for name in names if name is not None)


def month_after(begins_at: datetime) -> datetime:
    """When the month ends that begins then."""
    return begins_at.replace(year=begins_at.year + begins_at.month // 12, month=begins_at.month % 12 + 1)
