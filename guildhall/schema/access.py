"""Who may what: permissions, roles and their lines, who holds them where and how long, and the tree of teams."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, true

from guildhall.auth.actor import Actor
from guildhall.auth.permissions import PERMISSIONS, PermissionClass
from guildhall.auth.tables import EmergencyRole, Role, RoleBinding, RolePermission, ServiceAccount, Team, User
from guildhall.graphql.context import Context
from guildhall.graphql.declare import (
    column,
    connection,
    extend,
    many,
    node,
    object_type,
    one,
    reference,
    resolver,
)
from guildhall.graphql.filters import filters, matching
from guildhall.organisation.roles import Effect
from guildhall.schema.viewer import ACTORS

READ = "guildhall:role:read"
EMERGENCIES = "guildhall:emergency:read"
ROLES_MAX = 500
LINES_MAX = 1_000


@object_type("Permission")
class PermissionType:
    """One thing that roles can allow or deny."""

    name: str
    permission_class: PermissionClass
    sentence: str = column("sentence", description="What whoever has it may do.")
    in_own_team: bool = column(
        "in_own_team", description="Used in a team of the caller's own, whoever owns what it is about."
    )


@object_type("RoleLine", table=RolePermission, key=RolePermission.permission, permission=READ)
class RoleLineType:
    """One line of the policy; a denial wins over whatever another role allows."""

    permission: str = column(RolePermission.permission)
    effect: Effect = column(RolePermission.effect)


@object_type("Role", table=Role, key=Role.name, permission=READ)
class RoleType:
    """A named set of permissions."""

    name: str = column(Role.name)
    sentence: str = column(Role.sentence)
    custom: bool = column(Role.custom, description="Whether it was made here, and did not come with the product.")
    lines = many(
        "RoleLine",
        local=Role.name,
        remote=RolePermission.role,
        order_by=[RolePermission.permission],
        maximum=LINES_MAX,
    )


@node("RoleBinding", table=RoleBinding, visible=None, permission=READ, team=RoleBinding.team_id)
class RoleBindingType:
    """Somebody holds a role in a team and those below it; without a team, in the whole organisation."""

    holder = reference(RoleBinding.subject_kind, RoleBinding.subject_id, types=ACTORS)
    role = one("Role", local=RoleBinding.role, nullable=False)
    team = one("Team", local=RoleBinding.team_id)
    source: str = column(RoleBinding.source, description="HAND, GROUP of the issuer, or EMERGENCY.")
    starts_at: datetime | None = column(RoleBinding.starts_at)
    ends_at: datetime | None = column(RoleBinding.ends_at, description="Ends by itself, and stays listed.")
    created_at: datetime = column(RoleBinding.created_at)


def _is_reviewed(value: bool, _context: Context) -> ColumnElement[bool]:
    return EmergencyRole.reviewed_at.is_not(None) if value else EmergencyRole.reviewed_at.is_(None)


@filters("EmergencyRoleFilter")
class EmergencyRoleFilter:
    """Which alarms."""

    reviewed: bool = matching(_is_reviewed)


def visible_emergencies(actor: Actor) -> ColumnElement[bool]:
    """One's own, and all for whoever may see alarms."""
    return true() if actor.may(EMERGENCIES, None) else EmergencyRole.user_id == actor.user_id


@node("EmergencyRole", table=EmergencyRole, visible=visible_emergencies, permission="guildhall:viewer:read")
class EmergencyRoleType:
    """An alarm: somebody took a role in an emergency."""

    person = one("User", local=EmergencyRole.user_id, nullable=False)
    role = one("Role", local=EmergencyRole.role, nullable=False)
    team = one("Team", local=EmergencyRole.team_id)
    reason: str = column(EmergencyRole.reason)
    starts_at: datetime = column(EmergencyRole.starts_at)
    ends_at: datetime = column(EmergencyRole.ends_at)
    reviewed_at: datetime | None = column(EmergencyRole.reviewed_at)
    reviewed_by = one("User", local=EmergencyRole.reviewed_by)
    review: str | None = column(EmergencyRole.review)


@extend("Team")
class TeamTree:
    """Where a team stands."""

    parent = one("Team", local=Team.parent_id, description="Roles that are held there count here too.")
    children = connection("Team", local=Team.id, remote=Team.parent_id, default_order=[Team.name])
    role_bindings = connection(
        "RoleBinding",
        local=Team.id,
        remote=RoleBinding.team_id,
        default_order=[RoleBinding.role],
        description="Who holds which role in this very team.",
    )


@extend("User")
class UserRoles:
    """What a person holds."""

    role_bindings = connection(
        "RoleBinding", local=User.id, remote=RoleBinding.user_id, default_order=[RoleBinding.role]
    )


@extend("ServiceAccount")
class ServiceAccountRoles:
    """What a program holds."""

    role_bindings = connection(
        "RoleBinding",
        local=ServiceAccount.id,
        remote=RoleBinding.service_account_id,
        default_order=[RoleBinding.role],
    )


@extend("Query")
class AccessQueries:
    """The policy."""

    @resolver(returns="Permission", many=True, permission="SIGNED_IN")
    def permissions(_context: Context, _values: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- mappings of Permission
        """Everything that roles can allow."""
        return [vars(each) for each in PERMISSIONS.values()]

    roles = many(
        "Role",
        local=None,
        remote=None,
        order_by=[Role.name],
        maximum=ROLES_MAX,
        permission=READ,
        description="Every role, with what it allows and denies.",
    )
    emergency_roles = connection(
        "EmergencyRole",
        filter=EmergencyRoleFilter,
        default_order=[EmergencyRole.starts_at.desc()],
        permission=EMERGENCIES,
        description="Roles that people took in an emergency, newest first.",
    )


TYPES = [
    PermissionType, RoleLineType, RoleType, RoleBindingType, EmergencyRoleType,
    TeamTree, UserRoles, ServiceAccountRoles, AccessQueries,
]  # fmt: skip
