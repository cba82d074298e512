"""Compiled decisions say what casbin says, on every question about random policies."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guildhall.auth import casbin_policy
from guildhall.auth.bindings import Binding
from guildhall.auth.casbin_policy import CasbinPolicy, Question, disagreements
from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
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
MOMENTS = [datetime(2026, 3, 2, hour, tzinfo=UTC) for hour in range(4)]
windows = st.sampled_from([(None, None), *((start, end) for start in (None, *MOMENTS[:2]) for end in MOMENTS[2:])])
bindings = st.lists(
    st.builds(
        lambda role, team, window: Binding(role, team, *window),
        st.sampled_from([*ROLES, "gone"]),
        st.sampled_from([None, *TEAMS]),
        windows,
    ),
    max_size=5,
)
parents = st.sampled_from(
    [{}, {TEAMS[1]: TEAMS[0]}, {TEAMS[1]: TEAMS[0], TEAMS[2]: TEAMS[0]}, {TEAMS[1]: TEAMS[0], TEAMS[2]: TEAMS[1]}]
)


@st.composite
def policies(draw: st.DrawFn) -> PolicyRules:
    return PolicyRules(
        version=draw(st.integers(1, 50)),
        roles={role: draw(role_rules) for role in draw(st.sets(st.sampled_from([*ROLES, MEMBER, JOB])))},
        bindings={subject: tuple(draw(bindings)) for subject in (ADA, ROBOT)},
        teams={team: f"team-{team.int}" for team in TEAMS},
        parents=draw(parents),
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
    @given(policies(), st.sampled_from([None, *MOMENTS]))
    def test_every_question_has_the_same_answer(self, drawn: PolicyRules, at: datetime | None) -> None:
        snapshot, oracle = PolicySnapshot(drawn, at=at), CasbinPolicy(drawn, at=at)
        for subject, team, permission in product((ADA, ROBOT, STRANGER), (None, *TEAMS), PERMISSIONS):
            answer = snapshot.may(subject, permission, team)
            assert answer == oracle.may(Question(subject, team, permission)), (subject, team, permission)
            assert snapshot.may(subject, permission, team) == answer, "asked again, from memory"

    @given(policies(), policies(), st.sampled_from(MOMENTS), st.sampled_from(MOMENTS))
    def test_what_was_compiled_before_changes_nothing(
        self, drawn: PolicyRules, then: PolicyRules, at: datetime, later: datetime
    ) -> None:
        """The rules, then those of one subject, then all others, then another time: as if each were the first."""
        snapshot = PolicySnapshot(drawn, at=at)
        held = snapshot._held
        one = replace(drawn, bindings=held.changed([ADA.id], {ADA: then.bindings[ADA]}))
        for rules, moment in ((drawn, at), (one, at), (one, later), (then, later), (drawn, at)):
            snapshot, fresh = snapshot.succeeded_by(rules, at=moment), PolicySnapshot(rules, at=moment)
            assert (snapshot.since, snapshot.until) == (fresh.since, fresh.until)
            assert snapshot.covers(moment)
            for subject, team, permission in product((ADA, ROBOT, STRANGER), (None, *TEAMS), PERMISSIONS):
                assert snapshot.may(subject, permission, team) == fresh.may(subject, permission, team)
                assert snapshot.teams_where(subject, permission) == fresh.teams_where(subject, permission)

    @given(policies(), st.sampled_from(MOMENTS))
    def test_the_teams_where_are_those_where_it_may(self, drawn: PolicyRules, at: datetime) -> None:
        snapshot = PolicySnapshot(drawn, at=at)
        for subject, permission in product((ADA, ROBOT, STRANGER), PERMISSIONS):
            where = snapshot.teams_where(subject, permission)
            expected = {team for team in TEAMS if snapshot.may(subject, permission, team)}
            assert (set(TEAMS) if where is None else where) == expected

    @given(policies(), st.sampled_from([None, *MOMENTS]))
    def test_a_sample_finds_no_difference(self, drawn: PolicyRules, at: datetime | None) -> None:
        assert disagreements(PolicySnapshot(drawn, at=at)) == []

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

    def test_a_role_counts_in_the_teams_below_and_a_denial_too(self) -> None:
        over, team, below = TEAMS
        tree = {"parents": {team: over, below: team}}
        ada = PolicySnapshot(rules(**tree, bindings={ADA: (Binding("viewer", over), Binding("banned", team))}))
        assert [ada.may(ADA, "p:a:x", place) for place in TEAMS] == [True, False, False]
        assert ada.teams_where(ADA, "p:a:x") == frozenset({over})
        assert ada.teams_of(ADA) == {over, team}, "where a role is bound; who is above is no member below"
        from_above = PolicySnapshot(rules(**tree, bindings={ADA: (Binding("banned", over), Binding("viewer", team))}))
        assert [from_above.may(ADA, "p:a:x", place) for place in TEAMS] == [False, False, False]
        everywhere = PolicySnapshot(rules(**tree, bindings={ADA: (Binding("viewer", None), Binding("banned", team))}))
        assert everywhere.teams_where(ADA, "p:a:x") == frozenset({over})

    def test_a_walk_to_the_top_ends_whatever_the_tables_say(self) -> None:
        """The database refuses a circle; in one, nothing is found, and nobody waits."""
        circle = rules(parents={TEAMS[0]: TEAMS[1], TEAMS[1]: TEAMS[0]}, bindings={ADA: (Binding("viewer", TEAMS[2]),)})
        assert list(circle.line(TEAMS[0])) == [TEAMS[0], TEAMS[1]] * 4
        assert not PolicySnapshot(circle).may(ADA, "p:a:x", TEAMS[0])
        assert PolicySnapshot(circle).may(ADA, "p:a:x", TEAMS[2])

    def test_a_temporary_role_counts_until_just_before_its_end(self) -> None:
        start, end = MOMENTS[1], MOMENTS[2]
        held = Binding("viewer", None, start, end)
        snapshot = PolicySnapshot(rules(bindings={ADA: (held,)}))
        assert not snapshot.may(ADA, "p:a:x", None), "without a moment, it counts for nothing"
        assert not snapshot.covers(start)
        instant = timedelta(microseconds=1)
        for moment, want in ((start - instant, False), (start, True), (end - instant, True), (end, False)):
            then = snapshot.succeeded_by(snapshot.rules, at=moment)
            assert then.may(ADA, "p:a:x", None) is want
            assert then.bindings_of(ADA) == ((held,) if want else ())
            assert then.all_bindings_of(ADA) == (held,)
        assert snapshot.bindings_of(STRANGER) == ()
        assert snapshot.all_bindings_of(STRANGER) is None

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
