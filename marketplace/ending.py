"""Allocations that are about to expire: told once, while something is left and can still be spent."""

from datetime import datetime

from sqlalchemy import select

from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import Team
from guildhall.clock import IdSource
from guildhall.credits import format_credits
from guildhall.db.transaction import WriteSession
from guildhall.inbox.ending import ends_soon, is_told
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.recipients import people_who_may
from guildhall.inbox.telling import tell
from marketplace.tables import Allocation, Balance, Programme

ALLOCATIONS_MAX = 100
"""Allocations of one round; the others follow in the next."""

TOLD = ("marketplace:credits:spend", "marketplace:credits:allocate")
"""Who may still do something about it."""


async def tell_ending_allocations(session: WriteSession, *, at: datetime, new_id: IdSource) -> int:
    """Tell of allocations that end soon with something left, and return how many; safe beside others who do the same.

    What is held may come back before the end: then it is told of in a later round.
    """
    statement = (
        select(Allocation, Balance.remaining, Team.name, Programme.name)
        .join(Balance, Balance.account_id == Allocation.id)
        .join(Team, Team.id == Allocation.team_id)
        .join(Programme, Programme.id == Allocation.programme_id)
        .where(ends_soon(Allocation.valid_from, Allocation.valid_to, at))
        .where(Balance.remaining > 0, ~is_told(EventKind.ALLOCATION_ENDS, Allocation.id))
        .order_by(Allocation.valid_to, Allocation.id)
        .limit(ALLOCATIONS_MAX)
    )
    rows = (await session.execute(statement)).all()
    for allocation, remaining, team, programme in rows:
        people = [await people_who_may(session, each, team_id=allocation.team_id, at=at) for each in TOLD]
        await tell(
            session,
            EventKind.ALLOCATION_ENDS,
            subject=ResourceRef("Allocation", allocation.id),
            team_id=allocation.team_id,
            recipients=set().union(*people),
            facts={
                "team": team,
                "programme": programme,
                "remaining": format_credits(remaining),
                "validTo": allocation.valid_to.isoformat(),
            },
            at=at,
            new_id=new_id,
        )
    return len(rows)
