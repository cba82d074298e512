"""Changes of the policy: roles and their lines, who holds them, roles taken in an emergency, and where teams stand."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import ServiceAccount, Team, User
from guildhall.errors import Invalid, NotFound
from guildhall.graphql.context import Call
from guildhall.graphql.declare import extend, one, payload, reference
from guildhall.graphql.ids import decode_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID
from guildhall.organisation.bindings import give_role, take_role_away
from guildhall.organisation.emergencies import REVIEW, TAKE, review_emergency, take_role
from guildhall.organisation.giving import BIND
from guildhall.organisation.roles import CHANGE as CHANGE_ROLE
from guildhall.organisation.roles import Effect, create_role, set_line
from guildhall.organisation.service_accounts import CHANGE as CHANGE_SERVICE_ACCOUNT
from guildhall.organisation.service_accounts import deactivate_service_account
from guildhall.organisation.teams import CHANGE as CHANGE_TEAM
from guildhall.organisation.teams import move_team
from guildhall.schema.tokens import ServiceAccountName, UnknownHolder
from guildhall.schema.viewer import ACTORS

SECONDS_MAX = 10**6
"""Far more than any emergency may last, and less than a timedelta can hold."""


class UnknownTeam(NotFound):
    """No team of that name."""


@input_type
class CreateRoleInput(MutationInput):
    """A role that allows nothing yet."""

    name: str
    sentence: str


@input_type
class SetRoleLineInput(MutationInput):
    """One line; without an effect it is taken away."""

    role: str
    permission: str
    effect: Effect | None = None


@payload
class RolePayload:
    """The role as it is now."""

    role = one("Role", local="role")


@input_type
class GiveRoleInput(MutationInput):
    """Who holds what where: a person by address or a service account; in the organisation where no team is named."""

    role: str
    email: str | None = None
    service_account: ServiceAccountName | None = None
    team: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None


@payload
class GiveRolePayload:
    """The role as it is held."""

    role_binding = one("RoleBinding", local="binding")


@input_type
class TakeRoleAwayInput(MutationInput):
    """Which one."""

    role_binding_id: ID


@payload
class TakeRoleAwayPayload:
    """Whose role it was."""

    holder = reference("kind", "holder", types=ACTORS)


@input_type
class TakeRoleInput(MutationInput):
    """A role for a short time; in the organisation where no team is named."""

    role: str
    reason: str
    duration_seconds: int
    team: str | None = None


@input_type
class ReviewEmergencyRoleInput(MutationInput):
    """What was found."""

    emergency_role_id: ID
    review: str


@payload
class EmergencyRolePayload:
    """The alarm."""

    emergency_role = one("EmergencyRole", local="emergency")


@input_type
class DeactivateServiceAccountInput(MutationInput):
    """Which program; it does not come back."""

    service_account: ServiceAccountName


@payload
class DeactivateServiceAccountPayload:
    """The program, as it ended."""

    service_account = one("ServiceAccount", local="account")


@input_type
class MoveTeamInput(MutationInput):
    """Where the team stands from now on; at the top where no other is named."""

    team: str
    parent: str | None = None


@payload
class MoveTeamPayload:
    """The team in its place."""

    team = one("Team", local="team")


@extend("Mutation")
class AccessMutations:
    """The policy."""

    @mutation(permission=CHANGE_ROLE, payload=RolePayload)
    async def create_role(call: Call, given: CreateRoleInput) -> Mapping[str, Any]:
        """Make a role of the organisation's own."""
        await create_role(
            call.session, call.actor, name=given.name, sentence=given.sentence, at=call.at, new_id=call.new_id
        )
        return {"role": given.name}

    @mutation(permission=CHANGE_ROLE, payload=RolePayload)
    async def set_role_line(call: Call, given: SetRoleLineInput) -> Mapping[str, Any]:
        """Let a role allow or deny a permission, or say nothing of it."""
        await set_line(
            call.session, call.actor, role=given.role, permission=given.permission, effect=given.effect,
            at=call.at, new_id=call.new_id,
        )  # fmt: skip
        return {"role": given.role}

    @mutation(permission=BIND, payload=GiveRolePayload)
    async def give_role(call: Call, given: GiveRoleInput) -> Mapping[str, Any]:
        """Let somebody hold a role in one place, always or from one moment to another."""
        binding = await give_role(
            call.session,
            call.actor,
            await _holder(call, given),
            role=given.role,
            team_id=await _team(call, given.team, "team"),
            starts_at=given.starts_at,
            ends_at=given.ends_at,
            at=call.at,
            new_id=call.new_id,
        )
        return {"binding": binding}

    @mutation(permission=BIND, payload=TakeRoleAwayPayload)
    async def take_role_away(call: Call, given: TakeRoleAwayInput) -> Mapping[str, Any]:
        """End somebody's role at once; with one's own of an emergency, give it back."""
        key = decode_id(given.role_binding_id, "RoleBinding", field="roleBindingId")
        holder = await take_role_away(call.session, call.actor, binding_id=key, at=call.at, new_id=call.new_id)
        return {"kind": holder.kind.value, "holder": holder.id}

    @mutation(permission=TAKE, payload=EmergencyRolePayload)
    async def take_emergency_role(call: Call, given: TakeRoleInput) -> Mapping[str, Any]:
        """Take a role for a short time in an emergency; auditors are alarmed."""
        alarm = await take_role(
            call.session,
            call.actor,
            role=given.role,
            team_id=await _team(call, given.team, "team"),
            reason=given.reason,
            duration=timedelta(seconds=max(0, min(given.duration_seconds, SECONDS_MAX))),
            at=call.at,
            new_id=call.new_id,
        )
        return {"emergency": alarm}

    @mutation(permission=REVIEW, payload=EmergencyRolePayload)
    async def review_emergency_role(call: Call, given: ReviewEmergencyRoleInput) -> Mapping[str, Any]:
        """Say what was found about a role that somebody else took."""
        key = decode_id(given.emergency_role_id, "EmergencyRole", field="emergencyRoleId")
        await review_emergency(
            call.session, call.actor, emergency_id=key, review=given.review, at=call.at, new_id=call.new_id
        )
        return {"emergency": key}

    @mutation(permission=CHANGE_TEAM, payload=MoveTeamPayload)
    async def move_team(call: Call, given: MoveTeamInput) -> Mapping[str, Any]:
        """Put a team below another, or at the top; roles that are held above count below."""
        team = await _team(call, given.team, "team")
        assert team is not None, "it was named"
        parent = await _team(call, given.parent, "parent")
        await move_team(call.session, call.actor, team_id=team, parent_id=parent, at=call.at, new_id=call.new_id)
        return {"team": team}

    @mutation(permission=CHANGE_SERVICE_ACCOUNT, payload=DeactivateServiceAccountPayload)
    async def deactivate_service_account(call: Call, given: DeactivateServiceAccountInput) -> Mapping[str, Any]:
        """End a program for good: its tokens, streams and roles at once."""
        name = given.service_account
        team = select(Team.id).where(Team.name == name.team).scalar_subquery()
        named = select(ServiceAccount.id).where(ServiceAccount.name == name.name, ServiceAccount.team_id == team)
        key = await call.session.scalar(named)
        if key is None:
            raise UnknownHolder("There is no such service account.", field="serviceAccount")
        await deactivate_service_account(call.session, call.actor, account_id=key, at=call.at, new_id=call.new_id)
        return {"account": key}


async def _team(call: Call, name: str | None, field: str) -> UUID | None:
    if name is None:
        return None
    found: UUID | None = await call.session.scalar(select(Team.id).where(Team.name == name))
    if found is None:
        raise UnknownTeam(f"There is no team named {name[:80]!r}.", field=field)
    return found


async def _holder(call: Call, given: GiveRoleInput) -> Subject:
    """Who is to hold the role; nobody who has left."""
    if (given.email is None) == (given.service_account is None):
        raise Invalid("Name a person or a service account.", field="email")
    if given.service_account is not None:
        name = given.service_account
        team = select(Team.id).where(Team.name == name.team).scalar_subquery()
        account = select(ServiceAccount.id).where(
            ServiceAccount.name == name.name, ServiceAccount.team_id == team, ServiceAccount.deactivated_at.is_(None)
        )
        kind, found, field = ActorKind.SERVICE_ACCOUNT, await call.session.scalar(account), "serviceAccount"
    else:
        person = select(User.id).where(User.email == str(given.email).lower(), User.deactivated_at.is_(None))
        kind, found, field = ActorKind.USER, await call.session.scalar(person), "email"
    if found is None:
        raise UnknownHolder("There is nobody of that name to hold a role.", field=field)
    return Subject(kind, found)


TYPES = [
    RolePayload,
    GiveRolePayload,
    TakeRoleAwayPayload,
    EmergencyRolePayload,
    DeactivateServiceAccountPayload,
    MoveTeamPayload,
    AccessMutations,
]
