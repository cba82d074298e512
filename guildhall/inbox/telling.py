"""Telling people: the event, who is told, and what is to leave the house, all in the transaction of the cause."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, DateTime, Uuid, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import User
from guildhall.clock import IdSource
from guildhall.inbox.following import inbox_changed
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.tables import InboxEvent, Notification
from guildhall.outbox.outbox import enqueue_all

TOPIC = "inbox.event"
"""Of the outbox: a row with the event's id for each event, so that what leaves the house starts after the commit."""

RECIPIENTS_MAX = 1_000
"""People who are told of one event; more are left out, and the log says so."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Telling:
    """One event to be told; `facts` as `guildhall.inbox.wording` reads them. Without recipients it only leaves."""

    kind: EventKind
    subject: ResourceRef
    team_id: UUID | None
    recipients: Collection[UUID]
    facts: Mapping[str, Any]


async def tell(
    session: AsyncSession,
    kind: EventKind,
    *,
    subject: ResourceRef,
    team_id: UUID | None,
    recipients: Collection[UUID],
    facts: Mapping[str, Any],
    at: datetime,
    new_id: IdSource,
) -> None:
    """Tell these people of the event, if nobody has told it yet; who has left is not told."""
    telling = Telling(kind=kind, subject=subject, team_id=team_id, recipients=recipients, facts=facts)
    await tell_all(session, [telling], at=at, new_id=new_id)


async def tell_all(session: AsyncSession, tellings: Sequence[Telling], *, at: datetime, new_id: IdSource) -> int:
    """As `tell`, for many events in a fixed number of statements; how many of them were new.

    An event that another transaction is telling is waited for: it is told by one of the two.
    """
    if not tellings:
        return 0
    given = {new_id(): telling for telling in tellings}
    rows = [
        {
            "id": event_id,
            "kind": telling.kind.value,
            "subject_type": telling.subject.type,
            "subject_id": telling.subject.id,
            "team_id": telling.team_id,
            "facts": dict(telling.facts),
            "occurred_at": at,
        }
        for event_id, telling in given.items()
    ]
    # In the order of their keys, so that two who tell the same events wait for each other in one direction.
    rows.sort(key=lambda row: (row["subject_id"], row["kind"]))
    statement = insert(InboxEvent).on_conflict_do_nothing(index_elements=["subject_id", "kind"])
    new = set(await session.scalars(statement.returning(InboxEvent.id), rows))
    pairs = [(event_id, person) for event_id in given if event_id in new for person in _told(given[event_id])]
    await _notify(session, pairs, at=at, new_id=new_id)
    events = [{"id": str(event_id)} for event_id in given if event_id in new]
    await enqueue_all(session, TOPIC, events, at=at, new_id=new_id)
    return len(new)


def _told(telling: Telling) -> list[UUID]:
    people = sorted(set(telling.recipients))
    if len(people) > RECIPIENTS_MAX:
        logger.warning("%s of %s: %s people are too many.", telling.kind, telling.subject.id, len(people))
    return people[:RECIPIENTS_MAX]


async def _notify(session: AsyncSession, pairs: Sequence[tuple[UUID, UUID]], *, at: datetime, new_id: IdSource) -> None:
    if not pairs:
        return
    ids = ARRAY(Uuid)
    unnested = func.unnest(
        literal([new_id() for _ in pairs], ids),
        literal([event_id for event_id, _ in pairs], ids),
        literal([person for _, person in pairs], ids),
    )
    told = unnested.table_valued("id", "event_id", "user_id", name="told").render_derived()
    people = (
        select(told.c.id, told.c.event_id, told.c.user_id, literal(at, DateTime(timezone=True)))
        .join(User, User.id == told.c.user_id)
        .where(User.deactivated_at.is_(None))
        .order_by(told.c.user_id)
    )
    await session.execute(insert(Notification).from_select(["id", "event_id", "user_id", "created_at"], people))
    for person in {person for _, person in pairs}:
        inbox_changed(session, person)
