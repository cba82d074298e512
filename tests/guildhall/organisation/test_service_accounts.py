"""Service accounts as the configuration says, each in its team."""

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import RoleBinding, ServiceAccount
from guildhall.changes import Change, ChangeAction, Difference
from guildhall.clock import SimulatedClock, new_id
from guildhall.errors import InvalidInput
from guildhall.organisation.service_accounts import ServiceAccountSetting, apply_service_accounts
from tests.people import actor_of, make_team, make_user

CREATED, UPDATED, UNCHANGED = ChangeAction.CREATED, ChangeAction.UPDATED, ChangeAction.UNCHANGED


def robot(*roles: str, team: str = "quality", name: str = "robot") -> ServiceAccountSetting:
    return ServiceAccountSetting(team=team, name=name, roles=roles)


async def roles_held(session: AsyncSession) -> set[str]:
    statement = select(RoleBinding.role).where(RoleBinding.subject_kind == ActorKind.SERVICE_ACCOUNT.value)
    return set(await session.scalars(statement))


async def actions(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(AuditEvent.action).order_by(AuditEvent.id)))


class TestApplyServiceAccounts:
    async def test_made_changed_and_left_alone(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team = await make_team(session, "quality")
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))

        async def apply(*items: ServiceAccountSetting) -> list[Change]:
            return await apply_service_accounts(session, admin, items, at=clock.now(), new_id=new_id)

        given = (Difference("role", None, "contributor"),)
        assert await apply(robot("contributor")) == [Change("ServiceAccount", "robot of quality", CREATED, given)]
        assert await apply(robot("contributor")) == [Change("ServiceAccount", "robot of quality", UNCHANGED)]
        assert await actions(session) == ["guildhall:service-account:change", "guildhall:role:bind"]
        exchanged = (Difference("role", "contributor", None), Difference("role", None, "viewer"))
        assert await apply(robot("viewer")) == [Change("ServiceAccount", "robot of quality", UPDATED, exchanged)]
        assert await apply(robot(name="idle")) == [Change("ServiceAccount", "idle of quality", CREATED)]
        assert await roles_held(session) == {"viewer"}
        assert await actions(session) == [
            "guildhall:service-account:change", "guildhall:role:bind", "guildhall:role:bind",
            "guildhall:service-account:change",
        ]  # fmt: skip
        account = (await session.scalars(select(ServiceAccount).where(ServiceAccount.name == "robot"))).one()
        assert account.team_id == team
        event = (await session.scalars(select(AuditEvent).order_by(AuditEvent.id))).all()[2]
        assert (event.before, event.after) == ({"roles": ["contributor"]}, {"roles": ["viewer"]})
        assert (event.resource_ids, event.team_id) == ([account.id, team], team)

    async def test_everything_that_is_wrong_is_told_at_once(self, session: AsyncSession, clock: SimulatedClock) -> None:
        await make_team(session, "quality")
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        items = [robot("emperor", name="No"), robot(team="nowhere"), robot(), robot()]
        with pytest.raises(InvalidInput) as refusal:
            await apply_service_accounts(session, admin, items, at=clock.now(), new_id=new_id)
        assert [(problem.code, problem.field) for problem in refusal.value.problems] == [
            ("INVALID_SLUG", "serviceAccounts.0.name"),
            ("UNKNOWN_ROLE", "serviceAccounts.0.roles"),
            ("UNKNOWN_TEAM", "serviceAccounts.1.team"),
            ("NAMED_TWICE", "serviceAccounts.3.name"),
        ]
        assert (await session.scalars(select(ServiceAccount))).all() == []

    async def test_others_may_not(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team = await make_team(session, "quality")
        ada = await actor_of(session, await make_user(session, "ada", roles={"maintainer": [team]}))
        with pytest.raises(PermissionRefused):
            await apply_service_accounts(session, ada, [robot("viewer")], at=clock.now(), new_id=new_id)
        assert (await session.scalars(select(ServiceAccount))).all() == []
        assert await actions(session) == []
