"""Who holds which role: bindings are set to exactly what is asked for, and an administrator always remains."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, Uuid, column, delete, exists, or_, select, table, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import RoleBinding
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.errors import Conflict, Invalid, NotFound
from guildhall.organisation.names import bindable_roles

BIND = "guildhall:role:bind"
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


class LastAdministrator(Conflict):
    """Without an administrator nobody could ever appoint one again."""

    code = "LAST_ADMINISTRATOR"


@dataclass(frozen=True)
class RolesChanged:
    """The roles that a subject held in one place before, and holds now."""

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
    """Let the subject be given exactly these roles by hand in the team, or organisation-wide where it is None."""
    wanted = set(roles)
    place = [
        RoleBinding.subject_kind == subject.kind.value,
        RoleBinding.subject_id == subject.id,
        RoleBinding.source == HAND,
        RoleBinding.team_id.is_(None) if team_id is None else RoleBinding.team_id == team_id,
    ]
    held = set(await session.scalars(select(RoleBinding.role).where(*place)))
    if held - wanted:
        await session.execute(delete(RoleBinding).where(*place, RoleBinding.role.in_(held - wanted)))
    timed = or_(RoleBinding.starts_at.is_not(None), RoleBinding.ends_at.is_not(None))
    await session.execute(
        update(RoleBinding).where(*place, RoleBinding.role.in_(wanted), timed).values(starts_at=None, ends_at=None)
    )
    if wanted - held:
        rows = [
            {
                "id": new_id(),
                "subject_kind": subject.kind.value,
                "subject_id": subject.id,
                "team_id": team_id,
                "role": role,
                "source": HAND,
                "created_at": at,
                "created_by": actor.id,
            }
            for role in sorted(wanted - held)
        ]
        await session.execute(insert(RoleBinding).values(rows).on_conflict_do_nothing())
    return RolesChanged(tuple(sorted(held)), tuple(sorted(wanted)))


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

    It replaces what was given by hand there before. Raises PermissionRefused, InvalidBinding, LastAdministrator.
    """
    resources = _resources(subject, team_id)
    require(actor, BIND, team_id=team_id, resource=resources[0])
    if role not in await bindable_roles(session):
        raise InvalidBinding(f"{role[:80]!r} is not a role that anybody can hold.", field="role")
    if ends_at is not None and ends_at <= max(at, starts_at or at):
        raise InvalidBinding("A role ends in the future, and after it has begun.", field="endsAt")
    window = {"starts_at": starts_at, "ends_at": ends_at}
    place = {"subject_kind": subject.kind.value, "subject_id": subject.id, "team_id": team_id, "role": role}
    before = (await session.scalars(select(RoleBinding).filter_by(**place, source=HAND))).one_or_none()
    held = None if before is None else _told(before)
    row = place | window | {"id": new_id(), "source": HAND, "created_at": at, "created_by": actor.id}
    statement = insert(RoleBinding).values(row).on_conflict_do_update(index_elements=[*place, "source"], set_=window)
    binding_id: UUID | None = await session.scalar(statement.returning(RoleBinding.id))
    assert binding_id is not None, "it was added or changed"
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

    Whoever took a role in an emergency may give it back. Raises NotFound, PermissionRefused, LastAdministrator.
    """
    found = await lock_rows(session, RoleBinding, [binding_id])
    if not found:
        raise NotFound("There is no such role binding.", field="roleBindingId")
    binding = found[0]
    subject = Subject(ActorKind(binding.subject_kind), binding.subject_id)
    resources = _resources(subject, binding.team_id)
    if not (binding.source == EMERGENCY and subject == actor.subject):
        require(actor, BIND, team_id=binding.team_id, resource=resources[0])
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
