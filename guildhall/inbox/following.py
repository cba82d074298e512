"""Following one's own inbox: what was told since a place, each once, also what commits late.

The moment of a notification is that of its cause, which may commit after another with a later moment. So a place says
which were seen of the last minute, rather than only the last one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Uuid, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.actor import Actor
from guildhall.db.announcing import announce_change
from guildhall.inbox.reading import visible_notifications
from guildhall.inbox.tables import Notification

TOPIC = "inbox"
LATE_SECONDS_MAX = 60
"""How long a transaction may take that tells somebody; what commits later is in the inbox, and is not followed."""
SEEN_MAX = 24
"""Notifications that a place names; where more are told in a minute it moves on behind them."""
TOLD_MAX = 100
"""Notifications of one look."""
_FIRST = UUID(int=0)

Told = tuple[datetime, UUID]
"""When one was told, and which: the order of the inbox."""


@dataclass(frozen=True)
class Heard:
    """A place in somebody's inbox: all up to `floor` is known, and of what comes after it what is `seen`."""

    floor: Told
    seen: tuple[UUID, ...] = ()

    @property
    def values(self) -> tuple[Any, ...]:
        """As a cursor keeps it."""
        return (*self.floor, *self.seen)

    @classmethod
    def of(cls, values: Sequence[Any]) -> "Heard":
        """The place of a cursor."""
        return cls((values[0], values[1]), tuple(values[2:]))


def inbox_changed(session: AsyncSession, user_id: UUID) -> None:
    """Let followers look, once this transaction has committed."""
    announce_change(session, TOPIC, user_id)


async def begin_hearing(session: AsyncSession, actor: Actor, *, at: datetime) -> Heard:
    """The place at which all that was told is known."""
    floor = (at - timedelta(seconds=LATE_SECONDS_MAX), _FIRST)
    newest = _visible(actor).order_by(Notification.created_at.desc(), Notification.id.desc()).limit(SEEN_MAX + 1)
    rows = [(moment, key) for moment, key in await session.execute(newest)]
    return _settled(floor, sorted(row for row in rows if row > floor), known_before=floor[0])


async def hear(
    session: AsyncSession, actor: Actor, heard: Heard, *, at: datetime
) -> tuple[Sequence[tuple[UUID, Heard]], Heard, bool]:
    """What was told since, in order, each with the place after it; the place after all; whether there is more."""
    after = tuple_(Notification.created_at, Notification.id) > tuple_(
        literal(heard.floor[0]), literal(heard.floor[1], Uuid)
    )
    most = SEEN_MAX + TOLD_MAX
    statement = _visible(actor).where(after).order_by(Notification.created_at, Notification.id).limit(most)
    rows: list[Told] = [(moment, key) for moment, key in await session.execute(statement)]
    known_before = at - timedelta(seconds=LATE_SECONDS_MAX)
    seen = {row for row in rows if row[1] in heard.seen}
    told: list[tuple[UUID, Heard]] = []
    place = heard
    for row in rows:
        if row not in seen:
            seen.add(row)
            place = _settled(heard.floor, sorted(seen), known_before=min(known_before, row[0]))
            told.append((row[1], place))
    more = len(rows) == most
    if not more:
        floor = max(heard.floor, (known_before, _FIRST))
        place = _settled(floor, sorted(row for row in seen if row > floor), known_before=known_before)
    return told, place, more


def _visible(actor: Actor) -> Any:  # noqa: ANN401 -- a statement of two columns
    return select(Notification.created_at, Notification.id).where(visible_notifications(actor))


def _settled(floor: Told, seen: list[Told], *, known_before: datetime) -> Heard:
    """The place that names as few as it can: behind those so old that none comes late before them, or too many."""
    behind = 0
    while behind < len(seen) and (seen[behind][0] < known_before or len(seen) - behind > SEEN_MAX):
        floor = seen[behind]
        behind += 1
    return Heard(floor, tuple(key for _, key in seen[behind:]))
