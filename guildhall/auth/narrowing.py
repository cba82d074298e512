"""A policy as a token sees it that is limited to some of its holder's roles: the same rules, fewer bindings."""

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakKeyDictionary

from guildhall.auth.policy import NOTHING, PolicySnapshot, RoleRules
from guildhall.auth.roles import IMPLICIT_ROLES
from guildhall.auth.subjects import Subject

NARROWED_MAX = 1_000
"""How many are kept for one snapshot of the policy; then all are made anew."""

_Narrowed = dict[tuple[Subject, frozenset[str]], PolicySnapshot]

_kept: "WeakKeyDictionary[PolicySnapshot, _Narrowed]" = WeakKeyDictionary()


def narrowed(policy: PolicySnapshot, subject: Subject, roles: Sequence[str]) -> PolicySnapshot:
    """The policy with none but those bindings of the subject whose role is among these, and nobody else's.

    What other roles of theirs deny stays denied: a token never allows more than its holder may.
    The same object for as long as the policy is, so that what is kept beside a snapshot is kept beside this one too.
    """
    made = _kept.setdefault(policy, {})
    key = (subject, frozenset(roles))
    if key not in made:
        if len(made) >= NARROWED_MAX:
            made.clear()
        held = policy.rules.bindings.get(subject)
        denying = {
            name: RoleRules(NOTHING, entry.denied)
            for name, entry in policy.rules.roles.items()
            if entry.denied and name not in key[1] | IMPLICIT_ROLES
        }
        kept = key[1] | denying.keys()
        left = {} if held is None else {subject: tuple(binding for binding in held if binding.role in kept)}
        rules = replace(policy.rules, roles={**policy.rules.roles, **denying}, bindings=left)
        made[key] = PolicySnapshot(rules, at=policy.at)
    return made[key]
