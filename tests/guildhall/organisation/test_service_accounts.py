"""Service accounts as the configuration says, each in its team."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import RoleBinding, ServiceAccount, Token
from guildhall.changes import Change, ChangeAction, Difference
from guildhall.clock import SimulatedClock, new_id
from guildhall.errors import InvalidInput, NotFound
from guildhall.organisation.service_accounts import (
    CHANGE,
    Deactivated,
    ServiceAccountSetting,
    apply_service_accounts,
    deactivate_service_account,
)
from guildhall.organisation.tokens import issue_token
from tests.people import actor_of, make_service_account, make_team, make_user

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


class TestDeactivate:
    async def test_tokens_and_roles_end_at_once_and_for_good(
        self, session: AsyncSession, clock: SimulatedClock
    ) -> None:
        team = await make_team(session, "quality")
        admin = await actor_of(session, await make_user(session, "admin", roles={"administrator": [None]}))
        account = await make_service_account(session, "robot", team, roles=["viewer", "contributor"])
        when: dict[str, Any] = {"at": clock.now(), "new_id": new_id}
        await issue_token(
            session, admin, subject_kind=ActorKind.SERVICE_ACCOUNT, subject_id=account, label="nightly",
            expires_at=clock.now() + timedelta(days=1), **when,
        )  # fmt: skip
        await deactivate_service_account(session, admin, account_id=account, **when)
        assert (await session.scalars(select(Token.revoked_at))).all() == [clock.now()]
        assert await roles_held(session) == set()
        row = await session.get_one(ServiceAccount, account)
        assert row.deactivated_at == clock.now()
        event = (await session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1))).one()
        assert (event.action, event.before) == (CHANGE, {"roles": ["contributor", "viewer"]})
        assert event.after == {"deactivatedAt": clock.now().isoformat(), "tokens": 1}
        with pytest.raises(Deactivated, match="robot was deactivated already"):
            await deactivate_service_account(session, admin, account_id=account, **when)
        with pytest.raises(Deactivated, match="robot of quality was deactivated for good"):
            await apply_service_accounts(session, admin, [robot("viewer")], **when)
        assert await roles_held(session) == set()

    async def test_it_takes_the_right_and_a_program(self, session: AsyncSession, clock: SimulatedClock) -> None:
        team = await make_team(session, "quality")
        nora = await actor_of(session, await make_user(session, "nora", roles={"maintainer": [team]}))
        account = await make_service_account(session, "robot", team, roles=["viewer"])
        when: dict[str, Any] = {"at": clock.now(), "new_id": new_id}
        with pytest.raises(PermissionRefused):
            await deactivate_service_account(session, nora, account_id=account, **when)
        with pytest.raises(NotFound):
            await deactivate_service_account(session, nora, account_id=new_id(), **when)
        assert (await session.get_one(ServiceAccount, account)).deactivated_at is None
        assert await roles_held(session) == {"viewer"}
