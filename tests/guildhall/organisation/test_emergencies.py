"""Breaking the glass: for a short time, with a reason, seen by others."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor, TokenUse
from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import EmergencyRole, Role, RoleBinding, RolePermission, Team, Token, User
from guildhall.changes import in_words
from guildhall.clock import SimulatedClock, new_id
from guildhall.errors import GuildhallError, NotFound
from guildhall.organisation.bindings import RoleHeldAlready, RolesChanged, give_role, set_roles, take_role_away
from guildhall.organisation.emergencies import (
    AlreadyReviewed,
    InvalidEmergency,
    RoleHeld,
    review_emergency,
    take_role,
)
from guildhall.organisation.giving import EndsWithEmergency
from guildhall.organisation.groups import remove_group_mapping, set_group_mapping
from guildhall.organisation.roles import Effect, set_line
from guildhall.organisation.teams import move_team
from guildhall.organisation.tokens import issue_token, rotate_token
from tests.people import actor_of, make_service_account, make_team, make_user

WHY = "the cluster is down and its owner is ill"
HOUR = timedelta(hours=1)
READ, PUBLISH = "registry:model:read", "registry:model:publish"


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


class Fire(Emergency):
    """Ona has taken the role of administrator in an emergency; what she does with it."""

    key: UUID

    @property
    def end(self) -> datetime:
        return self.clock.now() + HOUR

    async def actor(self, user_id: UUID) -> Actor:
        """As the policy is now; an emergency counts."""
        policy = PolicySnapshot(await load_rules(self.session), at=self.clock.now())
        return replace(await actor_of(self.session, user_id), policy=policy)

    async def give(self, actor: Actor, subject: Subject, role: str = "auditor", **changed: Any) -> UUID:
        given: dict[str, Any] = {"role": role, "team_id": None, "starts_at": None, "ends_at": None} | changed
        return await give_role(self.session, actor, subject, **given, at=self.clock.now(), new_id=new_id)

    async def held(self, subject: UUID) -> list[tuple[str, datetime | None, UUID | None]]:
        rows = await self.session.execute(
            select(RoleBinding.role, RoleBinding.ends_at, RoleBinding.emergency_id)
            .where(RoleBinding.subject_id == subject)
            .order_by(RoleBinding.role)
        )
        return [(row.role, row.ends_at, row.emergency_id) for row in rows]


@pytest.fixture
async def fire(session: AsyncSession, clock: SimulatedClock, emergency: Emergency) -> Fire:
    await make_user(session, "top", roles={"administrator": [None]})
    fire = Fire(session, clock, emergency.team, emergency.ona, emergency.otto)
    fire.key = await fire.take(role="administrator", team_id=None)
    fire.ona = await fire.actor(fire.ona.id)
    return fire


class TestWhatIsGivenInAnEmergency:
    async def test_a_role_ends_with_it_also_one_s_own(self, fire: Fire) -> None:
        nora = Subject(ActorKind.USER, await make_user(fire.session, "nora"))
        await fire.give(fire.ona, nora)
        await fire.give(fire.ona, nora, "viewer", ends_at=fire.clock.now() + HOUR / 2)
        await fire.give(fire.ona, fire.ona.subject, "steward", ends_at=fire.clock.now() + 9 * HOUR)
        assert await fire.held(nora.id) == [
            ("auditor", fire.end, fire.key), ("viewer", fire.clock.now() + HOUR / 2, fire.key),
        ]  # fmt: skip
        assert ("steward", fire.end, fire.key) in await fire.held(fire.ona.id)

    async def test_and_what_comes_of_it(self, fire: Fire) -> None:
        """Whoever was made an administrator in it makes nobody one for longer, and begins no other."""
        nora = Subject(ActorKind.USER, await make_user(fire.session, "nora"))
        mole = Subject(ActorKind.USER, await make_user(fire.session, "mole"))
        await fire.give(fire.ona, nora, "administrator")
        await fire.give(fire.ona, nora, "on-call")
        acting = await fire.actor(nora.id)
        await fire.give(acting, mole, "administrator")
        assert await fire.held(mole.id) == [("administrator", fire.end, fire.key)]
        with pytest.raises(EndsWithEmergency, match="an emergency that begins in it"):
            await fire.take(actor=acting, role="steward", duration=4 * HOUR)
        assert await fire.count(EmergencyRole) == 1

    async def test_the_configuration_gives_for_the_time_too(self, fire: Fire) -> None:
        nora = Subject(ActorKind.USER, await make_user(fire.session, "nora", roles={"viewer": [None]}))
        later = fire.clock.now() + 9 * HOUR
        top = await actor_of(fire.session, (await fire.session.scalars(select(User.id).filter_by(name="Top"))).one())
        await fire.give(top, nora, "steward", ends_at=later)
        changed = await set_roles(
            fire.session, fire.ona, nora, team_id=None, roles=["auditor", "steward", "viewer"], at=fire.clock.now(),
            new_id=new_id,
        )  # fmt: skip
        words = (f"steward to {in_words(later)}", "viewer")
        assert changed == RolesChanged(words, (f"auditor to {in_words(fire.end)}", *words))
        assert await fire.held(nora.id) == [
            ("auditor", fire.end, fire.key), ("steward", later, None), ("viewer", None, None),
        ]  # fmt: skip

    async def test_what_somebody_holds_is_not_made_to_end_with_it(self, fire: Fire) -> None:
        nora = Subject(ActorKind.USER, await make_user(fire.session, "nora", roles={"viewer": [None]}))
        with pytest.raises(RoleHeldAlready, match="by hand for good"):
            await fire.give(fire.ona, nora, "viewer")
        top = await actor_of(fire.session, (await fire.session.scalars(select(User.id).filter_by(name="Top"))).one())
        await fire.give(top, nora, "steward", ends_at=fire.clock.now() + 9 * HOUR)
        with pytest.raises(RoleHeldAlready, match="by hand until 20"):
            await fire.give(fire.ona, nora, "steward")
        with pytest.raises(EndsWithEmergency, match="a role that begins later"):
            await fire.give(fire.ona, nora, "auditor", starts_at=fire.end)
        assert [row[0] for row in await fire.held(nora.id)] == ["steward", "viewer"]

    async def test_what_has_no_end_is_refused(self, fire: Fire) -> None:
        session = fire.session
        when: dict[str, Any] = {"at": fire.clock.now(), "new_id": new_id}
        session.add(Role(name="muzzle", sentence="Denies.", custom=True))
        await session.flush()
        session.add(RolePermission(role="muzzle", permission=READ, effect="deny"))
        nora = Subject(ActorKind.USER, await make_user(session, "nora", roles={"muzzle": [fire.team]}))
        top = await actor_of(session, (await session.scalars(select(User.id).filter_by(name="Top"))).one())
        mapped = await set_group_mapping(session, top, group="muzzled", team=None, role="muzzle", **when)
        above = await make_team(session, "above")
        await make_user(session, "high", roles={"maintainer": [above]})
        binding = (await session.scalars(select(RoleBinding.id).where(RoleBinding.subject_id == nora.id))).one()
        attempts = [
            set_line(session, fire.ona, role="viewer", permission=PUBLISH, effect=Effect.ALLOW, **when),
            set_group_mapping(session, fire.ona, group="friends", team=None, role="viewer", **when),
            remove_group_mapping(session, fire.ona, mapped, **when),
            move_team(session, fire.ona, team_id=fire.team, parent_id=above, **when),
            take_role_away(session, fire.ona, binding_id=binding, **when),
            set_roles(session, fire.ona, nora, team_id=fire.team, roles=[], **when),
        ]
        for attempt in attempts:
            with pytest.raises(EndsWithEmergency, match="What is given in an emergency ends with it, at 20"):
                await attempt
        line = select(RolePermission.effect).where(
            RolePermission.role == "viewer", RolePermission.permission == PUBLISH
        )
        assert await session.scalar(line) is None
        assert await fire.held(nora.id) == [("muzzle", None, None)]
        assert (await session.get_one(Team, fire.team)).parent_id is None

    async def test_what_gives_nothing_may_last(self, fire: Fire) -> None:
        when: dict[str, Any] = {"at": fire.clock.now(), "new_id": new_id}
        await set_line(fire.session, fire.ona, role="viewer", permission=READ, effect=Effect.DENY, **when)
        above = await make_team(fire.session, "above")
        await move_team(fire.session, fire.ona, team_id=fire.team, parent_id=above, **when)
        assert (await fire.session.get_one(Team, fire.team)).parent_id == above

    async def test_a_token_ends_with_it_and_so_do_those_made_with_it(self, fire: Fire) -> None:
        robot = await make_service_account(fire.session, "robot", fire.team, roles=["maintainer"])
        at = fire.clock.now()
        values: dict[str, Any] = {"label": "key", "expires_at": at + 99 * HOUR, "at": at, "new_id": new_id}
        issued = await issue_token(
            fire.session, fire.ona, subject_kind=ActorKind.SERVICE_ACCOUNT, subject_id=robot, **values
        )
        policy = PolicySnapshot(await load_rules(fire.session), at=at)
        use = TokenUse(id=issued.id, last_used_at=None, emergency_id=fire.key)
        robots = Actor(
            kind=ActorKind.SERVICE_ACCOUNT, id=robot, name="robot", policy=policy, team_id=fire.team, token=use
        )
        await issue_token(fire.session, robots, subject_kind=ActorKind.SERVICE_ACCOUNT, subject_id=robot, **values)
        top = await actor_of(fire.session, (await fire.session.scalars(select(User.id).filter_by(name="Top"))).one())
        del values["label"]
        await rotate_token(fire.session, top, issued.id, overlap=HOUR / 2, **values)
        rows = await fire.session.execute(select(Token.expires_at, Token.emergency_id).where(Token.id != issued.id))
        assert [tuple(row) for row in rows] == [(fire.end, fire.key)] * 2

    async def test_whoever_may_without_it_gives_for_good(self, fire: Fire) -> None:
        boss = await make_user(fire.session, "boss", roles={"administrator": [None], "on-call": [None]})
        await fire.take(actor=await fire.actor(boss), role="steward")
        nora = Subject(ActorKind.USER, await make_user(fire.session, "nora"))
        await fire.give(await fire.actor(boss), nora)
        assert await fire.held(nora.id) == [("auditor", None, None)]

    async def test_of_several_the_one_that_sufficed_counts(self, fire: Fire) -> None:
        """The shortest was for something else, or neither would do alone."""
        await fire.take(role="viewer", duration=HOUR / 2)
        nora = Subject(ActorKind.USER, await make_user(fire.session, "nora"))
        await fire.give(await fire.actor(fire.ona.id), nora)
        assert await fire.held(nora.id) == [("auditor", fire.end, fire.key)]
        session = fire.session
        session.add(Role(name="binder", sentence="Binds.", custom=True))
        await session.flush()
        session.add(RolePermission(role="binder", permission="guildhall:role:bind", effect="allow"))
        both = await make_user(session, "both", roles={"on-call": [None]})
        first = await fire.take(actor=await fire.actor(both), role="binder", team_id=None, duration=HOUR / 3)
        await fire.take(actor=await fire.actor(both), role="viewer", team_id=None)
        await fire.give(await fire.actor(both), nora, "viewer")
        assert ("viewer", fire.clock.now() + HOUR / 3, first) in await fire.held(nora.id)


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

    async def test_nobody_who_got_a_role_in_it_reviews(self, fire: Fire) -> None:
        """Nor where it was taken away since, nor who may review by an emergency alone."""
        nora = Subject(ActorKind.USER, await make_user(fire.session, "nora", roles={"auditor": [None]}))
        await fire.give(fire.ona, nora, "viewer")
        gone = delete(RoleBinding).where(RoleBinding.subject_id == nora.id, RoleBinding.role == "viewer")
        await fire.session.execute(gone)
        other = await make_user(fire.session, "other", roles={"on-call": [None]})
        await fire.take(actor=await fire.actor(other), role="auditor", team_id=None)
        for reviewer in (nora.id, other):
            with pytest.raises(PermissionRefused, match="does not review it"):
                await fire.review(fire.key, await fire.actor(reviewer))
        assert (await fire.session.get_one(EmergencyRole, fire.key)).reviewed_at is None
        await fire.review(fire.key, await fire.actor(fire.otto.id))

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
