"""The policy in casbin's language: what the rules mean, said by somebody else's program.

casbin reads every line for every question, so it does not decide requests. It is the oracle: the compiled decisions of
`policy` must agree with it. Tests ask both everything; a running process asks both a sample of each new version.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice, product
from typing import TypeVar
from uuid import UUID

import casbin
from casbin.util import key_match_func

from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.roles import MEMBER
from guildhall.auth.subjects import Subject

# A team's domain is its path from the top, `/parent/team/`; `common` is the organisation's common ground. A role counts
# in all domains that match the one it is bound in: `/parent/team/*` is the team and all below it, `/*` is every team.
MODEL = """
[request_definition]
r = sub, dom, act

[policy_definition]
p = role, act, eft

[role_definition]
g = _, _, _

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = r.act == p.act && g(r.sub, p.role, r.dom)
"""
COMMON_GROUND = "common"
EVERYWHERE = "/*"

Entry = TypeVar("Entry")

SAMPLE_SUBJECTS_MAX = 4
SAMPLE_PERMISSIONS_MAX = 6


@dataclass(frozen=True)
class Question:
    """Whether this subject may use this permission in this team, or on common ground."""

    subject: Subject
    team_id: UUID | None
    permission: str


class CasbinPolicy:
    """One version of the policy at one moment, as a casbin enforcer."""

    def __init__(self, rules: PolicyRules, *, at: datetime | None = None) -> None:
        self._rules = rules
        self._enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=MODEL))
        self._enforcer.add_named_domain_matching_func("g", key_match_func)
        self._enforcer.add_policies(list(policy_lines(rules)))
        self._enforcer.add_grouping_policies(list(grouping_lines(rules, at=at)))

    def may(self, question: Question) -> bool:
        """Casbin's own answer."""
        domain = COMMON_GROUND if question.team_id is None else _path(self._rules, question.team_id)
        return bool(self._enforcer.enforce(_name(question.subject), domain, question.permission))


def policy_lines(rules: PolicyRules) -> Iterator[list[str]]:
    """The lines `p = role, permission, effect`."""
    for role, entry in rules.roles.items():
        yield from ([_role(role), permission, "allow"] for permission in sorted(entry.allowed))
        yield from ([_role(role), permission, "deny"] for permission in sorted(entry.denied))


def grouping_lines(rules: PolicyRules, *, at: datetime | None) -> Iterator[list[str]]:
    """The lines `g = subject, role, domain` that count at that moment.

    Every active subject is a member of the organisation on common ground, where roles of the organisation count too.
    """
    for subject, held in rules.bindings.items():
        yield [_name(subject), _role(MEMBER), COMMON_GROUND]
        for binding in held:
            if not binding.counts(at):
                continue
            if binding.team_id is None:
                yield [_name(subject), _role(binding.role), COMMON_GROUND]
                yield [_name(subject), _role(binding.role), EVERYWHERE]
            else:
                yield [_name(subject), _role(binding.role), f"{_path(rules, binding.team_id)}*"]


def disagreements(snapshot: PolicySnapshot) -> list[Question]:
    """Questions of a small sample, another for each version, on which the snapshot and casbin differ: none, always.

    Casbin is given the lines that the sample is about, and no others.
    """
    rules = snapshot.rules
    subjects = sorted(snapshot.some_subjects(SAMPLE_SUBJECTS_MAX))
    known = sorted({name for entry in rules.roles.values() for name in entry.allowed | entry.denied})
    permissions = frozenset(_pick(known, SAMPLE_PERMISSIONS_MAX, rules.version))
    held = {MEMBER, *(binding.role for subject in subjects for binding in rules.bindings[subject])}
    roles = {
        role: RoleRules(entry.allowed & permissions, entry.denied & permissions)
        for role, entry in rules.roles.items()
        if role in held
    }
    sampled = replace(rules, roles=roles, bindings={subject: rules.bindings[subject] for subject in subjects})
    oracle = CasbinPolicy(sampled, at=snapshot.at)
    questions = [
        Question(subject, team, permission)
        for subject, permission in product(subjects, sorted(permissions))
        for team in (None, *sorted(snapshot.teams_of(subject))[:1])
    ]
    return [
        question
        for question in questions
        if oracle.may(question) != snapshot.may(question.subject, question.permission, question.team_id)
    ]


def _pick(entries: Collection[Entry], maximum: int, turn: int) -> list[Entry]:
    """At most `maximum` entries, evenly spread, beginning elsewhere at each turn."""
    stride = max(1, len(entries) // maximum)
    return list(islice(entries, turn % stride, None, stride))[:maximum]


def _name(subject: Subject) -> str:
    return f"{subject.kind.value}:{subject.id}"


def _path(rules: PolicyRules, team_id: UUID) -> str:
    return "/" + "".join(f"{team}/" for team in reversed(list(rules.line(team_id))))


def _role(name: str) -> str:
    return f"role:{name}"  # so that no role can be mistaken for a subject
