"""Reads of closed records go on the audit record: one event for a request and permission, before the answer leaves.

A type says with `recorded` which of its rows are such records. What an answer holds of them is noted while it is
loaded; where the event cannot be written, there is no answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, case, null
from sqlalchemy.dialects.postgresql import array

from guildhall.audit.record import add_events, compose_event
from guildhall.audit.writing import insertion_of, secret_of
from guildhall.auth.resources import ResourceRef
from guildhall.db.kept_statements import KeptTransaction
from guildhall.graphql.context import Context
from guildhall.graphql.sources import Expression


@dataclass(frozen=True)
class Recorded:
    """Rows of which each read is recorded: those where `when` holds, under these types with these keys.

    The first pair is the row itself; a version names its whole as well, so that a search for the whole finds the read.
    """

    when: ColumnElement[bool]
    resources: Sequence[tuple[str, Expression]]

    @cached_property
    def operand(self) -> ColumnElement[Any]:
        """The keys of the resources, or NULL where the read is not recorded; always the same expression."""
        keys: array[Any] = array([key for _, key in self.resources], type_=Uuid(as_uuid=True))
        return case((self.when, keys), else_=null())


class Reads:
    """What one request has read so far that is to be recorded, by permission."""

    def __init__(self) -> None:
        self._found: dict[str, dict[ResourceRef, None]] = {}

    def note(self, permission: str, recorded: Recorded, keys: Sequence[UUID] | None) -> None:
        """One row was loaded; `keys` is the value of the operand."""
        if keys is not None:
            found = self._found.setdefault(permission, {})
            found.update(
                (ResourceRef(name, key), None) for (name, _), key in zip(recorded.resources, keys, strict=True)
            )

    @property
    def found_any(self) -> bool:
        """Whether there is anything to be recorded."""
        return bool(self._found)

    async def write(self, context: Context) -> None:
        """Write the events in a transaction of their own; nothing where nothing was noted."""
        if self._found:
            async with context.database.transaction() as session:
                await add_events(session, self._taken(context))

    async def write_in(self, transaction: KeptTransaction, context: Context) -> None:
        """Write the events in the transaction that read what they tell of."""
        if self._found:
            await transaction.fetch(*insertion_of(self._taken(context), secret_of(context.database.session_info)))

    def _taken(self, context: Context) -> list[dict[str, Any]]:
        """What was noted, as events, and noted no more."""
        found, self._found = self._found, {}
        return [
            compose_event(
                context.actor, action=permission, resources=list(resources), at=context.at, new_id=context.new_id
            )
            for permission, resources in sorted(found.items())
        ]
