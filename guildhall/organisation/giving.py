"""The one rule of giving: no more than one holds oneself there, nothing to oneself, and in an emergency not for longer.

Whatever gives rights asks here: a role given by hand or by the configuration, a line of a role, a group that stands for
a role, a team that moves below another, a token for somebody else. Whoever holds `guildhall:role:escalate` there, as
administrators do, gives more than they hold; to themself only who holds it in the whole organisation.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused, require
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import PolicyRules, PolicySnapshot
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import Subject
from guildhall.auth.tables import EmergencyRecipient, EmergencyRole, RoleBinding, RolePermission
from guildhall.errors import Conflict

BIND = "guildhall:role:bind"
ESCALATE = "guildhall:role:escalate"
NAMED_MAX = 5
"""How many permissions a refusal names before it counts the others."""


class MoreThanHeld(Refused):
    """What would be given allows more than whoever gives it may there themself, or is for themself."""

    code = "MORE_THAN_HELD"


class EndsWithEmergency(Conflict):
    """What has no end of its own cannot be given by a right that ends with an emergency."""

    code = "ENDS_WITH_EMERGENCY"


@dataclass(frozen=True)
class Emergency:
    """What somebody does under a role that they took, or were given, in an emergency: it lasts until then."""

    id: UUID
    ends_at: datetime


@dataclass(frozen=True)
class RoleLines:
    """What a role allows and denies, as this transaction sees it."""

    allowed: frozenset[str]
    denied: frozenset[str]


async def require_giving(
    session: AsyncSession,
    actor: Actor,
    given: Collection[str],
    *,
    team_id: UUID | None,
    to_oneself: bool,
    at: datetime,
    resource: ResourceRef | None = None,
) -> Emergency | None:
    """Return when the actor may give these permissions there; and the emergency that they may by, if it is one.

    `given` is all that somebody could do afterwards because of it: what a role allows, or denies where it is taken
    away. Raises PermissionRefused without `guildhall:role:bind`, and MoreThanHeld.
    """

    def check(someone: Actor) -> None:
        require(someone, BIND, team_id=team_id, resource=resource)
        _require_held(someone, given, team_id=team_id, to_oneself=to_oneself, resource=resource)

    check(actor)
    return await emergency_behind(session, actor, check, at=at)


def require_held(
    actor: Actor, permission: str, given: Iterable[tuple[UUID | None, Collection[str]]], *, resource: ResourceRef
) -> None:
    """Return when the actor holds all of these in their places, or may escalate there; else raise MoreThanHeld.

    `permission` is what the actor uses to have somebody else act so, as `guildhall:token:issue`.
    """
    for team_id, permissions in given:
        if not actor.may(ESCALATE, team_id):
            missing = _missing(actor, permissions, team_id)
            if missing:
                raise MoreThanHeld(
                    f"It would allow more there than you may yourself: {_named(missing)}. Limit it to roles that you "
                    f"hold, or ask an administrator, who holds {ESCALATE}.",
                    permission=permission,
                    resources=(resource,),
                    team_id=team_id,
                    details={"missing": missing},
                )


async def emergency_behind(
    session: AsyncSession, actor: Actor, check: Callable[[Actor], None], *, at: datetime
) -> Emergency | None:
    """The emergency without which `check` would refuse the actor, or that their token was made in; None: there is none.

    `check` raises Refused for an actor who may not. Of several emergencies it is the first to end that suffices.
    """
    made_in = None if actor.token is None else await emergency_of_token(session, actor.token.emergency_id)
    if made_in is not None:
        return made_in
    mine = [RoleBinding.subject_kind == actor.kind.value, RoleBinding.subject_id == actor.id]
    bindings = (await session.scalars(select(RoleBinding).where(*mine))).all()
    began_in = {binding.emergency_id for binding in bindings} - {None}
    taken = select(EmergencyRole).where(EmergencyRole.id.in_(began_in)).order_by(EmergencyRole.ends_at)
    found = [Emergency(row.id, row.ends_at) for row in await session.scalars(taken)]
    if not found or _passes(check, _holding(actor, bindings, {None}, at)):
        return None
    return next((each for each in found if _passes(check, _holding(actor, bindings, {None, each.id}, at))), found[0])


async def emergency_of_token(session: AsyncSession, emergency_id: UUID | None) -> Emergency | None:
    """The emergency that a token was made in, if it was in one."""
    if emergency_id is None:
        return None
    found = await session.get_one(EmergencyRole, emergency_id)
    return Emergency(found.id, found.ends_at)


def refuse_lasting(emergency: Emergency | None, what: str, *, field: str | None = None) -> None:
    """Raise EndsWithEmergency for what would outlive the emergency that the actor may do it by."""
    if emergency is not None:
        raise EndsWithEmergency(
            f"What is given in an emergency ends with it, at {emergency.ends_at:%Y-%m-%d %H:%M} UTC; {what} would not. "
            "Give a role for the time instead, or let somebody do it who holds the right for good.",
            field=field,
        )


async def note_recipient(session: AsyncSession, emergency: Emergency | None, subject: Subject) -> None:
    """Keep who got a role in an emergency, also after it was taken away: they do not review it."""
    if emergency is not None:
        row = {"emergency_id": emergency.id, "subject_kind": subject.kind.value, "subject_id": subject.id}
        await session.execute(insert(EmergencyRecipient).values(row).on_conflict_do_nothing())


async def role_lines(session: AsyncSession, roles: Collection[str]) -> dict[str, RoleLines]:
    """What each of the roles says; one that says nothing is there as well."""
    lines: dict[str, dict[str, set[str]]] = {role: {"allow": set(), "deny": set()} for role in roles}
    statement = select(RolePermission).where(RolePermission.role.in_(lines))
    for line in await session.scalars(statement):
        lines[line.role][line.effect].add(line.permission)
    return {role: RoleLines(frozenset(effects["allow"]), frozenset(effects["deny"])) for role, effects in lines.items()}


async def roles_held(
    session: AsyncSession, subject: Subject, *, at: datetime, among: Sequence[str] | None = None
) -> list[tuple[UUID | None, frozenset[str]]]:
    """What the subject's roles (those `among` these, if so wished) allow and where, now or later."""
    statement = select(RoleBinding.team_id, RoleBinding.role).where(
        RoleBinding.subject_kind == subject.kind.value,
        RoleBinding.subject_id == subject.id,
        or_(RoleBinding.ends_at.is_(None), RoleBinding.ends_at > at),
    )
    places = [(team, role) for team, role in await session.execute(statement) if among is None or role in among]
    lines = await role_lines(session, {role for _, role in places})
    return [(team, lines[role].allowed) for team, role in places]


def _require_held(
    actor: Actor, given: Collection[str], *, team_id: UUID | None, to_oneself: bool, resource: ResourceRef | None
) -> None:
    if not given or actor.may(ESCALATE, None):
        return
    resources = () if resource is None else (resource,)
    if to_oneself:
        told = f"Nobody gives themself a role. Let somebody else do it who may, or an administrator ({ESCALATE})."
        raise MoreThanHeld(told, permission=BIND, resources=resources, team_id=team_id)
    if actor.may(ESCALATE, team_id):
        return
    missing = _missing(actor, given, team_id)
    if missing:
        raise MoreThanHeld(
            f"You would give more there than you may yourself: {_named(missing)}. Give a role that allows no more than "
            f"yours do, or ask an administrator, who holds {ESCALATE}.",
            permission=BIND,
            resources=resources,
            team_id=team_id,
            details={"missing": missing},
        )


def _missing(actor: Actor, given: Collection[str], team_id: UUID | None) -> list[str]:
    """What of it the actor may not in every team where a role that is bound here counts."""
    below = _below(actor.policy.rules, team_id)

    def held(permission: str) -> bool:
        teams = actor.teams_where(permission)
        if team_id is None:
            return teams is None and actor.may(permission, None)
        return teams is None or teams >= below

    return sorted(permission for permission in given if not held(permission))


def _below(rules: PolicyRules, team_id: UUID | None) -> frozenset[UUID]:
    """The team and all below it."""
    if team_id is None:
        return frozenset()
    return frozenset({team_id, *(team for team in rules.parents if team_id in rules.line(team))})


def _named(missing: Sequence[str]) -> str:
    more = len(missing) - NAMED_MAX
    return ", ".join(missing[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _passes(check: Callable[[Actor], None], actor: Actor) -> bool:
    try:
        check(actor)
    except Refused:
        return False
    return True


def _holding(actor: Actor, held: Iterable[RoleBinding], emergencies: Collection[UUID | None], at: datetime) -> Actor:
    """The actor with none but the bindings of these emergencies, and of those what their token shows."""
    shown = {binding.role for binding in actor.policy.all_bindings_of(actor.subject) or ()}
    bindings = tuple(
        Binding(role=row.role, team_id=row.team_id, starts_at=row.starts_at, ends_at=row.ends_at)
        for row in held
        if row.role in shown and row.emergency_id in emergencies
    )
    rules = replace(actor.policy.rules, bindings={actor.subject: bindings})
    return replace(actor, policy=PolicySnapshot(rules, at=at))
