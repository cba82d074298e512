"""Programmes, periods and teams by their names."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.tables import Team
from guildhall.errors import NotFound
from marketplace.tables import Period, Programme


class UnknownProgramme(NotFound):
    """No programme has this name."""


class UnknownPeriod(NotFound):
    """No period has this name."""


class UnknownTeam(NotFound):
    """No team has this name."""


async def programme_named(session: AsyncSession, name: str, *, field: str | None = "programme") -> Programme:
    """The programme, or UnknownProgramme about the input field."""
    programme = await session.scalar(select(Programme).where(Programme.name == name))
    if programme is None:
        raise UnknownProgramme(f"There is no programme named {name!r}.", field=field)
    return programme


async def period_named(session: AsyncSession, name: str, *, field: str | None = "period") -> Period:
    """The period, or UnknownPeriod about the input field."""
    period = await session.scalar(select(Period).where(Period.name == name))
    if period is None:
        raise UnknownPeriod(f"There is no period named {name!r}.", field=field)
    return period


async def team_named(session: AsyncSession, name: str, *, field: str | None = "team") -> Team:
    """The team, or UnknownTeam about the input field."""
    team = await session.scalar(select(Team).where(Team.name == name))
    if team is None:
        raise UnknownTeam(f"There is no team named {name!r}.", field=field)
    return team


async def wallet_name(session: AsyncSession, *, team_id: UUID, programme_id: UUID) -> str:
    """How a sentence names what a team may spend for a programme."""
    names = select(Team.name, Programme.name).join(Programme, Programme.id == programme_id).where(Team.id == team_id)
    return wallet_of(*(await session.execute(names)).one())


def wallet_of(team: str, programme: str) -> str:
    """As `wallet_name`, of their names."""
    return f"the wallet of team {team} for programme {programme}"
