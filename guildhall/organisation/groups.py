"""Which group of the issuer stands for which role, in a team or organisation-wide: a table that administrators edit.

A change is in force with its commit, for everybody whom the issuer had in the group when it last spoke of them.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import GroupMapping
from guildhall.clock import IdSource
from guildhall.errors import NotFound
from guildhall.organisation.bindings import require_administrator
from guildhall.organisation.giving import refuse_lasting, require_giving, role_lines
from guildhall.organisation.group_roles import apply_groups, lock_mappings, people_in
from guildhall.organisation.names import Problems, bindable_roles, team_ids

READ = "guildhall:group:read"
MAP = "guildhall:group:map"


class UnknownMapping(NotFound):
    """No such line in the table."""


async def set_group_mapping(
    session: AsyncSession, actor: Actor, *, group: str, team: str | None, role: str, at: datetime, new_id: IdSource
) -> UUID:
    """Let everybody in the group hold the role there; returns the line's id, that of an equal one where there is one.

    Who maps a group gives roles, so that takes what giving takes in that place as well. Raises InvalidInput,
    PermissionRefused, MoreThanHeld, EndsWithEmergency.
    """
    team_id = await _check(session, group, team, role)
    allowed = (await role_lines(session, [role]))[role].allowed
    await _require(session, actor, team_id, group.strip(), allowed, at=at)
    await lock_mappings(session, alone=True)
    values = {
        "id": new_id(),
        "group_name": group.strip(),
        "team_id": team_id,
        "role": role,
        "created_at": at,
        "created_by": actor.id,
    }
    added: UUID | None = await session.scalar(
        insert(GroupMapping).values(values).on_conflict_do_nothing().returning(GroupMapping.id)
    )
    if added is None:
        same = select(GroupMapping.id).where(
            GroupMapping.group_name == group.strip(),
            GroupMapping.team_id.is_(None) if team_id is None else GroupMapping.team_id == team_id,
            GroupMapping.role == role,
        )
        return (await session.scalars(same)).one()
    resources = _resources(added, team_id)
    after = {"group": group.strip(), "team": team, "role": role}
    await record(session, actor, action=MAP, resources=resources, team_id=team_id, after=after, at=at, new_id=new_id)
    await _apply(session, actor, group.strip(), at=at, new_id=new_id)
    return added


async def remove_group_mapping(
    session: AsyncSession, actor: Actor, mapping_id: UUID, *, at: datetime, new_id: IdSource, field: str | None = None
) -> None:
    """Take the line out of the table, and the role from those who had it by this group alone.

    Raises UnknownMapping, PermissionRefused, MoreThanHeld, EndsWithEmergency, and LastAdministrator when nobody would
    be left to govern.
    """
    await lock_mappings(session, alone=True)
    found = await session.get(GroupMapping, mapping_id)
    if found is None or not actor.may(READ, None):
        raise UnknownMapping("There is no such line in the table of groups.", field=field)
    denied = (await role_lines(session, [found.role]))[found.role].denied
    await _require(session, actor, found.team_id, found.group_name, denied, at=at)
    before = {"group": found.group_name, "team": found.team_id, "role": found.role}
    await session.execute(delete(GroupMapping).where(GroupMapping.id == mapping_id))
    resources = _resources(mapping_id, found.team_id)
    await record(
        session, actor, action=MAP, resources=resources, team_id=found.team_id, before=before, at=at, new_id=new_id
    )
    await _apply(session, actor, found.group_name, at=at, new_id=new_id)
    await require_administrator(session)


async def _check(session: AsyncSession, group: str, team: str | None, role: str) -> UUID | None:
    problems = Problems()
    problems.check_text(group, "group", "A group")
    places = await team_ids(session, [] if team is None else [team])
    if team is not None and team not in places:
        problems.add("UNKNOWN_TEAM", f"There is no team named {team!r}.", "team")
    roles = await bindable_roles(session)
    if role not in roles:
        problems.add("UNKNOWN_ROLE", f"{role!r} is not a role; these are: {', '.join(sorted(roles))}.", "role")
    problems.raise_if_any()
    return None if team is None else places[team]


async def _require(
    session: AsyncSession, actor: Actor, team_id: UUID | None, group: str, given: Collection[str], *, at: datetime
) -> None:
    require(actor, MAP, team_id=None)
    own = any(person.user_id == actor.id for person in await people_in(session, group))
    emergency = await require_giving(session, actor, given, team_id=team_id, to_oneself=own, at=at)
    if given:
        refuse_lasting(emergency, "what a group stands for", field="group")


def _resources(mapping_id: UUID, team_id: UUID | None) -> list[ResourceRef]:
    mapping = ResourceRef("GroupMapping", mapping_id)
    return [mapping] if team_id is None else [mapping, ResourceRef("Team", team_id)]


async def _apply(session: AsyncSession, actor: Actor, group: str, *, at: datetime, new_id: IdSource) -> None:
    for person in await people_in(session, group):
        await apply_groups(session, actor, person.user_id, groups=person.groups, at=at, new_id=new_id, keep_last=False)
