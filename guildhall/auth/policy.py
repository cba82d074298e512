"""Decisions without a query: the rules of one policy version at one time, compiled into sets, immutable, swapped whole.

A role bound in a team counts there and in the teams below it. A role bound organisation-wide counts in every team.
`team_id=None` asks about the organisation's common ground (what is visible to everybody, what belongs to no team):
there count the organisation-wide roles and the implicit role `member`. A denied permission stays denied, whatever
another role allows. A temporary role counts from `starts_at` until just before `ends_at`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from guildhall.auth.bindings import Binding, BindingsOfSubjects
from guildhall.auth.roles import JOB, MEMBER
from guildhall.auth.subjects import Subject

NOTHING: frozenset[str] = frozenset()
TEAM_LEVELS_MAX = 8
"""How deep the tree of teams may be; the database refuses more, and so every walk to the top ends."""


@dataclass(frozen=True)
class RoleRules:
    """What a role allows and what it denies."""

    allowed: frozenset[str]
    denied: frozenset[str]


@dataclass(frozen=True)
class PolicyRules:
    """All that decisions rest on at one version, as the tables say. `bindings` has a key for every active subject.

    `teams` are names by id, `parents` the team above each that has one.
    """

    version: int
    roles: Mapping[str, RoleRules]
    bindings: Mapping[Subject, tuple[Binding, ...]]
    teams: Mapping[UUID, str]
    parents: Mapping[UUID, UUID] = field(default_factory=dict)

    def line(self, team_id: UUID) -> Iterator[UUID]:
        """The team and those above it, upwards."""
        above: UUID | None = team_id
        for _ in range(TEAM_LEVELS_MAX):
            if above is None:
                return
            yield above
            above = self.parents.get(above)


@dataclass(frozen=True)
class _Compiled:
    """The permissions of one subject: on common ground, where a role is bound, and in teams below none of those.

    It was made from these bindings on that ground, and counts for no others.
    """

    ground: "_Ground"
    bindings: tuple[Binding, ...]
    common: frozenset[str]
    elsewhere: frozenset[str]
    teams: Mapping[UUID, frozenset[str]]
    where: dict[str, frozenset[UUID] | None] = field(default_factory=dict)  # at most one entry for each permission


class _Ground:
    """What all subjects' permissions rest on besides their own bindings: the roles, the tree, and the time."""

    def __init__(self, rules: PolicyRules, since: datetime | None, until: datetime | None) -> None:
        self.rests_on = (rules.roles, rules.teams, rules.parents)
        self.since, self.until = since, until
        self.role_sets: dict[frozenset[str], frozenset[str]] = {}  # one entry for each set of roles that people hold
        self.below: dict[UUID, list[UUID]] = {}
        for team, above in rules.parents.items():
            self.below.setdefault(above, []).append(team)

    def standing_under(self, rules: PolicyRules, since: datetime | None, until: datetime | None) -> "_Ground | None":
        """This ground, where what was compiled on it counts under other rules as well."""
        others = (rules.roles, rules.teams, rules.parents)
        same = all(ours is theirs for ours, theirs in zip(self.rests_on, others, strict=True))
        return self if same and (self.since, self.until) == (since, until) else None


class PolicySnapshot:
    """One version of the policy from `since` until `until`, when a temporary role begins or ends; None is without end.

    Every answer is a few dictionary look-ups; a subject is compiled when first asked about. Without `at`, temporary
    roles count for nothing.
    """

    def __init__(
        self, rules: PolicyRules, *, at: datetime | None = None, before: "PolicySnapshot | None" = None
    ) -> None:
        bindings = rules.bindings
        held = bindings if isinstance(bindings, BindingsOfSubjects) else BindingsOfSubjects.of(bindings)
        self.rules = rules
        self.at = at
        self.since, self.until = held.boundaries_around(at)
        self._held = held
        # At most one entry for each subject that was asked about, shared with the versions before and after.
        self._subjects: dict[Subject, _Compiled] = {} if before is None else before._subjects  # noqa: SLF001 -- its own class
        kept = None if before is None else before._ground.standing_under(rules, self.since, self.until)  # noqa: SLF001
        self._ground: _Ground = kept or _Ground(rules, self.since, self.until)

    def succeeded_by(self, rules: PolicyRules, *, at: datetime | None) -> "PolicySnapshot":
        """The snapshot of other rules, or of another time; it keeps what was compiled of those who did not change."""
        return PolicySnapshot(rules, at=at, before=self)

    def covers(self, at: datetime) -> bool:
        """Whether this snapshot is of that time: since it was made no temporary role has begun or ended."""
        if self.at is None and (self.since, self.until) != (None, None):
            return False
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)

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
        if compiled is None:
            return NOTHING
        if team_id is None:
            return compiled.common
        teams = compiled.teams
        if teams:
            above: UUID | None = team_id
            for _ in range(TEAM_LEVELS_MAX):
                if above is None:
                    break
                found = teams.get(above)
                if found is not None:  # the nearest holds what is bound further up as well
                    return found
                above = self.rules.parents.get(above)
        return compiled.elsewhere

    def teams_where(self, subject: Subject, permission: str) -> frozenset[UUID] | None:
        """The teams in which the subject may; None means all of them, also those made later."""
        compiled = self._compiled(subject)
        if compiled is None:
            return frozenset()
        if permission not in compiled.where:
            compiled.where[permission] = self._teams_where(compiled, permission)
        return compiled.where[permission]

    def teams_of(self, subject: Subject) -> frozenset[UUID]:
        """The teams in which the subject holds a role of their own; no role from above makes anybody a member."""
        compiled = self._compiled(subject)
        return frozenset() if compiled is None else frozenset(compiled.teams)

    def bindings_of(self, subject: Subject) -> tuple[Binding, ...]:
        """The roles that the subject holds now; nothing for one that is unknown or deactivated."""
        return tuple(binding for binding in self._held.held_by(subject) or () if binding.counts(self.at))

    def all_bindings_of(self, subject: Subject) -> tuple[Binding, ...] | None:
        """With those that have ended or not begun; None for one that is unknown or deactivated."""
        return self._held.held_by(subject)

    def some_subjects(self, maximum: int) -> list[Subject]:
        """A few of the active subjects, others at each version."""
        return self._held.some(maximum, self.version)

    def job_permissions(self) -> frozenset[str]:
        """What a running job may do in its own team."""
        return self._of_roles(frozenset({JOB}))

    def roles_with(self, permission: str) -> tuple[str, ...]:
        """The names of roles that allow the permission, so that a refusal can say what to ask for."""
        return tuple(sorted(name for name, rules in self.rules.roles.items() if permission in rules.allowed))

    def _compiled(self, subject: Subject) -> _Compiled | None:
        bindings = self._held.held_by(subject)
        if bindings is None:
            return None  # and nothing is kept, so that guesses fill no memory
        compiled = self._subjects.get(subject)
        if compiled is None or compiled.bindings is not bindings or compiled.ground is not self._ground:
            compiled = self._subjects[subject] = self._compile(bindings)
        return compiled

    def _compile(self, bindings: tuple[Binding, ...]) -> _Compiled:
        counting = [binding for binding in bindings if binding.counts(self.at)]
        everywhere = frozenset(binding.role for binding in counting if binding.team_id is None)
        by_team: dict[UUID, set[str]] = {}
        for binding in counting:
            if binding.team_id is not None:
                by_team.setdefault(binding.team_id, set()).add(binding.role)
        teams = {}
        for team in by_team:
            held = everywhere.union(*(by_team[above] for above in self.rules.line(team) if above in by_team))
            teams[team] = self._of_roles(held)
        return _Compiled(
            ground=self._ground,
            bindings=bindings,
            common=self._of_roles(everywhere | {MEMBER}),
            elsewhere=self._of_roles(everywhere),
            teams=MappingProxyType(teams),
        )

    def _teams_where(self, compiled: _Compiled, permission: str) -> frozenset[UUID] | None:
        """From each team where a role is bound down to the next such team, which answers for itself."""
        allowed: set[UUID] = set()
        excepted: set[UUID] = set()
        for bound, permissions in compiled.teams.items():
            found = allowed if permission in permissions else excepted
            waiting = [bound]
            while waiting:  # a tree: every team is met once
                team = waiting.pop()
                found.add(team)
                waiting += (below for below in self._ground.below.get(team, ()) if below not in compiled.teams)
        if permission not in compiled.elsewhere:
            return frozenset(allowed)
        return frozenset(self.rules.teams.keys() - excepted) if excepted else None

    def _of_roles(self, roles: frozenset[str]) -> frozenset[str]:
        found = self._ground.role_sets.get(roles)
        if found is None:
            rules = [self.rules.roles[role] for role in roles if role in self.rules.roles]
            allowed = NOTHING.union(*(entry.allowed for entry in rules))
            found = self._ground.role_sets[roles] = allowed.difference(*(entry.denied for entry in rules))
        return found
