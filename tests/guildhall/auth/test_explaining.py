"""Explanations agree with the decision, always, and name the lines that made it."""

from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from guildhall.auth.actor import Actor, JobClaims, system_actor
from guildhall.auth.bindings import Binding
from guildhall.auth.explaining import Explanation, Ground, Rule, explain
from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.roles import JOB, MEMBER
from guildhall.auth.subjects import ActorKind, Subject
from tests.guildhall.auth.test_casbin_policy import PERMISSIONS, STRANGER, SUBJECTS, TEAMS, draw_policy

OVER, TEAM, OTHER = (UUID(int=number) for number in (1, 2, 3))
ADA = UUID(int=11)
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
READ, FIND = "registry:model:read", "registry:model:discover"


def ada(*held: Binding) -> Actor:
    rules = PolicyRules(
        version=1,
        roles={
            MEMBER: RoleRules(frozenset({FIND}), frozenset()),
            JOB: RoleRules(frozenset({READ}), frozenset()),
            "viewer": RoleRules(frozenset({READ}), frozenset()),
            "banned": RoleRules(frozenset(), frozenset({READ})),
        },
        bindings={Subject(ActorKind.USER, ADA): held},
        teams={OVER: "over", TEAM: "team", OTHER: "other"},
        parents={TEAM: OVER},
    )
    return Actor(kind=ActorKind.USER, id=ADA, name="Ada", policy=PolicySnapshot(rules, at=NOW))


def rule(
    role: str, effect: str, team: UUID | None, *path: str, ends: datetime | None = None, counts: bool = True
) -> Rule:
    return Rule(role, effect, team, path, None, ends, counts)


VIEWER, BANNED = Binding("viewer", OVER), Binding("banned", TEAM)
ENDED = Binding("viewer", TEAM, None, NOW)


@pytest.mark.parametrize(("held", "permission", "team", "want"), [
    ([VIEWER], READ, TEAM, (True, Ground.ALLOWED, (rule("viewer", "allow", OVER, "over", "team"),))),
    ([VIEWER], READ, OVER, (True, Ground.ALLOWED, (rule("viewer", "allow", OVER, "over"),))),
    ([VIEWER], READ, OTHER, (False, Ground.NO_ROLE, ())),
    ([VIEWER, BANNED], READ, TEAM, (False, Ground.DENIED, (
        rule("banned", "deny", TEAM, "team"), rule("viewer", "allow", OVER, "over", "team")))),
    ([VIEWER, BANNED], READ, OVER, (True, Ground.ALLOWED, (rule("viewer", "allow", OVER, "over"),))),
    ([Binding("viewer", None, None, LATER)], READ, TEAM,
     (True, Ground.ALLOWED, (rule("viewer", "allow", None, ends=LATER),))),
    ([ENDED], READ, TEAM, (False, Ground.NO_ROLE, (rule("viewer", "allow", TEAM, "team", ends=NOW, counts=False),))),
    ([Binding("gone", None)], READ, None, (False, Ground.NO_ROLE, ())),
    ([], FIND, None, (True, Ground.ALLOWED, (rule(MEMBER, "allow", None),))),
    ([], FIND, TEAM, (False, Ground.NO_ROLE, ())),
])  # fmt: skip
def test_the_lines_that_decided(
    held: list[Binding], permission: str, team: UUID | None, want: tuple[bool, Ground, tuple[Rule, ...]]
) -> None:
    assert explain(ada(*held), permission, team) == Explanation(*want)


def test_jobs_and_the_platform_and_strangers() -> None:
    policy = ada().policy
    claims = JobClaims(UUID(int=5), UUID(int=6), TEAM, ADA)
    job = Actor(kind=ActorKind.JOB, id=claims.job_id, name="job", policy=policy, team_id=TEAM, job=claims)
    assert explain(job, READ, TEAM) == Explanation(True, Ground.ALLOWED, (rule(JOB, "allow", TEAM, "team"),))
    assert explain(job, READ, OTHER) == Explanation(False, Ground.NO_ROLE, ())
    assert explain(system_actor("worker"), READ, TEAM) == Explanation(True, Ground.PLATFORM, ())
    stranger = Actor(kind=ActorKind.USER, id=UUID(int=99), name="", policy=policy)
    assert explain(stranger, READ, TEAM) == Explanation(False, Ground.NOT_ACTIVE, ())


@pytest.mark.parametrize("seed", range(30))
def test_it_says_what_the_decision_says(seed: int) -> None:
    drawn = draw_policy(Random(seed))
    policy = PolicySnapshot(drawn.rules, at=drawn.at)
    for subject in SUBJECTS:
        actor = Actor(kind=subject.kind, id=subject.id, name="", policy=policy)
        for team in (None, *TEAMS):
            for permission in PERMISSIONS:
                found = explain(actor, permission, team)
                counting = [each.effect for each in found.rules if each.counts]
                assert found.allowed == policy.may(subject, permission, team)
                assert found.allowed == ("allow" in counting and "deny" not in counting)
                assert (found.ground is Ground.ALLOWED) == found.allowed
                assert (found.ground is Ground.NOT_ACTIVE) == (subject == STRANGER)
