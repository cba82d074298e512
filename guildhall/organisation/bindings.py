"""Who holds which role: bindings are set to exactly what is asked for, and an administrator always remains."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.actor import Actor
from guildhall.auth.roles import ADMINISTRATOR
from guildhall.auth.subjects import Subject
from guildhall.auth.tables import RoleBinding, User
from guildhall.clock import IdSource
from guildhall.errors import Conflict

BIND = "guildhall:role:bind"
HAND = "HAND"
GROUP = "GROUP"
"""Where a binding comes from: somebody gave it, or a group of the issuer is mapped to it."""


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


async def has_administrator(
    session: AsyncSession, *, other_than: UUID | None = None, without: UUID | None = None
) -> bool:
    """Whether anybody active (but this one, or but by this binding) governs, as this transaction sees it."""
    statement = (
        select(RoleBinding.id)
        .join(User, User.id == RoleBinding.user_id)
        .where(RoleBinding.role == ADMINISTRATOR, RoleBinding.team_id.is_(None), User.deactivated_at.is_(None))
        .limit(1)
    )
    if other_than is not None:
        statement = statement.where(User.id != other_than)
    if without is not None:
        statement = statement.where(RoleBinding.id != without)
    return await session.scalar(statement) is not None


async def require_administrator(session: AsyncSession) -> None:
    """Raise LastAdministrator when this transaction has removed the last one.

    Two who remove each other at once cannot both pass: changes of bindings wait for each other in the database, whose
    own trigger asks the same at commit.
    """
    if not await has_administrator(session):
        raise LastAdministrator("The last administrator cannot be removed: appoint another first.", field="members")
