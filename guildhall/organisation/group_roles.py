"""The roles that people hold because the issuer has them in a group: always what the mapping says of their groups.

Bindings by group are rows of `role_bindings` like those given by hand, with another source, so that every decision
rests on one table. Roles given by hand are never touched here.
"""

import logging
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import any_, delete, func, literal, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.auth.roles import ADMINISTRATOR
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import GroupMapping, RoleBinding, UserIdentity
from guildhall.clock import IdSource
from guildhall.organisation.bindings import GROUP, has_administrator
from guildhall.organisation.giving import BIND

_MAPPING_LOCK = "guildhall group mappings"

Place = tuple[UUID | None, str]
"""A team, or the organisation where it is None, and a role."""

logger = logging.getLogger(__name__)


async def lock_mappings(session: AsyncSession, *, alone: bool) -> None:
    """Whoever changes the mapping is alone with it until the commit; those who only apply it share it."""
    key = func.hashtextextended(_MAPPING_LOCK, 0)
    taken = func.pg_advisory_xact_lock(key) if alone else func.pg_advisory_xact_lock_shared(key)
    await session.execute(select(taken))


async def apply_groups(
    session: AsyncSession,
    actor: Actor,
    user_id: UUID,
    *,
    groups: Collection[str],
    at: datetime,
    new_id: IdSource,
    keep_last: bool = True,
) -> bool:
    """Let a person hold by group exactly what these groups are mapped to; returns whether that changed anything.

    With `keep_last` the last administrator stays one, whatever group they left: nobody could appoint another.
    The caller holds the lock of the mappings.
    """
    mapped = select(GroupMapping.team_id, GroupMapping.role).where(GroupMapping.group_name.in_(groups))
    wanted: set[Place] = {(row.team_id, row.role) for row in await session.execute(mapped)}
    own = [RoleBinding.user_id == user_id, RoleBinding.source == GROUP]
    held: dict[Place, UUID] = {
        (row.team_id, row.role): row.id
        for row in await session.execute(select(RoleBinding.team_id, RoleBinding.role, RoleBinding.id).where(*own))
    }
    left, added = set(held) - wanted, wanted - set(held)
    if not left and not added:
        return False
    await session.execute(delete(RoleBinding).where(RoleBinding.id.in_([held[place] for place in left])))
    if keep_last and (None, ADMINISTRATOR) in left and not await has_administrator(session):
        logger.warning("%s left the groups of administrators, and stays one: there is no other.", user_id)
        added |= {(None, ADMINISTRATOR)}
    if added:
        await session.execute(insert(RoleBinding).values([_row(user_id, place, actor, at, new_id) for place in added]))
    await record(
        session,
        actor,
        action=BIND,
        resources=_resources(user_id, left | added),
        before={"groupRoles": _names(held)},
        after={"groupRoles": _names((set(held) - left) | added)},
        at=at,
        new_id=new_id,
    )
    return True


async def people_in(session: AsyncSession, group: str) -> Sequence[UserIdentity]:
    """Those whom the issuer had in the group when it last spoke of them, in the order of their ids."""
    statement = select(UserIdentity).where(literal(group) == any_(UserIdentity.groups)).order_by(UserIdentity.user_id)
    return (await session.scalars(statement)).all()


def _row(user_id: UUID, place: Place, actor: Actor, at: datetime, new_id: IdSource) -> dict[str, object]:
    return {
        "id": new_id(),
        "subject_kind": ActorKind.USER.value,
        "subject_id": user_id,
        "team_id": place[0],
        "role": place[1],
        "source": GROUP,
        "created_at": at,
        "created_by": actor.id,
    }


def _resources(user_id: UUID, places: Collection[Place]) -> list[ResourceRef]:
    teams = sorted({team for team, _ in places if team is not None})
    return [ResourceRef("User", user_id), *(ResourceRef("Team", team) for team in teams)]


def _names(places: Collection[Place]) -> list[str]:
    """Each role with the id of its team, for the record."""
    return sorted(role if team is None else f"{role} in {team}" for team, role in places)
