"""When people are told that something ends: one rule for whatever has a beginning and an end."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, DateTime, and_, exists, literal
from sqlalchemy.orm import InstrumentedAttribute

from guildhall.inbox.kinds import EventKind
from guildhall.inbox.tables import InboxEvent

WARNED_BEFORE = timedelta(days=7)
"""Before the end; of what lasts less than twice as long, when half of its time is left."""

Moments = InstrumentedAttribute[datetime]


def ends_soon(valid_from: Moments, valid_to: Moments, at: datetime) -> ColumnElement[bool]:
    """Whether it is time to tell of the end, which is still to come."""
    now: ColumnElement[Any] = literal(at, DateTime(timezone=True))
    return and_(valid_to > at, valid_to <= at + WARNED_BEFORE, valid_to - now <= now - valid_from)


def is_told(kind: EventKind, subject_id: InstrumentedAttribute[UUID]) -> ColumnElement[bool]:
    """Whether somebody has told of it already."""
    return exists().where(InboxEvent.subject_id == subject_id, InboxEvent.kind == kind)
