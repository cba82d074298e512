"""Access that is about to end: told once, in time to renew it."""

from datetime import datetime

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import aliased

from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.inbox.ending import ends_soon, is_told
from guildhall.inbox.kinds import EventKind
from guildhall.inbox.telling import tell
from registry.access.naming import granted_resources
from registry.access.tables import AccessGrant, AccessGrantResource
from registry.access.telling import beneficiary_name, names_of, readers_under

GRANTS_MAX = 100
"""Grants of one round; the others follow in the next."""


async def tell_ending_access(session: WriteSession, *, at: datetime, new_id: IdSource) -> int:
    """Tell of grants that end soon, and return how many; safe beside others who do the same.

    Not told of is what has ended or was withdrawn, and what was renewed: another grant goes on with all of it.
    """
    statement = (
        select(AccessGrant)
        .where(ends_soon(AccessGrant.valid_from, AccessGrant.valid_to, at))
        .where(AccessGrant.withdrawn_at.is_(None), ~is_told(EventKind.ACCESS_ENDS, AccessGrant.id), ~_renewed())
        .order_by(AccessGrant.valid_to, AccessGrant.id)
        .limit(GRANTS_MAX)
    )
    grants = (await session.scalars(statement)).all()
    for grant in grants:
        await tell(
            session,
            EventKind.ACCESS_ENDS,
            subject=ResourceRef("AccessGrant", grant.id),
            team_id=grant.beneficiary_team_id,
            recipients=await readers_under(session, grant, at=at),
            facts={
                "for": await beneficiary_name(session, grant),
                "purpose": grant.purpose,
                "validTo": grant.valid_to.isoformat(),
                "resources": await names_of(session, await granted_resources(session, grant.id)),
            },
            at=at,
            new_id=new_id,
        )
    return len(grants)


def _renewed() -> ColumnElement[bool]:
    """Whether another grant for the same reader and purpose opens as much of the same for longer."""
    other = aliased(AccessGrant)
    mine, theirs = aliased(AccessGrantResource), aliased(AccessGrantResource)
    same_thing = (theirs.resource_kind == mine.resource_kind) & (theirs.resource_id == mine.resource_id)
    kept = exists().where(theirs.grant_id == other.id, same_thing).correlate(other, mine)
    lost = exists().where(mine.grant_id == AccessGrant.id, ~kept).correlate(AccessGrant, other)
    limits = [AccessGrant.columns, AccessGrant.first_rows, AccessGrant.sample_millionths]
    others = [other.columns, other.first_rows, other.sample_millionths]
    whole = and_(*(each.is_(None) for each in others))
    same = and_(*(one.is_not_distinct_from(another) for one, another in zip(others, limits, strict=True)))
    return exists().where(
        other.beneficiary_team_id.is_not_distinct_from(AccessGrant.beneficiary_team_id),
        other.beneficiary_user_id.is_not_distinct_from(AccessGrant.beneficiary_user_id),
        other.purpose.is_not_distinct_from(AccessGrant.purpose),
        other.withdrawn_at.is_(None),
        other.valid_to > AccessGrant.valid_to,
        or_(whole, same),
        ~lost,
    )
