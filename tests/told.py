"""Who was told of what, for tests of every package."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import select

from guildhall.db.transaction import ReadSession
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.tables import InboxEvent, Notification
from guildhall.inbox.wording import worded


async def told(session: ReadSession, people: Mapping[str, UUID]) -> list[tuple[str, list[str]]]:
    """Each event's title, and who has it in their inbox, oldest first."""
    names = {key: name for name, key in people.items()}
    found = []
    for event in (await session.scalars(select(InboxEvent).order_by(InboxEvent.id))).all():
        statement = select(Notification.user_id).where(Notification.event_id == event.id)
        inboxes = sorted(names[person] for person in await session.scalars(statement))
        found.append((worded(EventKind(event.kind), event.facts).title, inboxes))
    return found


async def facts_of(session: ReadSession, kind: EventKind) -> dict[str, Any]:
    """The facts of the one event of that kind."""
    return (await session.scalars(select(InboxEvent.facts).where(InboxEvent.kind == kind))).one()
