"""The scheduler's leases, on clusters and attempts: taken in a transaction of their own, returned in the result's."""

from collections.abc import Sequence
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.db.among import among
from guildhall.db.leases import give_back, held, lease, unleased
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
    # Locked in the order of their ids: two workers that want the same rows never wait in a circle.
    free = select(table.id).where(among(table.id, row_ids), unleased(table, at))
    wanted = table.id.in_(free.order_by(table.id).with_for_update(key_share=True).scalar_subquery())
    taking = lease(table, wanted, owner=context.owner, token=token, until=context.lease_until(), at=at)
    async with context.database.transaction() as session:
        return token, sorted(await session.scalars(taking.returning(table.id)))


async def holds_lease(session: AsyncSession, table: type[Leased], row_id: UUID, token: UUID) -> bool:
    """Whether the token still counts; if so nobody can take the row over until this transaction ends."""
    statement = select(table.id).where(held(table, [row_id], token)).with_for_update(read=True)
    return await session.scalar(statement) is not None


async def return_lease(session: AsyncSession, table: type[Leased], row_id: UUID, token: UUID, **values: object) -> bool:
    """Give the row back, with what was found out, if the token still matches."""
    return bool(await return_leases(session, table, [row_id], token, **values))


async def return_leases(
    session: AsyncSession, table: type[Leased], row_ids: Sequence[UUID], token: UUID, **values: object
) -> Sequence[UUID]:
    """As `return_lease`, for many rows under one token: those that it still matched."""
    returned = give_back(table, row_ids, token, **values).returning(table.id)
    return (await session.scalars(returned)).all()
