"""The finance view: what became of every allocation, summed up from its transfers and compared with its balance."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from marketplace.views import allocation_figures, postings


@dataclass(frozen=True)
class AllocationFigures:
    """`allocated + received = captured + held + expired + returned + sent + remaining`, in micro-credits.

    `balances` says that this holds, and that the balance row says the same in every figure.
    """

    allocation_id: UUID
    team_id: UUID
    programme_id: UUID
    period_id: UUID | None
    valid_from: datetime
    valid_to: datetime
    allocated: int
    received: int
    captured: int
    held: int
    expired: int
    returned: int
    sent: int
    remaining: int
    balances: bool


@dataclass(frozen=True)
class LedgerCheck:
    """Whether the whole ledger balances: postings sum up to zero, and so does every allocation's identity."""

    postings_sum: int
    transfers: int
    allocations: int
    allocations_wrong: int

    @property
    def balances(self) -> bool:
        """Nothing is wrong."""
        return self.postings_sum == 0 and self.allocations_wrong == 0


async def figures_of_allocations(session: AsyncSession) -> Sequence[AllocationFigures]:
    """Every allocation of the organisation, in the order of their ids."""
    rows = await session.execute(select(allocation_figures).order_by(allocation_figures.c.allocation_id))
    return [AllocationFigures(*row) for row in rows]


async def check_ledger(session: AsyncSession) -> LedgerCheck:
    """Sum up the whole ledger, in one statement and so at one moment."""
    posted = select(
        func.coalesce(func.sum(postings.c.credits), 0).label("total"),
        func.count(postings.c.transfer_id.distinct()).label("transfers"),
    ).subquery()
    wrong = (
        select(
            func.count().label("allocations"),
            func.count().filter(allocation_figures.c.balances.is_not(True)).label("wrong"),
        )
        .select_from(allocation_figures)
        .subquery()
    )
    row = (await session.execute(select(posted, wrong).join(wrong, true()))).one()
    return LedgerCheck(int(row.total), row.transfers, row.allocations, row.wrong)
