"""Reading the names in a configuration: what is wrong with all of them is told at once."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.roles import IMPLICIT_ROLES
from guildhall.auth.tables import Role, Team
from guildhall.errors import GuildhallError, InvalidInput, Problem
from guildhall.slugs import require_slug

NAME_CHARACTERS_MAX = 200


class Problems:
    """Collects what is wrong with an input, to be told together."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    def add(self, code: str, message: str, field: str) -> None:
        """Note one thing; nothing is raised yet."""
        self._found.append(Problem(code, message, field))

    def check_slug(self, value: str, field: str) -> None:
        """Note a name that cannot stand in an address."""
        try:
            require_slug(value, field)
        except GuildhallError as error:
            self.add(error.code, error.message, field)

    def check_text(self, value: str, field: str, what: str) -> None:
        """Note a text that is empty, longer than `NAME_CHARACTERS_MAX`, or that the database cannot store."""
        if not value.strip() or len(value) > NAME_CHARACTERS_MAX or "\0" in value:
            self.add("INVALID_TEXT", f"{what} has 1 to {NAME_CHARACTERS_MAX} characters.", field)

    def check_doubles(self, names: Sequence[object], field: str, leaf: str) -> None:
        """Note each name that stands there a second time: nobody could say which of the two counts."""
        for index, name in enumerate(names):
            if name in names[:index]:
                self.add("NAMED_TWICE", "This is named twice.", f"{field}.{index}.{leaf}")

    def raise_if_any(self) -> None:
        """Raise InvalidInput with everything that was noted."""
        if self._found:
            raise InvalidInput(self._found)


async def team_ids(session: AsyncSession, names: Collection[str]) -> dict[str, UUID]:
    """The ids of the teams with these names; a name without a team is left out."""
    teams = await session.scalars(select(Team).where(Team.name.in_(names)))
    return {team.name: team.id for team in teams}


async def bindable_roles(session: AsyncSession) -> set[str]:
    """The roles that somebody can be given, as the database has them."""
    return set(await session.scalars(select(Role.name).where(Role.name.not_in(IMPLICIT_ROLES))))
