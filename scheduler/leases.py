"""Leases on rows: whoever holds the token works without a session, and applies only where the token still matches."""

from typing import TypeVar
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from scheduler.clusters.tables import Cluster
from scheduler.context import SchedulerContext
from scheduler.jobs.tables import Attempt

Leased = TypeVar("Leased", Cluster, Attempt)


async def take_lease(context: SchedulerContext, table: type[Leased], row_id: UUID) -> UUID | None:
    """The token of a new lease, or None while somebody else holds the row."""
    token = context.new_id()
    at = context.clock.now()
    async with context.database.transaction() as session:
        taken = await session.scalar(
            update(table)
            .where(table.id == row_id)
            .where(table.lease_expires_at.is_(None) | (table.lease_expires_at <= at))
            .values(lease_owner=context.owner, lease_token=token, lease_expires_at=context.lease_until())
            .returning(table.id)
            .execution_options(synchronize_session=False)
        )
    return None if taken is None else token


async def holds_lease(session: AsyncSession, table: type[Leased], row_id: UUID, token: UUID) -> bool:
    """Whether the token still counts; if so nobody can take the row over until this transaction ends."""
    statement = select(table.id).where(table.id == row_id, table.lease_token == token).with_for_update(read=True)
    return await session.scalar(statement) is not None


async def return_lease(session: AsyncSession, table: type[Leased], row_id: UUID, token: UUID, **values: object) -> bool:
    """Give the row back, with what was found out, if the token still matches."""
    returned = await session.scalar(
        update(table)
        .where(table.id == row_id, table.lease_token == token)
        .values(lease_owner=None, lease_token=None, lease_expires_at=None, **values)
        .returning(table.id)
        .execution_options(synchronize_session=False)
    )
    return returned is not None
