"""Compiled decisions say what casbin says, on every question about random policies."""

from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildhall.auth import casbin_policy
from guildhall.auth.casbin_policy import CasbinPolicy, Question, disagreements
from guildhall.auth.policy import Binding, PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.roles import JOB, MEMBER
from guildhall.auth.subjects import ActorKind, Subject

TEAMS = [UUID(int=number) for number in (1, 2, 3)]
ADA = Subject(ActorKind.USER, UUID(int=11))
ROBOT = Subject(ActorKind.SERVICE_ACCOUNT, UUID(int=12))
STRANGER = Subject(ActorKind.USER, UUID(int=13))
PERMISSIONS = ["p:a:x", "p:b:x", "p:c:x"]
ROLES = ["viewer", "owner", "banned"]

permissions = st.frozensets(st.sampled_from(PERMISSIONS))
role_rules = st.builds(RoleRules, allowed=permissions, denied=permissions)
bindings = st.lists(st.builds(Binding, st.sampled_from([*ROLES, "gone"]), st.sampled_from([None, *TEAMS])), max_size=5)


@st.composite
def policies(draw: st.DrawFn) -> PolicyRules:
    return PolicyRules(
        version=draw(st.integers(1, 50)),
        roles={role: draw(role_rules) for role in draw(st.sets(st.sampled_from([*ROLES, MEMBER, JOB])))},
        bindings={subject: tuple(draw(bindings)) for subject in (ADA, ROBOT)},
        teams={team: f"team-{team.int}" for team in TEAMS},
    )


def rules(**changes: object) -> PolicyRules:
    """Ada: viewer everywhere, owner of the first team, banned from the second. Members: `p:c:x` on common ground."""
    values = {
        "version": 7,
        "roles": {
            MEMBER: RoleRules(frozenset({"p:c:x"}), frozenset()),
            JOB: RoleRules(frozenset({"p:b:x"}), frozenset()),
            "viewer": RoleRules(frozenset({"p:a:x"}), frozenset()),
            "owner": RoleRules(frozenset({"p:b:x"}), frozenset()),
            "banned": RoleRules(frozenset(), frozenset({"p:a:x"})),
        },
        "bindings": {
            ADA: (Binding("viewer", None), Binding("owner", TEAMS[0]), Binding("banned", TEAMS[1])),
            ROBOT: (),
        },
        "teams": {team: f"team-{team.int}" for team in TEAMS},
    }
    return PolicyRules(**{**values, **changes})  # type: ignore[arg-type]


class TestAgainstCasbin:
    @given(policies())
    def test_every_question_has_the_same_answer(self, drawn: PolicyRules) -> None:
        snapshot, oracle = PolicySnapshot(drawn), CasbinPolicy(drawn)
        for subject, team, permission in product((ADA, ROBOT, STRANGER), (None, *TEAMS), PERMISSIONS):
            answer = snapshot.may(subject, permission, team)
            assert answer == oracle.may(Question(subject, team, permission)), (subject, team, permission)
            assert snapshot.may(subject, permission, team) == answer, "asked again, from memory"

    @given(policies())
    def test_the_teams_where_are_those_where_it_may(self, drawn: PolicyRules) -> None:
        snapshot = PolicySnapshot(drawn)
        for subject, permission in product((ADA, ROBOT, STRANGER), PERMISSIONS):
            where = snapshot.teams_where(subject, permission)
            expected = {team for team in TEAMS if snapshot.may(subject, permission, team)}
            assert (set(TEAMS) if where is None else where) == expected

    @given(policies())
    def test_a_sample_finds_no_difference(self, drawn: PolicyRules) -> None:
        assert disagreements(PolicySnapshot(drawn)) == []

    def test_a_difference_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(PolicySnapshot, "may", lambda *_: True)
        found = disagreements(PolicySnapshot(rules()))
        assert Question(ADA, TEAMS[1], "p:a:x") in found or Question(ADA, None, "p:b:x") in found

    def test_the_sample_is_bounded_and_moves(self) -> None:
        entries = list(range(100))
        assert casbin_policy._pick(entries, 4, 0) == [0, 25, 50, 75]
        assert casbin_policy._pick(entries, 4, 26) == [1, 26, 51, 76]
        assert casbin_policy._pick([1, 2], 4, 9) == [1, 2]


class TestPolicySnapshot:
    def test_an_organisation_wide_role_counts_in_every_team(self) -> None:
        snapshot = PolicySnapshot(rules())
        assert snapshot.may(ADA, "p:a:x", TEAMS[2])
        assert snapshot.may(ADA, "p:a:x", None)
        assert snapshot.may(ADA, "p:a:x", UUID(int=99))

    def test_a_team_role_counts_in_its_team_alone(self) -> None:
        snapshot = PolicySnapshot(rules())
        assert snapshot.may(ADA, "p:b:x", TEAMS[0])
        assert not snapshot.may(ADA, "p:b:x", TEAMS[2])
        assert not snapshot.may(ADA, "p:b:x", None)
        assert snapshot.teams_where(ADA, "p:b:x") == frozenset({TEAMS[0]})

    def test_a_denial_wins_where_it_is_bound(self) -> None:
        snapshot = PolicySnapshot(rules())
        assert not snapshot.may(ADA, "p:a:x", TEAMS[1])
        assert snapshot.teams_where(ADA, "p:a:x") == frozenset({TEAMS[0], TEAMS[2]})

    def test_without_exception_it_is_all_teams_also_later_ones(self) -> None:
        snapshot = PolicySnapshot(rules(bindings={ADA: (Binding("viewer", None),)}))
        assert snapshot.teams_where(ADA, "p:a:x") is None

    def test_members_hold_their_permissions_on_common_ground_only(self) -> None:
        snapshot = PolicySnapshot(rules())
        assert snapshot.may(ROBOT, "p:c:x", None)
        assert not snapshot.may(ROBOT, "p:c:x", TEAMS[0])
        assert snapshot.teams_where(ROBOT, "p:c:x") == frozenset()

    def test_strangers_may_nothing_and_leave_no_trace(self) -> None:
        snapshot = PolicySnapshot(rules())
        assert snapshot.permissions(STRANGER, None) == frozenset()
        assert snapshot.permissions(STRANGER, TEAMS[0]) == frozenset()
        assert STRANGER not in snapshot._subjects

    def test_teams_of_a_subject_are_those_with_a_role_there(self) -> None:
        snapshot = PolicySnapshot(rules())
        assert snapshot.teams_of(ADA) == {TEAMS[0], TEAMS[1]}
        assert snapshot.teams_of(ROBOT) == frozenset()

    def test_it_names_the_roles_that_would_do(self) -> None:
        assert PolicySnapshot(rules()).roles_with("p:b:x") == (JOB, "owner")

    def test_it_knows_its_version_and_what_jobs_may(self) -> None:
        snapshot = PolicySnapshot(rules())
        assert snapshot.version == 7
        assert snapshot.job_permissions() == {"p:b:x"}
