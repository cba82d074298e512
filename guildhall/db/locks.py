"""The one way to lock rows: in id order, so that two callers who want the same rows never wait in a circle."""

from collections.abc import Iterable, Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.db.among import among
from guildhall.db.base import Base

Row = TypeVar("Row", bound=Base)

LOCKED_ROWS_MAX = 10_000


async def lock_rows(session: AsyncSession, table: type[Row], ids: Iterable[UUID]) -> Sequence[Row]:
    """Lock the rows with these ids until the transaction ends, and return them fresh, in id order.

    FOR NO KEY UPDATE, so that inserts that reference a row need not wait. Ids without a row are left out of the answer;
    the caller decides what that means. What is to be locked together is locked in one call.
    """
    wanted = sorted(set(ids))
    assert len(wanted) <= LOCKED_ROWS_MAX, f"more than {LOCKED_ROWS_MAX} rows in one lock"
    if not wanted:
        return []
    key = table.__table__.c.id
    statement = (
        select(table)
        .where(among(key, wanted))
        .order_by(key)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(statement)).all()
