"""Who would be let do something: the people to tell, as the policy's tables say at that moment."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select

from guildhall.auth.permissions import permission_named
from guildhall.auth.policy import TEAM_LEVELS_MAX
from guildhall.auth.tables import RoleBinding, RolePermission, Team, User
from guildhall.db.transaction import ReadSession

ALLOWED = RolePermission.effect == "allow"


async def people_who_may(
    session: ReadSession, permission: str, *, team_id: UUID, at: datetime, members: bool = False
) -> set[UUID]:
    """Everybody still here whose roles in the team, above it or organisation-wide allow it, and none denies it.

    `members` asks for those alone whom a role in the team itself allows it.
    """
    permission_named(permission)
    line = select(Team.id, Team.parent_id, func.coalesce(0).label("level")).where(Team.id == team_id)
    above = line.cte("line", recursive=True)
    further = select(Team.id, Team.parent_id, above.c.level + 1).join(above, above.c.parent_id == Team.id)
    above = above.union_all(further.where(above.c.level < TEAM_LEVELS_MAX))
    statement = (
        select(RoleBinding.user_id)
        .join(User, User.id == RoleBinding.user_id)
        .join(RolePermission, RolePermission.role == RoleBinding.role)
        .where(RolePermission.permission == permission, User.deactivated_at.is_(None))
        .where(or_(RoleBinding.team_id.is_(None), RoleBinding.team_id.in_(select(above.c.id))))
        .where(or_(RoleBinding.starts_at.is_(None), RoleBinding.starts_at <= at))
        .where(or_(RoleBinding.ends_at.is_(None), RoleBinding.ends_at > at))
        .group_by(RoleBinding.user_id)
        .having(func.bool_and(ALLOWED))
    )
    if members:
        statement = statement.having(func.bool_or(RoleBinding.team_id == team_id))
    return {person for person in await session.scalars(statement) if person is not None}
