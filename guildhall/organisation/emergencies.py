"""Breaking the glass: somebody takes a role for a short time, with a reason; it ends by itself, and alarms auditors."""

import logging
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy import insert as insert_row
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import PermissionRefused, require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import EmergencyRecipient, EmergencyRole, RoleBinding
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.errors import Conflict, Invalid, NotFound
from guildhall.organisation.bindings import EMERGENCY
from guildhall.organisation.giving import emergency_behind, refuse_lasting
from guildhall.organisation.names import bindable_roles

TAKE = "guildhall:role:take"
REVIEW = "guildhall:emergency:review"
DURATION_MIN = timedelta(minutes=1)
DURATION_MAX = timedelta(hours=4)
REASON_CHARACTERS_MIN = 10
REASON_CHARACTERS_MAX = 1_000

logger = logging.getLogger(__name__)


class InvalidEmergency(Invalid):
    """No reason that a reviewer could weigh, or longer than an emergency lasts."""

    code = "INVALID_EMERGENCY"


class RoleHeld(Conflict):
    """There is nothing to break for a role that one has."""

    code = "ROLE_HELD"


class AlreadyReviewed(Conflict):
    """A review is given once."""

    code = "ALREADY_REVIEWED"


async def take_role(
    session: AsyncSession,
    actor: Actor,
    *,
    role: str,
    team_id: UUID | None,
    reason: str,
    duration: timedelta,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Hold the role in the team, or organisation-wide, until `at + duration`; the id of the alarm.

    For people alone, and by a right that they hold outside of any emergency. Raises PermissionRefused,
    InvalidEmergency, RoleHeld, EndsWithEmergency.
    """
    require(actor, TAKE, team_id=team_id)
    if actor.kind is not ActorKind.USER:
        raise PermissionRefused("An emergency is for people to tell.", permission=TAKE, team_id=team_id)
    said = _text(reason, "reason")
    if role not in await bindable_roles(session):
        raise InvalidEmergency(f"{role[:80]!r} is not a role that anybody can hold.", field="role")
    if not DURATION_MIN <= duration <= DURATION_MAX:
        raise InvalidEmergency("An emergency lasts between 60 and 14400 seconds.", field="durationSeconds")
    if any((held.role, held.team_id) == (role, team_id) for held in actor.policy.bindings_of(actor.subject)):
        raise RoleHeld(f"You hold the role {role!r} there already.", field="role")
    behind = await emergency_behind(session, actor, lambda someone: require(someone, TAKE, team_id=team_id), at=at)
    refuse_lasting(behind, "an emergency that begins in it")
    window = {"starts_at": at, "ends_at": at + duration}
    alarm = {"id": new_id(), "user_id": actor.id, "role": role, "team_id": team_id, "reason": said} | window
    await session.execute(insert_row(EmergencyRole).values(alarm))
    marked = window | {"emergency_id": alarm["id"]}
    binding = {
        "id": new_id(),
        "subject_kind": actor.kind.value,
        "subject_id": actor.id,
        "team_id": team_id,
        "role": role,
        "source": EMERGENCY,
        "created_at": at,
        "created_by": actor.id,
    }
    key = [getattr(RoleBinding, name) for name in ("subject_id", "subject_kind", "team_id", "role", "source")]
    await session.execute(
        insert(RoleBinding).values(binding | marked).on_conflict_do_update(index_elements=key, set_=marked)
    )
    resources = [ResourceRef("User", actor.id)]
    await record(
        session,
        actor,
        action=TAKE,
        resources=resources if team_id is None else [*resources, ResourceRef("Team", team_id)],
        team_id=team_id,
        justification=said,
        after={"role": role, "ends_at": (at + duration).isoformat()},
        at=at,
        new_id=new_id,
    )
    logger.warning("%s took the role %s in an emergency until %s.", actor.id, role, at + duration)
    return alarm["id"]  # type: ignore[return-value]  # a UUID among values of other types


async def review_emergency(
    session: AsyncSession, actor: Actor, *, emergency_id: UUID, review: str, at: datetime, new_id: IdSource
) -> None:
    """Close the alarm, once, with what somebody else found. Raises NotFound, AlreadyReviewed, PermissionRefused.

    Not by whoever acted in the emergency or was given a role in it, nor by a right that comes from any emergency.
    """
    require(actor, REVIEW, team_id=None)
    said = _text(review, "review")
    found = await lock_rows(session, EmergencyRole, [emergency_id])
    if not found:
        raise NotFound("There is no such alarm.", field="emergencyRoleId")
    alarm = found[0]
    resources = [ResourceRef("User", alarm.user_id)]
    if actor.kind is not ActorKind.USER or actor.id == alarm.user_id:
        raise PermissionRefused("Somebody else reviews what you did.", permission=REVIEW, resources=resources)
    behind = await emergency_behind(session, actor, lambda someone: require(someone, REVIEW, team_id=None), at=at)
    if behind is not None or await _got_a_role(session, actor, emergency_id):
        told = "Who was given a role in an emergency, or may review by one alone, does not review it."
        raise PermissionRefused(told, permission=REVIEW, resources=resources)
    if alarm.reviewed_at is not None:
        raise AlreadyReviewed("This was reviewed already.", field="emergencyRoleId")
    alarm.reviewed_at, alarm.reviewed_by, alarm.review = at, actor.id, said
    await session.flush()
    await record(
        session,
        actor,
        action=REVIEW,
        resources=resources,
        team_id=alarm.team_id,
        after={"role": alarm.role, "review": said},
        at=at,
        new_id=new_id,
    )


async def _got_a_role(session: AsyncSession, actor: Actor, emergency_id: UUID) -> bool:
    mine = exists().where(
        EmergencyRecipient.emergency_id == emergency_id,
        EmergencyRecipient.subject_kind == actor.kind.value,
        EmergencyRecipient.subject_id == actor.id,
    )
    return bool(await session.scalar(select(mine)))


def _text(given: str, field: str) -> str:
    said = given.strip()
    if not REASON_CHARACTERS_MIN <= len(said) <= REASON_CHARACTERS_MAX or "\0" in said:
        raise InvalidEmergency(
            f"Say why in {REASON_CHARACTERS_MIN} to {REASON_CHARACTERS_MAX} characters.", field=field
        )
    return said
