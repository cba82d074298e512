"""Breaking the glass: for a short time, with a reason, seen by others."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.tables import EmergencyRole, RoleBinding
from guildhall.clock import SimulatedClock, new_id
from guildhall.errors import GuildhallError, NotFound
from guildhall.organisation.bindings import take_role_away
from guildhall.organisation.emergencies import (
    AlreadyReviewed,
    InvalidEmergency,
    RoleHeld,
    review_emergency,
    take_role,
)
from tests.people import actor_of, make_service_account, make_team, make_user

WHY = "the cluster is down and its owner is ill"
HOUR = timedelta(hours=1)
READ = "registry:model:read"


class Emergency:
    """Ona, who is on call for the organisation; Otto, who audits."""

    def __init__(self, session: AsyncSession, clock: SimulatedClock, team: UUID, ona: Actor, otto: Actor) -> None:
        self.session, self.clock, self.team, self.ona, self.otto = session, clock, team, ona, otto

    async def take(self, **changed: Any) -> UUID:
        given: dict[str, Any] = {
            "actor": self.ona, "role": "viewer", "team_id": self.team, "reason": WHY, "duration": HOUR,
        } | changed  # fmt: skip
        return await take_role(self.session, given.pop("actor"), **given, at=self.clock.now(), new_id=new_id)

    async def review(self, key: UUID, actor: Actor, review: str = "it was needed, all is well") -> None:
        await review_emergency(self.session, actor, emergency_id=key, review=review, at=self.clock.now(), new_id=new_id)

    async def count(self, table: Any) -> int:
        return await self.session.scalar(select(func.count()).select_from(table)) or 0

    async def events(self, action: str) -> list[AuditEvent]:
        statement = select(AuditEvent).where(AuditEvent.action == action).order_by(AuditEvent.id)
        return list(await self.session.scalars(statement))


@pytest.fixture
async def emergency(session: AsyncSession, clock: SimulatedClock) -> Emergency:
    team = await make_team(session, "burning")
    ona = await actor_of(session, await make_user(session, "ona", roles={"on-call": [None]}))
    otto = await actor_of(session, await make_user(session, "otto", roles={"auditor": [None]}))
    return Emergency(session, clock, team, ona, otto)


class TestTakeRole:
    async def test_it_counts_at_once_ends_by_itself_and_alarms(self, emergency: Emergency) -> None:
        now, subject = emergency.clock.now(), emergency.ona.subject
        key = await emergency.take()
        rules = await load_rules(emergency.session)
        may = [PolicySnapshot(rules, at=now + n * HOUR / 2).may(subject, READ, emergency.team) for n in range(3)]
        assert may == [True, True, False]
        alarm = await emergency.session.get_one(EmergencyRole, key)
        assert (alarm.user_id, alarm.role, alarm.team_id, alarm.reason) == (subject.id, "viewer", emergency.team, WHY)
        assert (alarm.starts_at, alarm.ends_at, alarm.reviewed_at) == (now, now + HOUR, None)
        (event,) = await emergency.events("guildhall:role:take")
        assert (event.actor_id, event.team_id) == (subject.id, emergency.team)
        assert event.resource_types == ["User", "Team"]
        assert event.after == {"role": "viewer", "ends_at": (now + HOUR).isoformat()}

    async def test_again_after_it_has_ended(self, emergency: Emergency) -> None:
        await emergency.take(team_id=None)
        emergency.clock.advance(2 * HOUR)
        await emergency.take(team_id=None)
        assert await emergency.count(EmergencyRole) == 2
        window = (await emergency.session.scalars(
            select(RoleBinding)
            .where(RoleBinding.source == "EMERGENCY").execution_options(populate_existing=True)
        )).one()  # fmt: skip
        assert window.starts_at == emergency.clock.now()

    @pytest.mark.parametrize(
        ("changed", "error", "field"),
        [
            ({"reason": "because"}, InvalidEmergency, "reason"),
            ({"reason": "x" * 1001}, InvalidEmergency, "reason"),
            ({"reason": WHY + "\0"}, InvalidEmergency, "reason"),
            ({"role": "member"}, InvalidEmergency, "role"),
            ({"duration": timedelta(seconds=59)}, InvalidEmergency, "durationSeconds"),
            ({"duration": timedelta(hours=4, seconds=1)}, InvalidEmergency, "durationSeconds"),
            ({"role": "on-call", "team_id": None}, RoleHeld, "role"),
        ],
    )
    async def test_what_is_no_emergency_changes_nothing(
        self, emergency: Emergency, changed: dict[str, Any], error: type[GuildhallError], field: str
    ) -> None:
        with pytest.raises(error) as raised:
            await emergency.take(**changed)
        assert raised.value.field == field
        assert await emergency.count(EmergencyRole) == await emergency.count(AuditEvent) == 0

    async def test_it_takes_the_right_and_a_person(self, emergency: Emergency) -> None:
        robot = await make_service_account(emergency.session, "robot", emergency.team, roles=["on-call"])
        policy = PolicySnapshot(await load_rules(emergency.session))
        program = Actor(kind=emergency.ona.kind.SERVICE_ACCOUNT, id=robot, name="robot", policy=policy)
        for actor in (emergency.otto, program):
            with pytest.raises(PermissionRefused):
                await emergency.take(actor=actor)
        assert await emergency.count(EmergencyRole) == 0

    async def test_it_can_be_given_back(self, emergency: Emergency) -> None:
        await emergency.take()
        binding = (await emergency.session.scalars(
            select(RoleBinding.id).where(RoleBinding.source == "EMERGENCY"))).one()  # fmt: skip
        await make_user(emergency.session, "top", roles={"administrator": [None]})
        await take_role_away(
            emergency.session, emergency.ona, binding_id=binding, at=emergency.clock.now(), new_id=new_id
        )
        rules = await load_rules(emergency.session)
        assert not PolicySnapshot(rules, at=emergency.clock.now()).may(emergency.ona.subject, READ, emergency.team)
        assert await emergency.count(EmergencyRole) == 1, "the alarm stays"


class TestReviewEmergency:
    async def test_somebody_else_reviews_once(self, emergency: Emergency) -> None:
        key = await emergency.take()
        await emergency.review(key, emergency.otto)
        alarm = await emergency.session.get_one(EmergencyRole, key)
        assert (alarm.reviewed_by, alarm.reviewed_at) == (emergency.otto.id, emergency.clock.now())
        assert alarm.review == "it was needed, all is well"
        (event,) = await emergency.events("guildhall:emergency:review")
        assert event.after == {"role": "viewer", "review": "it was needed, all is well"}
        with pytest.raises(AlreadyReviewed):
            await emergency.review(key, emergency.otto)

    async def test_not_oneself_nor_without_the_right(self, emergency: Emergency) -> None:
        session = emergency.session
        both = await actor_of(session, await make_user(session, "both", roles={"on-call": [None], "auditor": [None]}))
        key = await emergency.take(actor=both)
        for actor in (both, emergency.ona):
            with pytest.raises(PermissionRefused):
                await emergency.review(key, actor)
        with pytest.raises(InvalidEmergency):
            await emergency.review(key, emergency.otto, "fine")
        with pytest.raises(NotFound):
            await emergency.review(new_id(), emergency.otto)
        assert (await session.get_one(EmergencyRole, key)).reviewed_at is None
