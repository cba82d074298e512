"""Why somebody may, or may not: the lines of the policy that decided, where they are bound, and how they came there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from guildhall.auth.actor import Actor
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import RoleRules
from guildhall.auth.roles import JOB, MEMBER
from guildhall.auth.subjects import ActorKind


class Ground(StrEnum):
    """What decided."""

    ALLOWED = "ALLOWED"
    DENIED = "DENIED"
    NO_ROLE = "NO_ROLE"
    NOT_ACTIVE = "NOT_ACTIVE"
    PLATFORM = "PLATFORM"


@dataclass(frozen=True)
class Rule:
    """One line of a role that somebody holds here; `path` leads from the team it is bound in to the one asked about.

    `counts` is false where the role has ended or not begun.
    """

    role: str
    effect: str
    team_id: UUID | None
    path: tuple[str, ...]
    starts_at: datetime | None
    ends_at: datetime | None
    counts: bool


@dataclass(frozen=True)
class Explanation:
    """The decision, and all lines about the permission among the roles held there; those that decided come first."""

    allowed: bool
    ground: Ground
    rules: tuple[Rule, ...]


def explain(actor: Actor, permission: str, team_id: UUID | None) -> Explanation:
    """Why the actor may or may not in that team, or with None on common ground; what `Actor.may` says, and no other."""
    allowed = actor.may(permission, team_id)
    if actor.kind is ActorKind.SYSTEM:
        return Explanation(allowed, Ground.PLATFORM, ())
    if actor.kind is not ActorKind.JOB and actor.policy.all_bindings_of(actor.subject) is None:
        return Explanation(allowed, Ground.NOT_ACTIVE, ())
    rules = sorted(_rules(actor, permission, team_id), key=lambda rule: (not rule.counts, rule.effect != "deny"))
    denied = any(rule.counts and rule.effect == "deny" for rule in rules)
    ground = Ground.ALLOWED if allowed else Ground.DENIED if denied else Ground.NO_ROLE
    return Explanation(allowed, ground, tuple(rules))


def _rules(actor: Actor, permission: str, team_id: UUID | None) -> Iterator[Rule]:
    policy = actor.policy
    names = policy.rules.teams
    line = [] if team_id is None else list(policy.rules.line(team_id))
    for binding in _held(actor, team_id):
        if binding.team_id is not None and binding.team_id not in line:
            continue
        below: Sequence[UUID] = [] if binding.team_id is None else line[line.index(binding.team_id) :: -1]
        for effect in _effects(policy.rules.roles.get(binding.role), permission):
            yield Rule(
                role=binding.role,
                effect=effect,
                team_id=binding.team_id,
                path=tuple(names.get(team, str(team)) for team in below),
                starts_at=binding.starts_at,
                ends_at=binding.ends_at,
                counts=binding.counts(policy.at),
            )


def _held(actor: Actor, team_id: UUID | None) -> tuple[Binding, ...]:
    if actor.kind is ActorKind.JOB:
        return (Binding(JOB, actor.team_id),)
    implicit = (Binding(MEMBER, None),) if team_id is None else ()
    return implicit + (actor.policy.all_bindings_of(actor.subject) or ())


def _effects(rules: RoleRules | None, permission: str) -> list[str]:
    if rules is None:
        return []
    return [effect for effect, names in (("deny", rules.denied), ("allow", rules.allowed)) if permission in names]
