"""Forgetting: what was read long ago leaves, what nobody reads later, and events that are in no inbox any more."""

from datetime import datetime, timedelta

from sqlalchemy import exists, select

from guildhall.db.forgetting import delete_some
from guildhall.db.transaction import Database
from guildhall.inbox.tables import InboxEvent, Notification

FORGETTING_LOCK = 0x696E626F78  # "inbox"; any number that nothing else of ours locks
UNREAD_KEPT = timedelta(days=400)
"""How long what is unread stays, or as long as what was read where that is longer: people are away, not for ever."""


async def forget_notifications(database: Database, *, read_kept: timedelta, at: datetime) -> int:
    """Delete notifications that were read, or told and never read, so long ago, and events left alone; how many rows.

    Where another is at it, it is left to them.
    """
    read_before, told_before = at - read_kept, at - max(read_kept, UNREAD_KEPT)
    old = select(Notification.id).where(Notification.read_at < read_before).order_by(Notification.read_at)
    unread = (
        select(Notification.id)
        .join(InboxEvent, InboxEvent.id == Notification.event_id)
        .where(InboxEvent.occurred_at < told_before, Notification.read_at.is_(None))
        .order_by(InboxEvent.occurred_at)
    )
    held = exists().where(Notification.event_id == InboxEvent.id)
    unheld = select(InboxEvent.id).where(InboxEvent.occurred_at < read_before, ~held).order_by(InboxEvent.occurred_at)
    gone = 0
    for table, which in ((Notification, old), (Notification, unread), (InboxEvent, unheld)):
        gone += await delete_some(database, table, which, lock=FORGETTING_LOCK)
    return gone
