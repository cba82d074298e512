"""The caller of one request, with the policy that was in force when it came in."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from guildhall.auth.policy import PolicyRules, PolicySnapshot
from guildhall.auth.subjects import ActorKind, Subject

_SYSTEM_NAMESPACE = UUID("0198e0f2-6d1c-7c3e-9a51-67756c646861")
_NO_POLICY = PolicySnapshot(PolicyRules(version=0, roles={}, bindings={}, teams={}))


@dataclass(frozen=True)
class RequestContext:
    """Where a call came from, for the audit record; `address` is the peer's, or a proxy's word where one is trusted."""

    request_id: str | None = None
    address: str | None = None
    client: str | None = None


@dataclass(frozen=True)
class JobClaims:
    """What a job's token is narrowed to: one attempt of one job of one team."""

    job_id: UUID
    attempt_id: UUID
    team_id: UUID
    submitted_by: UUID


@dataclass(frozen=True)
class TokenUse:
    """The token that the caller showed, when its use was last noted, when it ends, and what it is limited to, if so.

    `emergency_id`: it was made in an emergency.
    """

    id: UUID
    last_used_at: datetime | None
    expires_at: datetime | None = None
    roles: tuple[str, ...] | None = None
    networks: tuple[str, ...] | None = None
    emergency_id: UUID | None = None

    @property
    def is_limited(self) -> bool:
        """Whether it allows less than its holder may."""
        return self.roles is not None or self.networks is not None


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who acts. `id` is the user's, the service account's or the job's; the platform's own parts have a fixed one each.

    `on_behalf_of` is the person who submitted the job. `team_id` is the one team of a service account or a job.
    """

    kind: ActorKind
    id: UUID
    name: str
    policy: PolicySnapshot
    request: RequestContext = RequestContext()
    on_behalf_of: UUID | None = None
    team_id: UUID | None = None
    job: JobClaims | None = None
    token: TokenUse | None = None

    def asking(self, request: RequestContext) -> "Actor":
        """The same caller in another request; `dataclasses.replace` takes ten times as long, for each request."""
        twin = object.__new__(Actor)
        twin.__dict__.update(self.__dict__, request=request)
        return twin

    @property
    def subject(self) -> Subject:
        """As the policy knows this caller."""
        return Subject(self.kind, self.id)

    @property
    def user_id(self) -> UUID | None:
        """The person behind the call: the user, or who submitted the job; None for programs."""
        return self.id if self.kind is ActorKind.USER else self.on_behalf_of

    @property
    def team_ids(self) -> frozenset[UUID]:
        """The teams that the caller belongs to."""
        if self.kind is ActorKind.JOB:
            return frozenset() if self.team_id is None else frozenset({self.team_id})
        own = frozenset() if self.team_id is None else frozenset({self.team_id})
        return self.policy.teams_of(self.subject) | own

    def may(self, permission: str, team_id: UUID | None) -> bool:
        """Whether the caller may in that team; None asks about the organisation's common ground, see `policy`."""
        if self.kind is ActorKind.SYSTEM:
            return True
        if self.kind is ActorKind.JOB:
            return team_id is not None and team_id == self.team_id and permission in self.policy.job_permissions()
        return self.policy.may(self.subject, permission, team_id)

    def teams_where(self, permission: str) -> frozenset[UUID] | None:
        """The teams in which the caller may; None means every team."""
        if self.kind is ActorKind.SYSTEM:
            return None
        if self.kind is ActorKind.JOB:
            return self.team_ids if permission in self.policy.job_permissions() else frozenset()
        return self.policy.teams_where(self.subject, permission)

    def shows_token_for(self, permission: str) -> bool:
        """Whether the token is for that at all: one limited to roles is for what these allow.

        Asked where a right is the person's by name, as a steward's or a grant's beneficiary's, and by no role.
        """
        limits = None if self.token is None else self.token.roles
        roles = self.policy.rules.roles
        return limits is None or any(permission in roles[name].allowed for name in limits if name in roles)

    def may_somewhere(self, permission: str) -> bool:
        """Whether there is any place, a team or the common ground, where the caller may; rows are filtered after."""
        return self.may(permission, None) or self.teams_where(permission) != frozenset()


def system_actor(name: str, *, on_behalf_of: UUID | None = None) -> Actor:
    """A part of the platform that acts by itself, as the worker does; it may all, and is recorded like anybody else."""
    return Actor(
        kind=ActorKind.SYSTEM,
        id=uuid5(_SYSTEM_NAMESPACE, name),
        name=name,
        policy=_NO_POLICY,
        request=RequestContext(client=name),
        on_behalf_of=on_behalf_of,
    )
