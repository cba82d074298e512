"""Finding the team that an input names."""

from uuid import UUID

from sqlalchemy import select

from guildhall.auth.tables import Team
from guildhall.db.transaction import ReadSession
from guildhall.errors import NotFound


async def find_team(session: ReadSession, name: str, *, field: str) -> UUID:
    """The id of the team with that name, or NotFound about the input's field. Teams are no secret inside the house."""
    team_id = await session.scalar(select(Team.id).where(Team.name == name))
    if team_id is None:
        raise NotFound(f"There is no team named {name!r}.", field=field)
    return team_id
