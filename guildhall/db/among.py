"""Membership in a list of ids, as one array: however many they are it is one statement, prepared once."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, literal
from sqlalchemy.orm import InstrumentedAttribute


def among(
    column: InstrumentedAttribute[UUID] | InstrumentedAttribute[UUID | None] | ColumnElement[UUID], ids: Iterable[UUID]
) -> ColumnElement[bool]:
    """What `column.in_(ids)` says, whose text differs with each number of ids."""
    return column == any_(literal(list(ids), ARRAY(Uuid)))
