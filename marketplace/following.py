"""Telling who follows a wallet that it has changed; every function that moves a team's credits does.

Not the ledger itself: most of its operations know a hold or an allocation, not whose it is.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.db.announcing import announce_change
from marketplace.tables import Allocation, Balance

TOPIC = "wallet"


class WalletState(NamedTuple):
    """What tells one state of a wallet from the next: how often its balances changed, and what time made of them."""

    version: int
    available: int


def wallet_changed(session: AsyncSession, team_id: UUID) -> None:
    """Let followers look, once this transaction has committed."""
    announce_change(session, TOPIC, team_id)


async def read_wallet_state(session: AsyncSession, team_id: UUID, *, at: datetime) -> WalletState:
    """The state of the team's allocations taken together, at that moment."""
    valid = func.sum(Balance.remaining).filter(Allocation.valid_from <= at, Allocation.valid_to > at)
    statement = (
        select(func.coalesce(func.sum(Balance.version), 0), func.coalesce(valid, 0))
        .join(Allocation, Allocation.id == Balance.account_id)
        .where(Allocation.team_id == team_id)
    )
    version, available = (await session.execute(statement)).one()
    return WalletState(int(version), int(available))
