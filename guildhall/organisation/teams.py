"""The teams of the organisation: what is named is made or changed, nothing else is touched."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import Team
from guildhall.changes import Change, ChangeAction
from guildhall.clock import IdSource
from guildhall.organisation.names import Problems

CHANGE = "guildhall:team:change"


@dataclass(frozen=True, kw_only=True)
class TeamSetting:
    """A team as the configuration says it should be; without a title, its name stands there."""

    name: str
    title: str | None = None


async def apply_teams(
    session: AsyncSession, actor: Actor, items: Sequence[TeamSetting], *, at: datetime, new_id: IdSource
) -> list[Change]:
    """Make the teams or change their titles; one Change for each, in order. Raises InvalidInput, PermissionRefused."""
    if not items:
        return []
    require(actor, CHANGE, team_id=None)
    _check(items)
    titles = {item.name: (item.title or item.name).strip() for item in items}
    rows = [{"id": new_id(), "name": name, "title": title, "created_at": at} for name, title in titles.items()]
    added = set(await session.scalars(insert(Team).values(rows).on_conflict_do_nothing().returning(Team.name)))
    teams = (
        await session.scalars(
            select(Team)
            .where(Team.name.in_(titles))
            .order_by(Team.id)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    ).all()
    changed = [team for team in teams if team.name in added or team.title != titles[team.name]]
    before = {team.name: None if team.name in added else {"title": team.title} for team in changed}
    for team in changed:
        team.title = titles[team.name]
    await session.flush()
    if changed:
        await record(
            session,
            actor,
            action=CHANGE,
            resources=[ResourceRef("Team", team.id) for team in changed],
            before=before,
            after={team.name: {"title": team.title} for team in changed},
            at=at,
            new_id=new_id,
        )
    return [Change("Team", name, _action(name, added, before)) for name in titles]


def _check(items: Sequence[TeamSetting]) -> None:
    problems = Problems()
    for index, item in enumerate(items):
        problems.check_slug(item.name, f"teams.{index}.name")
        if item.title is not None:
            problems.check_text(item.title, f"teams.{index}.title", "A title")
    problems.check_doubles([item.name for item in items], "teams", "name")
    problems.raise_if_any()


def _action(name: str, added: set[str], changed: dict[str, dict[str, str] | None]) -> ChangeAction:
    if name in added:
        return ChangeAction.CREATED
    return ChangeAction.UPDATED if name in changed else ChangeAction.UNCHANGED
