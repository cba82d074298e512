"""The policy in casbin's language: what the rules mean, said by somebody else's program.

casbin reads every line for every question, so it does not decide requests. It is the oracle: the compiled decisions of
`policy` must agree with it. Tests ask both everything; a running process asks both a sample of each new version.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar
from uuid import UUID

import casbin

from guildhall.auth.policy import Binding, PolicyRules, PolicySnapshot
from guildhall.auth.roles import MEMBER
from guildhall.auth.subjects import Subject

# Domains are teams by id; `common` is the organisation's common ground; a role bound in `*` counts in all of them.
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
m = r.act == p.act && (g(r.sub, p.role, r.dom) || g(r.sub, p.role, "*"))
"""
COMMON_GROUND = "common"
EVERYWHERE = "*"

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
    """One version of the policy as a casbin enforcer."""

    def __init__(self, rules: PolicyRules) -> None:
        self._enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=MODEL))
        self._enforcer.add_policies(list(policy_lines(rules)))
        self._enforcer.add_grouping_policies(list(grouping_lines(rules.bindings)))

    def may(self, question: Question) -> bool:
        """Casbin's own answer."""
        domain = COMMON_GROUND if question.team_id is None else str(question.team_id)
        return bool(self._enforcer.enforce(_name(question.subject), domain, question.permission))


def policy_lines(rules: PolicyRules) -> Iterator[list[str]]:
    """The lines `p = role, permission, effect`."""
    for role, entry in rules.roles.items():
        yield from ([_role(role), permission, "allow"] for permission in sorted(entry.allowed))
        yield from ([_role(role), permission, "deny"] for permission in sorted(entry.denied))


def grouping_lines(bindings: Mapping[Subject, tuple[Binding, ...]]) -> Iterator[list[str]]:
    """The lines `g = subject, role, domain`; every active subject is a member of the organisation on common ground."""
    for subject, held in bindings.items():
        yield [_name(subject), _role(MEMBER), COMMON_GROUND]
        for binding in held:
            domain = EVERYWHERE if binding.team_id is None else str(binding.team_id)
            yield [_name(subject), _role(binding.role), domain]


def disagreements(snapshot: PolicySnapshot) -> list[Question]:
    """Questions of a small sample, another for each version, on which the snapshot and casbin differ: none, always."""
    rules = snapshot.rules
    subjects = _pick(sorted(rules.bindings), SAMPLE_SUBJECTS_MAX, rules.version)
    known = sorted({name for entry in rules.roles.values() for name in entry.allowed | entry.denied})
    oracle = CasbinPolicy(replace(rules, bindings={subject: rules.bindings[subject] for subject in subjects}))
    questions = [
        Question(subject, team, permission)
        for subject, permission in product(subjects, _pick(known, SAMPLE_PERMISSIONS_MAX, rules.version))
        for team in (None, *sorted(snapshot.teams_of(subject))[:1])
    ]
    return [
        question
        for question in questions
        if oracle.may(question) != snapshot.may(question.subject, question.permission, question.team_id)
    ]


def _pick(sorted_entries: list[Entry], maximum: int, turn: int) -> list[Entry]:
    """At most `maximum` entries, evenly spread, beginning elsewhere at each turn."""
    stride = max(1, len(sorted_entries) // maximum)
    return sorted_entries[turn % stride :: stride][:maximum]


def _name(subject: Subject) -> str:
    return f"{subject.kind.value}:{subject.id}"


def _role(name: str) -> str:
    return f"role:{name}"  # so that no role can be mistaken for a subject
