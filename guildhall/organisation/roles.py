"""What roles allow and deny: lines of the policy, set one at a time, each in the audit record."""

import re
from datetime import datetime
from enum import StrEnum

from sqlalchemy import delete, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.permissions import PERMISSIONS
from guildhall.auth.roles import MEMBER
from guildhall.auth.tables import Role, RoleBinding, RolePermission
from guildhall.clock import IdSource
from guildhall.errors import Conflict, Invalid, NotFound
from guildhall.organisation.bindings import require_administrator
from guildhall.organisation.giving import refuse_lasting, require_giving

CHANGE = "guildhall:role:change"
AUDIT = "guildhall:audit:"
AUDITOR = "auditor"
SENTENCE_CHARACTERS_MAX = 200

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Effect(StrEnum):
    """What a line says; a denial wins over whatever another role allows."""

    ALLOW = "allow"
    DENY = "deny"


class InvalidRole(Invalid):
    """A name or a sentence that nobody could read later."""

    code = "INVALID_ROLE"


class RoleExists(Conflict):
    """The name stands for another role."""

    code = "ROLE_EXISTS"


class UnknownRole(NotFound):
    """No role of that name."""


class UnknownPermission(NotFound):
    """No permission of that name."""


class AuditStaysReadable(Conflict):
    """Who writes the policy may not take the record from those who read it."""

    code = "AUDIT_STAYS_READABLE"


async def create_role(
    session: AsyncSession, actor: Actor, *, name: str, sentence: str, at: datetime, new_id: IdSource
) -> None:
    """A role of the organisation's own, which allows nothing yet. Raises InvalidRole, RoleExists, PermissionRefused."""
    require(actor, CHANGE, team_id=None)
    if _NAME.fullmatch(name) is None:
        raise InvalidRole("A role's name is of lower-case letters, digits and hyphens, as `on-call`.", field="name")
    said = sentence.strip()
    if not said or len(said) > SENTENCE_CHARACTERS_MAX or "\0" in said:
        raise InvalidRole(f"A role has a sentence of 1 to {SENTENCE_CHARACTERS_MAX} characters.", field="sentence")
    row = {"name": name, "sentence": said, "custom": True}
    added = await session.scalar(insert(Role).values(row).on_conflict_do_nothing().returning(Role.name))
    if added is None:
        raise RoleExists(f"There is a role {name!r} already.", field="name")
    await record(session, actor, action=CHANGE, after={"role": name, "sentence": said}, at=at, new_id=new_id)


async def set_line(
    session: AsyncSession,
    actor: Actor,
    *,
    role: str,
    permission: str,
    effect: Effect | None,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Let the role allow or deny the permission, or with None say nothing of it. Nothing happens where it does already.

    Who changes what a role allows gives it to those who hold it, also to themself, so that takes what giving takes, in
    the whole organisation. Raises UnknownRole, UnknownPermission, AuditStaysReadable, LastAdministrator,
    PermissionRefused, MoreThanHeld, EndsWithEmergency.
    """
    require(actor, CHANGE, team_id=None)
    if await session.scalar(select(Role.name).where(Role.name == role)) is None:
        raise UnknownRole(f"There is no role {role[:80]!r}.", field="role")
    if permission not in PERMISSIONS:
        raise UnknownPermission(f"There is no permission {permission[:80]!r}.", field="permission")
    line = [RolePermission.role == role, RolePermission.permission == permission]
    before = await session.scalar(select(RolePermission.effect).where(*line))
    gives = effect != before and (effect is Effect.ALLOW or (effect is None and before == Effect.DENY))
    own = role == MEMBER or await _holds(session, actor, role, at=at)
    emergency = await require_giving(session, actor, {permission} if gives else (), team_id=None, to_oneself=own, at=at)
    if before == effect:
        return
    if gives:
        refuse_lasting(emergency, "a line of a role", field="permission")
    _keep_audit_readable(role, permission, effect)
    if effect is None:
        await session.execute(delete(RolePermission).where(*line))
    else:
        values = {"role": role, "permission": permission, "effect": effect.value}
        statement = insert(RolePermission).values(values)
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=[RolePermission.role, RolePermission.permission], set_={"effect": effect.value}
            )
        )
    await require_administrator(session, field="permission")
    await record(
        session,
        actor,
        action=CHANGE,
        before={"role": role, "permission": permission, "effect": before},
        after={"role": role, "permission": permission, "effect": None if effect is None else effect.value},
        at=at,
        new_id=new_id,
    )


async def _holds(session: AsyncSession, actor: Actor, role: str, *, at: datetime) -> bool:
    """Whether it is theirs now or later, anywhere; also where the actor's token does not show it."""
    bound = select(RoleBinding.id).where(
        RoleBinding.role == role,
        RoleBinding.subject_kind == actor.kind.value,
        RoleBinding.subject_id == actor.id,
        or_(RoleBinding.ends_at.is_(None), RoleBinding.ends_at > at),
    )
    return await session.scalar(bound.limit(1)) is not None


def _keep_audit_readable(role: str, permission: str, effect: Effect | None) -> None:
    if not permission.startswith(AUDIT):
        return
    if effect is Effect.DENY:
        raise AuditStaysReadable(
            f"{permission} is denied to nobody: whoever may read the record goes on to.", field="effect"
        )
    if effect is None and role == AUDITOR:
        raise AuditStaysReadable(f"The role {AUDITOR!r} keeps {permission}.", field="role")
