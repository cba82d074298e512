"""Enqueueing a notice in the transaction of its cause, to be sent now or when its time has come."""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.outbox.outbox import enqueue

TOPIC = "registry.notice"
WARNED_BEFORE = timedelta(days=7)
"""Before the end of a grant; of a shorter one, half of its time."""


class NoticeKind(StrEnum):
    """What a notice is about."""

    ACCESS_ENDS = "ACCESS_ENDS"
    ACCESS_ALERT = "ACCESS_ALERT"


async def notify(
    session: WriteSession,
    kind: NoticeKind,
    key: UUID,
    *,
    at: datetime,
    due_at: datetime | None = None,
    new_id: IdSource,
) -> None:
    """One notice about the grant or the alert with this id."""
    payload = {"kind": kind.value, "id": str(key)}
    await enqueue(session, TOPIC, payload, at=at, available_at=due_at, new_id=new_id)


def warned_at(valid_from: datetime, valid_to: datetime) -> datetime:
    """When the end of a grant is told."""
    return valid_to - min(WARNED_BEFORE, (valid_to - valid_from) / 2)
