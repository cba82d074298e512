"""The first policy of a database: the roles of `roles.py`, written as it is migrated, never over what is there."""

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from guildhall.auth.permissions import PERMISSIONS
from guildhall.auth.roles import ROLE_SENTENCES, ROLES
from guildhall.auth.tables import PermissionRow, Role, RolePermission


def seed_roles(connection: Connection) -> None:
    """Add the roles and permissions that this database has not met, with what those roles allow of those permissions.

    What administrators changed since stays: a line is only seeded together with a name that is new. It is part of a
    migration, and not in the audit record: the program was replaced, nobody changed the policy of a running one.
    """
    new_roles = _add_roles(connection)
    new_permissions = _add_permissions(connection)
    lines = [
        {"role": role, "permission": permission, "effect": "allow"}
        for role, permissions in ROLES.items()
        for permission in dict.fromkeys(permissions)
        if role in new_roles or permission in new_permissions
    ]
    if lines:
        connection.execute(insert(RolePermission).on_conflict_do_nothing(), lines)


def _add_roles(connection: Connection) -> set[str]:
    rows = [{"name": name, "sentence": sentence} for name, sentence in ROLE_SENTENCES.items()]
    statement = insert(Role).values(rows).on_conflict_do_nothing().returning(Role.name)
    return set(connection.scalars(statement))


def _add_permissions(connection: Connection) -> set[str]:
    rows = [
        {"name": entry.name, "permission_class": entry.permission_class.value, "sentence": entry.sentence}
        for entry in PERMISSIONS.values()
    ]
    statement = insert(PermissionRow).values(rows).on_conflict_do_nothing().returning(PermissionRow.name)
    return set(connection.scalars(statement))
