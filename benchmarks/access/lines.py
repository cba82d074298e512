"""A policy of so many lines, as an organisation would have it: what roles say, and who holds them where."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

from guildhall.auth.bindings import Binding
from guildhall.auth.permissions import PERMISSIONS
from guildhall.auth.policy import PolicyRules, RoleRules
from guildhall.auth.roles import MEMBER
from guildhall.auth.subjects import ActorKind, Subject

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ROLE_LINES = 20
ROLE_SHARE = 0.1
ROLE_LINES_MAX = 2_000
ROLES_EACH = 4
TEAM_LINES = 100
TEAMS_BELOW = 5


@dataclass(frozen=True)
class Question:
    """One decision."""

    subject: Subject
    permission: str
    team_id: UUID | None


def policy_of(lines: int, *, seed: int = 1) -> PolicyRules:
    """About so many lines: up to `ROLE_LINES_MAX` are what roles allow and deny, all others say who holds which.

    People hold `ROLES_EACH` roles, a fiftieth of them until tomorrow; teams stand in a tree, with `TEAMS_BELOW` under
    each that has any.
    """
    draw = Random(seed)  # noqa: S311 -- no secret, but the same policy in every run
    role_lines = max(ROLE_LINES, min(ROLE_LINES_MAX, int(lines * ROLE_SHARE)))
    roles = {f"role-{number}": _role(draw) for number in range(role_lines // ROLE_LINES)}
    named = [*roles]
    teams = [_key(draw) for _ in range(max(TEAMS_BELOW, lines // TEAM_LINES))]
    parents = {team: teams[(place - 1) // TEAMS_BELOW] for place, team in enumerate(teams) if place}
    bindings: dict[Subject, tuple[Binding, ...]] = {}
    shared: dict[Binding, Binding] = {}
    left = lines - role_lines
    while left > 0:
        held = {_binding(draw, named, teams) for _ in range(min(ROLES_EACH, left))}
        bindings[Subject(ActorKind.USER, _key(draw))] = tuple(shared.setdefault(each, each) for each in held)
        left -= len(held)
    roles[MEMBER] = RoleRules(frozenset(draw.sample(sorted(PERMISSIONS), 8)), frozenset())
    return PolicyRules(
        version=1,
        roles=roles,
        bindings=bindings,
        teams={team: f"team-{place}" for place, team in enumerate(teams)},
        parents=parents,
    )


def questions_about(rules: PolicyRules, count: int, *, seed: int = 2) -> list[Question]:
    """Of people who hold roles, in a team where they do, in one drawn by chance, or on common ground."""
    draw = Random(seed)  # noqa: S311
    subjects, teams, permissions = [*rules.bindings], [*rules.teams], sorted(PERMISSIONS)
    questions = []
    for _ in range(count):
        subject = draw.choice(subjects)
        own = [binding.team_id for binding in rules.bindings[subject]]
        questions.append(Question(subject, draw.choice(permissions), draw.choice([None, draw.choice(teams), *own])))
    return questions


def _key(draw: Random) -> UUID:
    return UUID(int=draw.getrandbits(128), version=4)


def _role(draw: Random) -> RoleRules:
    """Nine tenths of the lines allow."""
    names = draw.sample(sorted(PERMISSIONS), ROLE_LINES)
    denied = ROLE_LINES // 10
    return RoleRules(frozenset(names[denied:]), frozenset(names[:denied]))


def _binding(draw: Random, roles: list[str], teams: list[UUID]) -> Binding:
    ends_at = NOW + timedelta(days=1) if draw.random() < 1 / 50 else None
    return Binding(draw.choice(roles), draw.choice(teams) if draw.random() < 49 / 50 else None, None, ends_at)
