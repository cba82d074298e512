"""Seeding gives a database its first policy and never overwrites what people made of it."""

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.permissions import PERMISSIONS
from guildhall.auth.roles import ROLES
from guildhall.auth.seeding import seed_roles
from guildhall.auth.tables import PermissionRow, Role, RolePermission


async def lines(session: AsyncSession) -> set[tuple[str, str, str]]:
    rows = await session.execute(select(RolePermission.role, RolePermission.permission, RolePermission.effect))
    return {(role, permission, effect) for role, permission, effect in rows}


async def seed(session: AsyncSession) -> None:
    connection = await session.connection()
    await connection.run_sync(seed_roles)


class TestSeedRoles:
    async def test_a_migrated_database_has_the_whole_policy(self, session: AsyncSession) -> None:
        want = {(role, name, "allow") for role, names in ROLES.items() for name in names}
        assert await lines(session) == want
        assert set(await session.scalars(select(PermissionRow.name))) == set(PERMISSIONS)

    async def test_what_an_administrator_took_away_stays_away(self, session: AsyncSession) -> None:
        await session.execute(delete(RolePermission).where(RolePermission.role == "viewer"))
        before = await lines(session)
        await seed(session)
        assert await lines(session) == before

    async def test_a_new_permission_comes_with_the_roles_that_have_it(self, session: AsyncSession) -> None:
        before = await lines(session)
        await session.execute(delete(RolePermission).where(RolePermission.permission == "registry:model:read"))
        await session.execute(delete(PermissionRow).where(PermissionRow.name == "registry:model:read"))
        await seed(session)
        assert await lines(session) == before

    async def test_a_new_role_comes_with_its_permissions(self, session: AsyncSession) -> None:
        before = await lines(session)
        await session.execute(delete(RolePermission).where(RolePermission.role == "steward"))
        await session.execute(delete(Role).where(Role.name == "steward"))
        await seed(session)
        assert await lines(session) == before
