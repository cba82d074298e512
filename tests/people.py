"""Teams, people and the actors that they are, for tests of every package."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.actor import Actor, RequestContext
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import RoleBinding, ServiceAccount, Team, User
from guildhall.clock import new_id

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
REQUEST = RequestContext(request_id="request-1", address="127.0.0.1", client="tests")


async def make_team(session: AsyncSession, name: str) -> UUID:
    team = Team(id=new_id(), name=name, title=name.capitalize(), created_at=LONG_AGO)
    session.add(team)
    await session.flush()
    return team.id


async def make_user(
    session: AsyncSession, name: str, *, roles: Mapping[str, Sequence[UUID | None]] | None = None
) -> UUID:
    """A person `name@example.org`; `roles` says in which teams they hold which, None being organisation-wide."""
    user = User(id=new_id(), name=name.capitalize(), email=f"{name}@example.org", created_at=LONG_AGO)
    session.add(user)
    await session.flush()
    await bind(session, ActorKind.USER, user.id, roles or {})
    return user.id


async def make_service_account(session: AsyncSession, name: str, team_id: UUID, *, roles: Sequence[str] = ()) -> UUID:
    account = ServiceAccount(id=new_id(), name=name, team_id=team_id, created_at=LONG_AGO)
    session.add(account)
    await session.flush()
    await bind(session, ActorKind.SERVICE_ACCOUNT, account.id, {role: [team_id] for role in roles})
    return account.id


async def bind(
    session: AsyncSession, kind: ActorKind, subject_id: UUID, roles: Mapping[str, Sequence[UUID | None]]
) -> None:
    session.add_all(
        RoleBinding(
            id=new_id(), subject_kind=kind.value, subject_id=subject_id, team_id=team, role=role, created_at=LONG_AGO
        )
        for role, teams in roles.items()
        for team in teams
    )
    await session.flush()


async def actor_of(session: AsyncSession, user_id: UUID, *, request: RequestContext = REQUEST) -> Actor:
    """The caller as this session's transaction sees the policy."""
    name = (await session.scalars(select(User.name).where(User.id == user_id))).one()
    policy = PolicySnapshot(await load_rules(session))
    return Actor(kind=ActorKind.USER, id=user_id, name=name, policy=policy, request=request)
