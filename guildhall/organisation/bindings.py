"""Who holds which role: bindings are set to exactly what is asked for, and an administrator always remains."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, Uuid, column, delete, exists, or_, select, table, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import RoleBinding
from guildhall.changes import in_words
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.errors import Conflict, Invalid, NotFound
from guildhall.organisation.giving import (
    BIND,
    note_recipient,
    refuse_lasting,
    require_giving,
    role_lines,
)
from guildhall.organisation.names import bindable_roles

HAND = "HAND"
GROUP = "GROUP"
EMERGENCY = "EMERGENCY"
"""Where a binding comes from: somebody gave it, a group of the issuer is mapped to it, or its holder took it."""

NOBODY = UUID(int=0)

# A view: who holds the role for good, and whether nothing that governing takes is missing or denied.
_ADMINISTRATORS = table("administrators", column("user_id", Uuid), column("governs", Boolean))


class InvalidBinding(Invalid):
    """A role that nobody holds, or a time that is none."""

    code = "INVALID_BINDING"


class RoleHeldAlready(Conflict):
    """What somebody holds by hand is not made to end with an emergency."""

    code = "ROLE_HELD_ALREADY"


class LastAdministrator(Conflict):
    """Without an administrator nobody could ever appoint one again."""

    code = "LAST_ADMINISTRATOR"


@dataclass(frozen=True)
class RolesChanged:
    """The roles that a subject held in one place before, and holds now; one held for a time says from when to when."""

    before: tuple[str, ...]
    after: tuple[str, ...]


async def set_roles(
    session: AsyncSession,
    actor: Actor,
    subject: Subject,
    *,
    team_id: UUID | None,
    roles: Iterable[str],
    at: datetime,
    new_id: IdSource,
) -> RolesChanged:
    """Let the subject be given exactly these roles by hand in the team, or organisation-wide where it is None.

    In an emergency what is added ends with it, and what is held for a time stays so. Raises PermissionRefused,
    MoreThanHeld, EndsWithEmergency.
    """
    wanted = set(roles)
    place = [
        RoleBinding.subject_kind == subject.kind.value,
        RoleBinding.subject_id == subject.id,
        RoleBinding.source == HAND,
        RoleBinding.team_id.is_(None) if team_id is None else RoleBinding.team_id == team_id,
    ]
    found = select(RoleBinding.role, RoleBinding.starts_at, RoleBinding.ends_at).where(*place)
    rows = (await session.execute(found)).all()
    held = {row.role: _in_words(row.role, row.starts_at, row.ends_at) for row in rows}
    lasting = {row.role for row in rows if row.starts_at is row.ends_at is None}
    lines = await role_lines(session, wanted.union(held))
    gone = frozenset[str]().union(*(lines[role].denied for role in held.keys() - wanted))
    given = gone.union(*(lines[role].allowed for role in wanted - lasting))
    emergency = await require_giving(
        session, actor, given, team_id=team_id, to_oneself=subject == actor.subject, at=at,
        resource=_resources(subject, team_id)[0],
    )  # fmt: skip
    if gone:
        refuse_lasting(emergency, "taking a role away that denies something", field="roles")
    if held.keys() - wanted:
        await session.execute(delete(RoleBinding).where(*place, RoleBinding.role.in_(held.keys() - wanted)))
    if emergency is None:
        await _make_lasting(session, [*place, RoleBinding.role.in_(wanted)])
    if wanted - held.keys():
        bound = {
            "subject_kind": subject.kind.value,
            "subject_id": subject.id,
            "team_id": team_id,
            "source": HAND,
            "created_at": at,
            "created_by": actor.id,
            "ends_at": None if emergency is None else emergency.ends_at,
            "emergency_id": None if emergency is None else emergency.id,
        }
        added = [{**bound, "id": new_id(), "role": role} for role in sorted(wanted - held.keys())]
        await session.execute(insert(RoleBinding).values(added).on_conflict_do_nothing())
        await note_recipient(session, emergency, subject)
    if emergency is None:
        now = sorted(wanted)
    else:
        now = sorted(held.get(role) or _in_words(role, None, emergency.ends_at) for role in wanted)
    return RolesChanged(tuple(sorted(held.values())), tuple(now))


async def give_role(
    session: AsyncSession,
    actor: Actor,
    subject: Subject,
    *,
    role: str,
    team_id: UUID | None,
    starts_at: datetime | None,
    ends_at: datetime | None,
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """Let the subject hold the role there from one moment to another, or always; the id of the binding.

    It replaces what was given by hand there before; in an emergency it ends with that at the latest. Raises
    PermissionRefused, MoreThanHeld, InvalidBinding, RoleHeldAlready, LastAdministrator.
    """
    resources = _resources(subject, team_id)
    require(actor, BIND, team_id=team_id, resource=resources[0])
    if role not in await bindable_roles(session):
        raise InvalidBinding(f"{role[:80]!r} is not a role that anybody can hold.", field="role")
    if ends_at is not None and ends_at <= max(at, starts_at or at):
        raise InvalidBinding("A role ends in the future, and after it has begun.", field="endsAt")
    place = {"subject_kind": subject.kind.value, "subject_id": subject.id, "team_id": team_id, "role": role}
    before = (await session.scalars(select(RoleBinding).filter_by(**place, source=HAND))).one_or_none()
    lines = (await role_lines(session, [role]))[role]
    emergency = await require_giving(
        session,
        actor,
        lines.allowed if before is None else lines.allowed | lines.denied,
        team_id=team_id,
        to_oneself=subject == actor.subject,
        at=at,
        resource=resources[0],
    )
    if emergency is not None:
        _require_not_held(before, at)
        ends_at = min(ends_at or emergency.ends_at, emergency.ends_at)
        if starts_at is not None and starts_at >= ends_at:
            refuse_lasting(emergency, "a role that begins later", field="startsAt")
    window: dict[str, datetime | None] = {"starts_at": starts_at, "ends_at": ends_at}
    held = None if before is None else _told(before)
    marked = {**window, "emergency_id": None if emergency is None else emergency.id}
    row = place | marked | {"id": new_id(), "source": HAND, "created_at": at, "created_by": actor.id}
    statement = insert(RoleBinding).values(row).on_conflict_do_update(index_elements=[*place, "source"], set_=marked)
    binding_id: UUID | None = await session.scalar(statement.returning(RoleBinding.id))
    assert binding_id is not None, "it was added or changed"
    await note_recipient(session, emergency, subject)
    await require_administrator(session, field="endsAt")
    after = {"role": role} | {name: None if moment is None else moment.isoformat() for name, moment in window.items()}
    await record(
        session, actor, action=BIND, resources=resources, team_id=team_id, before=held, after=after, at=at,
        new_id=new_id,
    )  # fmt: skip
    return binding_id


async def take_role_away(
    session: AsyncSession, actor: Actor, *, binding_id: UUID, at: datetime, new_id: IdSource
) -> Subject:
    """End a role at once, however it was given, and say whose; a group gives its own back at the next sign-in.

    Whoever took a role in an emergency may give it back. Raises NotFound, PermissionRefused, MoreThanHeld,
    EndsWithEmergency, LastAdministrator.
    """
    found = await lock_rows(session, RoleBinding, [binding_id])
    if not found:
        raise NotFound("There is no such role binding.", field="roleBindingId")
    binding = found[0]
    subject = Subject(ActorKind(binding.subject_kind), binding.subject_id)
    resources = _resources(subject, binding.team_id)
    if not (binding.source == EMERGENCY and subject == actor.subject):
        denied = (await role_lines(session, [binding.role]))[binding.role].denied
        emergency = await require_giving(
            session, actor, denied, team_id=binding.team_id, to_oneself=subject == actor.subject, at=at,
            resource=resources[0],
        )  # fmt: skip
        if denied:
            refuse_lasting(emergency, "taking a role away that denies something", field="roleBindingId")
    await session.delete(binding)
    await session.flush()
    await require_administrator(session, field="roleBindingId")
    await record(
        session, actor, action=BIND, resources=resources, team_id=binding.team_id, before=_told(binding), at=at,
        new_id=new_id,
    )  # fmt: skip
    return subject


async def has_administrator(session: AsyncSession, *, other_than: UUID | None = None) -> bool:
    """Whether anybody active (but this one) governs the organisation for good, as this transaction sees it."""
    statement = select(exists().where(_ADMINISTRATORS.c.governs, _ADMINISTRATORS.c.user_id != (other_than or NOBODY)))
    return bool(await session.scalar(statement))


async def require_administrator(session: AsyncSession, *, field: str = "members") -> None:
    """Raise LastAdministrator when this transaction has removed the last one, or what they need to govern.

    Two who remove each other at once cannot both pass: changes of bindings wait for each other in the database, whose
    own trigger asks the same at commit.
    """
    if not await has_administrator(session):
        raise LastAdministrator(
            "The last administrator cannot be removed, nor be denied what governing takes: appoint another first.",
            field=field,
        )


def _in_words(role: str, starts_at: datetime | None, ends_at: datetime | None) -> str:
    since = "" if starts_at is None else f" from {in_words(starts_at)}"
    return role + since + ("" if ends_at is None else f" to {in_words(ends_at)}")


async def _make_lasting(session: AsyncSession, place: list[ColumnElement[bool]]) -> None:
    timed = or_(RoleBinding.starts_at.is_not(None), RoleBinding.ends_at.is_not(None))
    values = {"starts_at": None, "ends_at": None, "emergency_id": None}
    await session.execute(
        update(RoleBinding).where(*place, timed).values(values).execution_options(synchronize_session=False)
    )


def _require_not_held(before: RoleBinding | None, at: datetime) -> None:
    if before is not None and before.emergency_id is None and (before.ends_at is None or before.ends_at > at):
        until = "for good" if before.ends_at is None else f"until {before.ends_at:%Y-%m-%d %H:%M} UTC"
        raise RoleHeldAlready(
            f"They were given this role by hand {until}; what is given in an emergency ends with it. Leave it, or take "
            "it away.",
            field="role",
        )


def _resources(subject: Subject, team_id: UUID | None) -> list[ResourceRef]:
    holder = ResourceRef("User" if subject.kind is ActorKind.USER else "ServiceAccount", subject.id)
    return [holder] if team_id is None else [holder, ResourceRef("Team", team_id)]


def _told(binding: RoleBinding) -> dict[str, str | None]:
    return {
        "role": binding.role,
        "source": binding.source,
        "starts_at": None if binding.starts_at is None else binding.starts_at.isoformat(),
        "ends_at": None if binding.ends_at is None else binding.ends_at.isoformat(),
    }
