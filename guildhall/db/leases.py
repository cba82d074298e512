"""Leases on rows: whoever holds the token works without a session, and applies only where the token still matches.

A lease that is over still counts until another takes the row. The functions make the parts of statements; which rows,
in what order they are locked, and what else changes is their callers' to say.
"""

from collections.abc import Iterable
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from sqlalchemy import ColumnElement, Update, and_, or_, update
from sqlalchemy.orm import Mapped

from guildhall.db.among import among
from guildhall.db.base import Id

RETURNED: MappingProxyType[str, None] = MappingProxyType(
    {"lease_owner": None, "lease_token": None, "lease_expires_at": None}
)
"""What a row says that nobody holds."""


class Leasable:
    """The columns of a table whose rows one worker at a time takes; all three are there, or none."""

    id: Mapped[Id]
    lease_owner: Mapped[str | None]
    lease_token: Mapped[UUID | None]
    lease_expires_at: Mapped[datetime | None]


def unleased(table: type[Leasable], at: datetime) -> ColumnElement[bool]:
    """Nobody holds it, or not any more."""
    return or_(table.lease_expires_at.is_(None), table.lease_expires_at <= at)


def lease(
    table: type[Leasable], which: ColumnElement[bool], *, owner: str, token: UUID, until: datetime, at: datetime
) -> Update:
    """Lease those rows; who took one meanwhile keeps it."""
    return (
        update(table)
        .where(which, unleased(table, at))
        .values(lease_owner=owner, lease_token=token, lease_expires_at=until)
        .execution_options(synchronize_session=False)
    )


def held(table: type[Leasable], ids: Iterable[UUID], token: UUID) -> ColumnElement[bool]:
    """Those of the rows on which the token still counts."""
    return and_(among(table.id, ids), table.lease_token == token)


def give_back(table: type[Leasable], ids: Iterable[UUID], token: UUID, **values: object) -> Update:
    """Give those rows back on which the token still counts, with what was found out."""
    return (
        update(table)
        .where(held(table, ids, token))
        .values(**values, **RETURNED)
        .execution_options(synchronize_session=False)
    )
