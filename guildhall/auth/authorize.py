"""The two questions of every domain function: may this caller, and which rows are there for them.

Not visible is `NotFound` and is asked first, with `visible_rows` in the statement that looks the row up; `require` is
for what the caller can see but perhaps not do.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, false, or_, true
from sqlalchemy.orm import InstrumentedAttribute

from guildhall.auth.actor import Actor
from guildhall.auth.permissions import permission_named
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.errors import Forbidden

ORGANISATION_VISIBLE = "ORGANISATION"

SqlColumn = InstrumentedAttribute[Any] | ColumnElement[Any]


class Refused(Forbidden):
    """A refusal that the audit record keeps, in a transaction of its own: of which permission, about what, and why.

    Packages derive theirs from it, as the refusal of data without an access grant.
    """

    def __init__(
        self,
        message: str,
        *,
        permission: str,
        resources: Sequence[ResourceRef] = (),
        team_id: UUID | None = None,
        purpose: str | None = None,
        field: str | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message, field=field, details=details)
        self.permission = permission_named(permission)
        self.resources = tuple(resources)
        self.team_id = team_id
        self.purpose = purpose


class PermissionRefused(Refused):
    """None of the caller's roles allows it there; the sentence names the roles that would."""

    code = "PERMISSION_REFUSED"


def require(actor: Actor, permission: str, *, team_id: UUID | None, resource: ResourceRef | None = None) -> None:
    """Return when the caller may; else raise PermissionRefused, which says whom to ask for what."""
    wanted = permission_named(permission)
    if actor.may(permission, team_id):
        return
    roles = " or ".join(actor.policy.roles_with(permission)) or "with this permission"
    team = actor.policy.rules.teams.get(team_id) if team_id is not None else None
    place = f"in the team {team}" if team is not None else "for the whole organisation"
    raise PermissionRefused(
        f"You may not {wanted.sentence} here: this needs {permission}. "
        f"Ask an administrator for the role {roles} {place}.",
        permission=permission,
        resources=() if resource is None else (resource,),
        team_id=team_id,
        details={"permission": permission},
    )


def visible_rows(
    actor: Actor, *, visibility_column: SqlColumn, team_column: SqlColumn, permission: str
) -> ColumnElement[bool]:
    """The SQL predicate of rows that are there for the caller; everything else is "not found", also in counts.

    A row is there when its visibility is ORGANISATION and the caller belongs to the organisation, or when a role in its
    team allows `permission`.
    """
    teams = team_rows(actor, team_column=team_column, permission=permission)
    if actor.kind is ActorKind.SYSTEM or not actor.may(permission, None):
        return teams
    return or_(visibility_column == ORGANISATION_VISIBLE, teams)


def team_rows(actor: Actor, *, team_column: SqlColumn, permission: str) -> ColumnElement[bool]:
    """The SQL predicate of rows in teams where the caller may; for tables without a visibility, as jobs and wallets."""
    permission_named(permission)
    teams = actor.teams_where(permission)
    if teams is None:
        return true()
    return team_column.in_(sorted(teams)) if teams else false()
