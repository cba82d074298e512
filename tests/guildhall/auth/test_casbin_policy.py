"""Compiled decisions and casbin's, on random policies of up to 40 lines and on one of 10,000."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from random import Random
from uuid import UUID

import pytest

from benchmarks.access.lines import NOW, policy_of, questions_about
from guildhall.auth.bindings import Binding
from guildhall.auth.casbin_policy import CasbinPolicy, Question, grouping_lines, policy_lines
from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.roles import MEMBER
from guildhall.auth.subjects import ActorKind, Subject

LINES_MAX = 40
MOMENTS = [datetime(2026, 3, 2, hour, tzinfo=UTC) for hour in range(4)]
TEAMS = [UUID(int=number) for number in range(1, 9)]
SUBJECTS = [Subject(ActorKind.USER, UUID(int=number)) for number in range(11, 17)]
SUBJECTS += [Subject(ActorKind.SERVICE_ACCOUNT, UUID(int=17)), Subject(ActorKind.USER, UUID(int=18))]
STRANGER = SUBJECTS[-1]
PERMISSIONS = [f"package:noun:{verb}" for verb in "abcdefg"]
ROLES = [MEMBER, "viewer", "owner", "banned", "steward", "guest"]
QUESTIONS_EACH = len(SUBJECTS) * (1 + len(TEAMS)) * len(PERMISSIONS)


@dataclass
class Drawn:
    """One policy and one moment."""

    rules: PolicyRules
    at: datetime
    lines: int


def draw_policy(draw: Random) -> Drawn:
    """Up to `LINES_MAX` lines in all: what roles allow and deny, and who holds them where and how long."""
    count = draw.randint(1, LINES_MAX)
    said = draw.randint(0, count)
    lines = {(draw.choice(ROLES), draw.choice(PERMISSIONS)): draw.random() < 0.75 for _ in range(said)}
    roles = {
        role: RoleRules(
            frozenset(name for (of, name), allowed in lines.items() if of == role and allowed),
            frozenset(name for (of, name), allowed in lines.items() if of == role and not allowed),
        )
        for role in {role for role, _ in lines}
    }
    bindings: dict[Subject, list[Binding]] = {subject: [] for subject in SUBJECTS if subject != STRANGER}
    for _ in range(count - said):
        held = draw.choice(list(bindings.values()))
        team = draw.choice([None, *TEAMS])
        held.append(Binding(draw.choice([*ROLES[1:], "gone"]), team, *draw_window(draw)))
    parents = {team: draw.choice(TEAMS[:place]) for place, team in enumerate(TEAMS) if place and draw.random() < 0.7}
    rules = PolicyRules(
        version=1,
        roles=roles,
        bindings={subject: tuple(held) for subject, held in bindings.items()},
        teams={team: f"team-{team.int}" for team in TEAMS},
        parents=parents,
    )
    return Drawn(rules, draw.choice(MOMENTS), count)


def draw_window(draw: Random) -> tuple[datetime | None, datetime | None]:
    """Mostly without an end, else any two different moments in order."""
    if draw.random() < 0.7:
        return None, None
    start, end = sorted(draw.sample(MOMENTS, 2))
    return draw.choice([None, start]), end


def count_disagreements(drawn: Drawn) -> int:
    snapshot = PolicySnapshot(drawn.rules, at=drawn.at)
    oracle = CasbinPolicy(drawn.rules, at=drawn.at)
    return sum(
        oracle.may(Question(subject, team, name)) != snapshot.may(subject, name, team)
        for subject, team, name in product(SUBJECTS, (None, *TEAMS), PERMISSIONS)
    )


class TestAgreement:
    @pytest.mark.parametrize("seed", range(12))
    def test_on_random_policies(self, seed: int) -> None:
        drawn = draw_policy(Random(seed))
        assert count_disagreements(drawn) == 0, drawn

    @pytest.mark.long
    def test_on_a_million_questions(self) -> None:
        draw = Random(20261121)
        asked = policies = 0
        while asked < 1_000_000 or policies < 2_000:
            drawn = draw_policy(draw)
            assert count_disagreements(drawn) == 0, drawn
            asked, policies = asked + QUESTIONS_EACH, policies + 1

    def test_the_drawn_policies_are_what_they_claim(self) -> None:
        drawn = [draw_policy(Random(seed)) for seed in range(200)]
        assert max(each.lines for each in drawn) == LINES_MAX
        for each in drawn:
            said = len(list(policy_lines(each.rules)))
            held = sum(map(len, each.rules.bindings.values()))
            assert said + held <= each.lines
        snapshots = [PolicySnapshot(each.rules, at=each.at) for each in drawn]
        answers = [
            snapshot.may(subject, name, team)
            for snapshot in snapshots
            for subject, team, name in product(SUBJECTS, (None, *TEAMS), PERMISSIONS)
        ]
        assert 0.02 < sum(answers) / len(answers) < 0.5, "both answers are asked for"

    @pytest.mark.parametrize(("lines", "questions"), [(1_000, 40), pytest.param(10_000, 200, marks=pytest.mark.long)])
    def test_at_many_lines(self, lines: int, questions: int) -> None:
        rules = policy_of(lines)
        assert sum(map(len, rules.bindings.values())) + len(list(policy_lines(rules))) >= lines
        snapshot, oracle = PolicySnapshot(rules, at=NOW), CasbinPolicy(rules, at=NOW)
        answers = []
        for each in questions_about(rules, questions):
            answer = snapshot.may(each.subject, each.permission, each.team_id)
            assert oracle.may(Question(each.subject, each.team_id, each.permission)) == answer, each
            answers.append(answer)
        assert {*answers} == {True, False}


class TestLines:
    def test_a_team_is_its_path_and_a_role_counts_below(self) -> None:
        over, team = TEAMS[:2]
        rules = PolicyRules(
            version=1,
            roles={"viewer": RoleRules(frozenset({"p:n:a"}), frozenset({"p:n:b"}))},
            bindings={SUBJECTS[0]: (Binding("viewer", team), Binding("viewer", None, None, MOMENTS[1]))},
            teams={over: "over", team: "team"},
            parents={team: over},
        )
        name = f"USER:{SUBJECTS[0].id}"
        assert list(policy_lines(rules)) == [["role:viewer", "p:n:a", "allow"], ["role:viewer", "p:n:b", "deny"]]
        bound = [name, "role:viewer", f"/{over}/{team}/*"]
        member = [name, "role:member", "common"]
        assert list(grouping_lines(rules, at=MOMENTS[1])) == [member, bound]
        everywhere = [[name, "role:viewer", "common"], [name, "role:viewer", "/*"]]
        assert list(grouping_lines(rules, at=MOMENTS[0])) == [member, bound, *everywhere]
