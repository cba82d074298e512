"""What each kind of caller may, and where."""

from dataclasses import replace
from uuid import UUID

import pytest

from guildhall.auth.actor import Actor, JobClaims, TokenUse, system_actor
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.roles import JOB, MEMBER
from guildhall.auth.subjects import ActorKind, Subject

TEAM, OTHER = UUID(int=1), UUID(int=2)
ADA, ROBOT, RUN = UUID(int=11), UUID(int=12), UUID(int=13)
READ, FIND, REPORT = "registry:model:read", "registry:model:discover", "scheduler:job:report"

POLICY = PolicySnapshot(
    PolicyRules(
        version=1,
        roles={
            MEMBER: RoleRules(frozenset({FIND}), frozenset()),
            JOB: RoleRules(frozenset({REPORT}), frozenset()),
            "viewer": RoleRules(frozenset({READ}), frozenset()),
        },
        bindings={
            Subject(ActorKind.USER, ADA): (Binding("viewer", TEAM),),
            Subject(ActorKind.SERVICE_ACCOUNT, ROBOT): (),
        },
        teams={TEAM: "team", OTHER: "other"},
    )
)


def actor(kind: ActorKind, key: UUID, **more: object) -> Actor:
    return Actor(kind=kind, id=key, name="somebody", policy=POLICY, **more)  # type: ignore[arg-type]


USE = TokenUse(UUID(int=21), None)
CLAIMS = JobClaims(job_id=RUN, attempt_id=UUID(int=14), team_id=TEAM, submitted_by=ADA)
USER = actor(ActorKind.USER, ADA)
SERVICE = actor(ActorKind.SERVICE_ACCOUNT, ROBOT, team_id=TEAM)
RUNNING = actor(ActorKind.JOB, RUN, team_id=TEAM, job=CLAIMS, on_behalf_of=ADA)
HOMELESS = actor(ActorKind.JOB, RUN)
SYSTEM = system_actor("worker")


class TestMay:
    @pytest.mark.parametrize(
        ("caller", "permission", "team", "want"),
        [
            (USER, READ, TEAM, True),
            (USER, READ, OTHER, False),
            (USER, READ, None, False),
            (USER, FIND, None, True),
            (SERVICE, FIND, None, True),
            (SERVICE, READ, TEAM, False),
            (RUNNING, REPORT, TEAM, True),
            (RUNNING, REPORT, OTHER, False),
            (RUNNING, REPORT, None, False),
            (RUNNING, FIND, None, False),
            (RUNNING, READ, TEAM, False),
            (HOMELESS, REPORT, None, False),
            (SYSTEM, READ, OTHER, True),
            (SYSTEM, READ, None, True),
        ],
    )
    def test_by_kind(self, caller: Actor, permission: str, team: UUID | None, want: bool) -> None:
        assert caller.may(permission, team) is want


class TestTeamsWhere:
    @pytest.mark.parametrize(
        ("caller", "permission", "want"),
        [
            (USER, READ, {TEAM}),
            (USER, FIND, set()),
            (RUNNING, REPORT, {TEAM}),
            (RUNNING, READ, set()),
            (SYSTEM, READ, None),
        ],
    )
    def test_by_kind(self, caller: Actor, permission: str, want: set[UUID] | None) -> None:
        assert caller.teams_where(permission) == want


class TestMaySomewhere:
    @pytest.mark.parametrize(
        ("caller", "permission", "want"),
        [(USER, READ, True), (USER, FIND, True), (USER, REPORT, False), (RUNNING, REPORT, True), (SYSTEM, READ, True)],
    )
    def test_by_kind(self, caller: Actor, permission: str, want: bool) -> None:
        assert caller.may_somewhere(permission) is want


class TestTeamIds:
    def test_a_user_belongs_where_they_hold_a_role(self) -> None:
        assert USER.team_ids == {TEAM}

    def test_a_service_account_belongs_to_its_team_without_a_role(self) -> None:
        assert SERVICE.team_ids == {TEAM}

    def test_a_job_belongs_to_the_team_that_pays(self) -> None:
        assert RUNNING.team_ids == {TEAM}
        assert HOMELESS.team_ids == frozenset()


class TestUserId:
    def test_the_person_behind_a_call(self) -> None:
        assert USER.user_id == ADA
        assert RUNNING.user_id == ADA
        assert SERVICE.user_id is None


class TestSystemActor:
    def test_each_part_is_always_the_same_one(self) -> None:
        assert system_actor("worker").id == SYSTEM.id
        assert system_actor("sweeper").id != SYSTEM.id
        assert system_actor("worker", on_behalf_of=ADA).on_behalf_of == ADA
        assert SYSTEM.request.client == "worker"


class TestShowsTokenFor:
    @pytest.mark.parametrize(
        ("roles", "permission", "want"),
        [
            (None, REPORT, True),
            (("viewer",), READ, True),
            (("viewer",), REPORT, False),
            (("gone", "viewer"), READ, True),
            (("gone",), READ, False),
        ],
    )
    def test_a_limited_one_is_for_what_its_roles_allow(
        self, roles: tuple[str, ...] | None, permission: str, want: bool
    ) -> None:
        assert replace(USER, token=replace(USE, roles=roles)).shows_token_for(permission) is want
        assert USER.shows_token_for(permission)
