"""One's own inbox: what is unread, and marking notifications as read or unread again."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, and_, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.among import among
from guildhall.errors import InvalidInput, LimitExceeded, Problem
from guildhall.inbox.kinds import NEEDED
from guildhall.inbox.tables import InboxEvent, Notification

MARK = "guildhall:notification:mark"
NOTIFICATIONS_MAX = 100
"""Notifications that are named in one call; all up to a moment may be more."""


class TooManyNotifications(LimitExceeded):
    """More than one call names."""

    code = "TOO_MANY_NOTIFICATIONS"


def visible_notifications(actor: Actor) -> ColumnElement[bool]:
    """One's own, and by a token that is limited to roles those of what these may read; who is no person has none."""
    own = Notification.user_id == actor.id
    kinds = [kind.value for kind, permission in NEEDED.items() if actor.shows_token_for(permission)]
    if len(kinds) == len(NEEDED):
        return own
    told = aliased(InboxEvent)  # a statement may read events itself
    return and_(own, exists().where(told.id == Notification.event_id, told.kind.in_(kinds)))


async def count_unread(session: AsyncSession, actor: Actor) -> int:
    """How many notifications of those that are visible are not read."""
    statement = select(func.count()).where(visible_notifications(actor), Notification.read_at.is_(None))
    return (await session.scalars(statement.select_from(Notification))).one()


async def mark_read(
    session: AsyncSession,
    actor: Actor,
    *,
    ids: Sequence[UUID] | None,
    up_to: datetime | None,
    at: datetime,
    new_id: IdSource,
) -> int:
    """Mark those, or all that were told up to a moment, and return how many had not been read.

    Raises InvalidInput unless it is one of the two, and about ids that are none of the actor's.
    """
    require(actor, MARK, team_id=None)
    if (ids is None) == (up_to is None):
        raise InvalidInput([Problem("ONE_OF_TWO", "Name notifications by ids, or say up to when; one of the two.")])
    which = Notification.created_at <= up_to if ids is None else await _own(session, actor, ids)
    said: dict[str, object] = {} if up_to is None else {"upTo": up_to}
    return await _mark(session, actor, which, at, said, at=at, new_id=new_id)


async def mark_unread(
    session: AsyncSession, actor: Actor, *, ids: Sequence[UUID], at: datetime, new_id: IdSource
) -> int:
    """Take that back, and return how many had been read; raises InvalidInput about ids that are none of the actor's."""
    require(actor, MARK, team_id=None)
    return await _mark(session, actor, await _own(session, actor, ids), None, {}, at=at, new_id=new_id)


async def _own(session: AsyncSession, actor: Actor, ids: Sequence[UUID]) -> ColumnElement[bool]:
    if len(ids) > NOTIFICATIONS_MAX:
        raise TooManyNotifications(f"{len(ids)} are more than the {NOTIFICATIONS_MAX} notifications of one call.")
    own = select(Notification.id).where(among(Notification.id, ids), visible_notifications(actor))
    found = set(await session.scalars(own))
    problems = [
        Problem("NOT_FOUND", "There is no such notification of yours.", f"ids[{number}]")
        for number, each in enumerate(ids)
        if each not in found
    ]
    if problems:
        raise InvalidInput(problems)
    return among(Notification.id, ids)


async def _mark(
    session: AsyncSession,
    actor: Actor,
    which: ColumnElement[bool],
    read_at: datetime | None,
    said: dict[str, object],
    *,
    at: datetime,
    new_id: IdSource,
) -> int:
    """Change what is not so yet, and record it where there was something to change."""
    other = Notification.read_at.is_(None) if read_at is not None else Notification.read_at.is_not(None)
    statement = (
        update(Notification)
        .where(visible_notifications(actor), which, other)
        .values(read_at=read_at)
        .returning(Notification.id)
        .execution_options(synchronize_session=False)
    )
    marked = sorted(await session.scalars(statement))
    if marked:
        await record(
            session,
            actor,
            action=MARK,
            resources=[ResourceRef("Notification", each) for each in marked[:NOTIFICATIONS_MAX]],
            after={**said, "read": read_at is not None, "notifications": len(marked)},
            at=at,
            new_id=new_id,
        )
    return len(marked)
