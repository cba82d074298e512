"""Leases on rows: whoever holds the token works without a session, and applies only where the token still matches."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.db.among import among
from scheduler.clusters.tables import Cluster
from scheduler.context import SchedulerContext
from scheduler.jobs.tables import Attempt

Leased = TypeVar("Leased", Cluster, Attempt)


async def take_lease(context: SchedulerContext, table: type[Leased], row_id: UUID) -> UUID | None:
    """The token of a new lease, or None while somebody else holds the row."""
    token, taken = await take_leases(context, table, [row_id])
    return token if taken else None


async def take_leases(
    context: SchedulerContext, table: type[Leased], row_ids: Sequence[UUID]
) -> tuple[UUID, Sequence[UUID]]:
    """One token for many rows, and those of them that nobody else holds."""
    token = context.new_id()
    at = context.clock.now()
    free = table.lease_expires_at.is_(None) | (table.lease_expires_at <= at)
    # Locked in the order of their ids: two workers that want the same rows never wait in a circle.
    wanted = select(table.id).where(among(table.id, row_ids), free).order_by(table.id).with_for_update(key_share=True)
    async with context.database.transaction() as session:
        taken = await session.scalars(
            update(table)
            .where(table.id.in_(wanted.scalar_subquery()), free)
            .values(lease_owner=context.owner, lease_token=token, lease_expires_at=context.lease_until())
            .returning(table.id)
            .execution_options(synchronize_session=False)
        )
        return token, sorted(taken)


async def holds_lease(session: AsyncSession, table: type[Leased], row_id: UUID, token: UUID) -> bool:
    """Whether the token still counts; if so nobody can take the row over until this transaction ends."""
    statement = select(table.id).where(table.id == row_id, table.lease_token == token).with_for_update(read=True)
    return await session.scalar(statement) is not None


async def return_lease(session: AsyncSession, table: type[Leased], row_id: UUID, token: UUID, **values: object) -> bool:
    """Give the row back, with what was found out, if the token still matches."""
    return bool(await return_leases(session, table, [row_id], token, **values))


async def return_leases(
    session: AsyncSession, table: type[Leased], row_ids: Sequence[UUID], token: UUID, **values: object
) -> Sequence[UUID]:
    """As `return_lease`, for many rows under one token: those that it still matched."""
    returned = await session.scalars(
        update(table)
        .where(among(table.id, row_ids), table.lease_token == token)
        .values(lease_owner=None, lease_token=None, lease_expires_at=None, **values)
        .returning(table.id)
        .execution_options(synchronize_session=False)
    )
    return returned.all()
