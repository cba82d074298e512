"""Decisions without a query: the rules of one policy version, compiled into sets, immutable, swapped whole.

A role bound in a team counts there. A role bound organisation-wide counts in every team. `team_id=None` asks about the
organisation's common ground (what is visible to everybody, what belongs to no team): there count the organisation-wide
roles and the implicit role `member`. A denied permission stays denied, whatever another role allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from uuid import UUID

from guildhall.auth.roles import JOB, MEMBER
from guildhall.auth.subjects import Subject

NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RoleRules:
    """What a role allows and what it denies."""

    allowed: frozenset[str]
    denied: frozenset[str]


@dataclass(frozen=True)
class Binding:
    """A role of a subject in a team, or organisation-wide where `team_id` is None."""

    role: str
    team_id: UUID | None


@dataclass(frozen=True)
class PolicyRules:
    """All that decisions rest on at one version, as the tables say. `bindings` has a key for every active subject."""

    version: int
    roles: Mapping[str, RoleRules]
    bindings: Mapping[Subject, tuple[Binding, ...]]
    teams: Mapping[UUID, str]


@dataclass(frozen=True)
class _Compiled:
    """The permissions of one subject: on common ground, in teams where a role is bound, and in all other teams."""

    common: frozenset[str]
    elsewhere: frozenset[str]
    teams: Mapping[UUID, frozenset[str]]


_STRANGER = _Compiled(common=NOTHING, elsewhere=NOTHING, teams=MappingProxyType({}))


class PolicySnapshot:
    """One version of the policy. Every answer is a dictionary look-up; a subject is compiled when first asked about."""

    def __init__(self, rules: PolicyRules) -> None:
        self.rules = rules
        self._subjects: dict[Subject, _Compiled] = {}  # at most one entry for each active subject
        self._role_sets: dict[frozenset[str], frozenset[str]] = {}  # one entry for each set of roles that people hold

    @property
    def version(self) -> int:
        """Rises with each change of the policy, in every process alike."""
        return self.rules.version

    def may(self, subject: Subject, permission: str, team_id: UUID | None) -> bool:
        """Whether the roles of the subject allow it in the team, or with None on the organisation's common ground."""
        return permission in self.permissions(subject, team_id)

    def permissions(self, subject: Subject, team_id: UUID | None) -> frozenset[str]:
        """All that the subject may do there; nothing for a subject that is unknown or deactivated."""
        compiled = self._compiled(subject)
        if team_id is None:
            return compiled.common
        return compiled.teams.get(team_id, compiled.elsewhere)

    def teams_where(self, subject: Subject, permission: str) -> frozenset[UUID] | None:
        """The teams in which the subject may; None means all of them, also those made later."""
        compiled = self._compiled(subject)
        if permission not in compiled.elsewhere:
            return frozenset(team for team, allowed in compiled.teams.items() if permission in allowed)
        excepted = {team for team, allowed in compiled.teams.items() if permission not in allowed}
        return frozenset(self.rules.teams.keys() - excepted) if excepted else None

    def teams_of(self, subject: Subject) -> frozenset[UUID]:
        """The teams in which the subject holds a role of their own; organisation-wide roles make nobody a member."""
        return frozenset(self._compiled(subject).teams)

    def job_permissions(self) -> frozenset[str]:
        """What a running job may do in its own team."""
        return self._of_roles(frozenset({JOB}))

    def roles_with(self, permission: str) -> tuple[str, ...]:
        """The names of roles that allow the permission, so that a refusal can say what to ask for."""
        return tuple(sorted(name for name, rules in self.rules.roles.items() if permission in rules.allowed))

    def _compiled(self, subject: Subject) -> _Compiled:
        compiled = self._subjects.get(subject)
        if compiled is None:
            bindings = self.rules.bindings.get(subject)
            if bindings is None:
                return _STRANGER  # and not kept, so that guesses fill no memory
            compiled = self._subjects[subject] = self._compile(bindings)
        return compiled

    def _compile(self, bindings: tuple[Binding, ...]) -> _Compiled:
        everywhere = frozenset(binding.role for binding in bindings if binding.team_id is None)
        by_team: dict[UUID, set[str]] = {}
        for binding in bindings:
            if binding.team_id is not None:
                by_team.setdefault(binding.team_id, set()).add(binding.role)
        return _Compiled(
            common=self._of_roles(everywhere | {MEMBER}),
            elsewhere=self._of_roles(everywhere),
            teams=MappingProxyType({team: self._of_roles(everywhere | roles) for team, roles in by_team.items()}),
        )

    def _of_roles(self, roles: frozenset[str]) -> frozenset[str]:
        found = self._role_sets.get(roles)
        if found is None:
            rules = [self.rules.roles[role] for role in roles if role in self.rules.roles]
            allowed = NOTHING.union(*(entry.allowed for entry in rules))
            found = self._role_sets[roles] = allowed.difference(*(entry.denied for entry in rules))
        return found
