"""The teams of the organisation: what is named is made or changed, nothing else is touched."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.policy import TEAM_LEVELS_MAX
from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import RoleBinding, Team
from guildhall.changes import Change, ChangeAction, Difference, compared
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.errors import Conflict, NotFound
from guildhall.organisation.giving import BIND, refuse_lasting, require_giving, role_lines
from guildhall.organisation.names import Problems

CHANGE = "guildhall:team:change"


@dataclass(frozen=True)
class Below:
    """Where in the tree a team is to stand: directly below the team of that name, or at the top."""

    parent: str | None


@dataclass(frozen=True, kw_only=True)
class TeamSetting:
    """A team as the configuration says it should be; without a title, its name stands there.

    Without `below` a team stays where it is, and a new one stands at the top.
    """

    name: str
    title: str | None = None
    below: Below | None = None


class InvalidPlace(Conflict):
    """A team is below itself, or the tree would be deeper than it may be."""

    code = "INVALID_PLACE"


async def move_team(
    session: AsyncSession, actor: Actor, *, team_id: UUID, parent_id: UUID | None, at: datetime, new_id: IdSource
) -> None:
    """Put the team below another, or at the top; roles that are held above count in it from then on.

    Who moves a team gives roles in it, so that takes what giving those takes, in the whole organisation. Raises
    InvalidPlace, NotFound, PermissionRefused, MoreThanHeld, EndsWithEmergency.
    """
    require(actor, CHANGE, team_id=None)
    require(actor, BIND, team_id=None)
    teams = {team.id: team for team in await lock_rows(session, Team, [team_id, *([parent_id] if parent_id else [])])}
    if team_id not in teams:
        raise NotFound("There is no such team.", field="team")
    if parent_id is not None and parent_id not in teams:
        raise NotFound("There is no such team.", field="parent")
    team = teams[team_id]
    if team.parent_id == parent_id:
        return
    await _require_giving(session, actor, await _line(session, team.parent_id), await _line(session, parent_id), at=at)
    before = await _path(session, team.parent_id)
    team.parent_id = parent_id
    await session.flush()  # other moves wait for this one from here on
    line = await _path(session, parent_id)
    if team.name in line:
        raise InvalidPlace(f"{team.name!r} cannot be below itself: {' > '.join(line)}.", field="parent")
    if len(line) + await _height(session, team_id) > TEAM_LEVELS_MAX:
        raise InvalidPlace(f"Teams are {TEAM_LEVELS_MAX} levels deep at most.", field="parent")
    await record(
        session,
        actor,
        action=CHANGE,
        resources=[ResourceRef("Team", key) for key in sorted(teams)],
        team_id=team_id,
        before={"below": before},
        after={"below": line},
        at=at,
        new_id=new_id,
    )


async def _require_giving(
    session: AsyncSession, actor: Actor, left: Sequence[UUID], joined: Sequence[UUID], *, at: datetime
) -> None:
    """What the roles allow that count in the team from now on, and what those deny that do so no longer."""

    async def bound(places: set[UUID]) -> dict[str, bool]:
        """The roles that are bound there, and whether the actor holds one of them."""
        holder = (RoleBinding.subject_kind == actor.kind.value) & (RoleBinding.subject_id == actor.id)
        statement = (
            select(RoleBinding.role, func.bool_or(holder).label("own"))
            .where(RoleBinding.team_id.in_(places))
            .group_by(RoleBinding.role)
        )
        return {row.role: row.own for row in await session.execute(statement)}

    added, gone = await bound(set(joined) - set(left)), await bound(set(left) - set(joined))
    lines = await role_lines(session, added.keys() | gone.keys())
    given = frozenset[str]().union(*(lines[role].allowed for role in added), *(lines[role].denied for role in gone))
    own = any(added.values()) or any(mine and lines[role].denied for role, mine in gone.items())
    emergency = await require_giving(session, actor, given, team_id=None, to_oneself=own, at=at)
    if given:
        refuse_lasting(emergency, "a team's place", field="team")


async def _line(session: AsyncSession, team_id: UUID | None) -> list[UUID]:
    """The ids from the team upwards; a circle is cut off."""
    found: list[UUID] = []
    while team_id is not None and len(found) <= TEAM_LEVELS_MAX:
        found.append(team_id)
        team_id = await session.scalar(select(Team.parent_id).where(Team.id == team_id))
    return found


async def _path(session: AsyncSession, team_id: UUID | None) -> list[str]:
    """The names from the top down to the team; a circle is cut off."""
    names: list[str] = []
    for _ in range(TEAM_LEVELS_MAX + 1):
        if team_id is None:
            break
        name, team_id = (await session.execute(select(Team.name, Team.parent_id).where(Team.id == team_id))).one()
        names.insert(0, name)
    return names


async def _height(session: AsyncSession, team_id: UUID) -> int:
    """How many levels the team and those below it make."""
    level: list[UUID] = [team_id]
    height = 0
    while level and height <= TEAM_LEVELS_MAX:
        level = list(await session.scalars(select(Team.id).where(Team.parent_id.in_(level))))
        height += 1
    return height


async def apply_teams(
    session: AsyncSession, actor: Actor, items: Sequence[TeamSetting], *, at: datetime, new_id: IdSource
) -> list[Change]:
    """Make the teams, change their titles and move them; one Change for each, in order.

    A move takes what `move_team` takes, and raises what it raises; else InvalidInput, PermissionRefused.
    """
    if not items:
        return []
    require(actor, CHANGE, team_id=None)
    _check(items)
    titles = {item.name: (item.title or item.name).strip() for item in items}
    rows = [{"id": new_id(), "name": name, "title": title, "created_at": at} for name, title in titles.items()]
    added = set(await session.scalars(insert(Team).values(rows).on_conflict_do_nothing().returning(Team.name)))
    known = await _locked(session, {*titles, *(item.below.parent for item in items if item.below is not None)})
    teams = [team for team in known.values() if team.name in titles]
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
    moved = await _apply_places(session, actor, items, known, at=at, new_id=new_id)
    return [_change(name, title, added, before, moved.get(name, ())) for name, title in titles.items()]


async def _locked(session: AsyncSession, names: Collection[str | None]) -> dict[str, Team]:
    """The teams of these names, locked in the order of their ids."""
    teams = await session.scalars(
        select(Team)
        .where(Team.name.in_([name for name in names if name is not None]))
        .order_by(Team.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return {team.name: team for team in teams}


async def _apply_places(
    session: AsyncSession,
    actor: Actor,
    items: Sequence[TeamSetting],
    known: Mapping[str, Team],
    *,
    at: datetime,
    new_id: IdSource,
) -> dict[str, tuple[Difference, ...]]:
    """Move what stands elsewhere than it is to; what differs, by team. All that is unknown is told at once.

    From the top of the new tree down, so that two teams may change places: what a team is moved below stands already.
    """
    wanted = {item.name: (index, item.below.parent) for index, item in enumerate(items) if item.below is not None}
    problems = Problems()
    for index, parent in wanted.values():
        if parent is not None and parent not in known:
            problems.add("UNKNOWN_TEAM", f"There is no team named {parent!r}.", f"teams.{index}.parent")
    problems.raise_if_any()
    names = {team.id: team.name for team in await session.scalars(select(Team).where(Team.id.in_(_parents(known))))}
    moved: dict[str, tuple[Difference, ...]] = {}
    for name in sorted(wanted, key=lambda each: _depth(each, wanted)):
        index, parent = wanted[name]
        team, parent_id = known[name], None if parent is None else known[parent].id
        if team.parent_id == parent_id:
            continue
        was = None if team.parent_id is None else names[team.parent_id]
        try:
            await move_team(session, actor, team_id=team.id, parent_id=parent_id, at=at, new_id=new_id)
        except Conflict as error:
            error.field = f"teams.{index}.parent"
            raise
        moved[name] = (Difference("parent", was, parent),)
    return moved


def _parents(known: Mapping[str, Team]) -> list[UUID]:
    return [team.parent_id for team in known.values() if team.parent_id is not None]


def _depth(name: str, wanted: Mapping[str, tuple[int, str | None]]) -> int:
    """How many of the named teams the team is to stand below; a circle is cut off, and refused when it is closed."""
    depth, above = 0, wanted[name][1]
    while above is not None and above in wanted and depth <= len(wanted):
        depth, above = depth + 1, wanted[above][1]
    return depth


def _check(items: Sequence[TeamSetting]) -> None:
    problems = Problems()
    for index, item in enumerate(items):
        problems.check_slug(item.name, f"teams.{index}.name")
        if item.title is not None:
            problems.check_text(item.title, f"teams.{index}.title", "A title")
    problems.check_doubles([item.name for item in items], "teams", "name")
    problems.raise_if_any()


def _change(
    name: str,
    title: str,
    added: set[str],
    before: Mapping[str, Mapping[str, str] | None],
    moved: tuple[Difference, ...],
) -> Change:
    differences = (*(compared(before[name], {"title": title}) if name in before else ()), *moved)
    if not differences:
        return Change("Team", name, ChangeAction.UNCHANGED)
    return Change("Team", name, ChangeAction.CREATED if name in added else ChangeAction.UPDATED, differences)
