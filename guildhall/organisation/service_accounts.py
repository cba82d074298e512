"""Service accounts: programs that call in their own name, each for one team, with roles in that team alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import RoleBinding, ServiceAccount
from guildhall.changes import Change, ChangeAction, exchanged
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.errors import Conflict, NotFound
from guildhall.organisation.bindings import set_roles
from guildhall.organisation.giving import BIND
from guildhall.organisation.names import Problems, bindable_roles, team_ids
from guildhall.organisation.tokens import revoke_tokens_of

CHANGE = "guildhall:service-account:change"


class Deactivated(Conflict):
    """A service account that ended: it does not come back, as its name stands in the record."""

    code = "DEACTIVATED"


@dataclass(frozen=True, kw_only=True)
class ServiceAccountSetting:
    """A service account as the configuration says it should be: exactly these roles in its team."""

    team: str
    name: str
    roles: Sequence[str]


async def apply_service_accounts(
    session: AsyncSession, actor: Actor, items: Sequence[ServiceAccountSetting], *, at: datetime, new_id: IdSource
) -> list[Change]:
    """Make the service accounts and set their roles; one Change for each, in order."""
    places = await _check(session, items)
    return [await _apply(session, actor, item, places[item.team], at=at, new_id=new_id) for item in items]


async def deactivate_service_account(
    session: AsyncSession, actor: Actor, *, account_id: UUID, at: datetime, new_id: IdSource
) -> None:
    """End the program's tokens, open streams and roles at once, for good; the scheduler ends what its jobs read.

    It takes `guildhall:token:revoke` as well, for the tokens. Raises NotFound, Deactivated, PermissionRefused.
    """
    found = await lock_rows(session, ServiceAccount, [account_id])
    if not found:
        raise NotFound("There is no such service account.", field="serviceAccount")
    account = found[0]
    resource = ResourceRef("ServiceAccount", account_id)
    require(actor, CHANGE, team_id=account.team_id, resource=resource)
    if account.deactivated_at is not None:
        raise Deactivated(f"{account.name} was deactivated already.", field="serviceAccount")
    kind = ActorKind.SERVICE_ACCOUNT
    tokens = await revoke_tokens_of(session, actor, subject_kind=kind, subject_ids=[account_id], at=at, new_id=new_id)
    mine = [RoleBinding.subject_kind == kind.value, RoleBinding.subject_id == account_id]
    gone = delete(RoleBinding).where(*mine).returning(RoleBinding.role).execution_options(synchronize_session=False)
    roles = sorted(await session.scalars(gone))
    account.deactivated_at = at
    await session.flush()
    await record(
        session,
        actor,
        action=CHANGE,
        resources=[resource, ResourceRef("Team", account.team_id)],
        team_id=account.team_id,
        before={"roles": roles},
        after={"deactivatedAt": at, "tokens": tokens},
        at=at,
        new_id=new_id,
    )


async def _check(session: AsyncSession, items: Sequence[ServiceAccountSetting]) -> dict[str, UUID]:
    problems = Problems()
    places = await team_ids(session, {item.team for item in items})
    roles = await bindable_roles(session)
    for index, item in enumerate(items):
        field = f"serviceAccounts.{index}"
        problems.check_slug(item.name, f"{field}.name")
        if item.team not in places:
            problems.add("UNKNOWN_TEAM", f"There is no team named {item.team!r}.", f"{field}.team")
        for role in item.roles:
            if role not in roles:
                known = ", ".join(sorted(roles))
                problems.add("UNKNOWN_ROLE", f"{role!r} is not a role; these are: {known}.", f"{field}.roles")
    problems.check_doubles([(item.team, item.name) for item in items], "serviceAccounts", "name")
    problems.raise_if_any()
    return places


async def _apply(
    session: AsyncSession,
    actor: Actor,
    item: ServiceAccountSetting,
    team_id: UUID,
    *,
    at: datetime,
    new_id: IdSource,
) -> Change:
    name = f"{item.name} of {item.team}"
    row = {"id": new_id(), "name": item.name, "team_id": team_id, "created_at": at}
    require(actor, CHANGE, team_id=team_id)
    require(actor, BIND, team_id=team_id)
    added = await session.scalar(
        insert(ServiceAccount).values(row).on_conflict_do_nothing().returning(ServiceAccount.id)
    )
    same = select(ServiceAccount).where(ServiceAccount.team_id == team_id, ServiceAccount.name == item.name)
    account = (await session.scalars(same)).one()
    account_id = account.id
    if account.deactivated_at is not None:
        raise Deactivated(f"The service account {name} was deactivated for good: give another one another name.")
    resources = [ResourceRef("ServiceAccount", account_id), ResourceRef("Team", team_id)]
    if added is not None:
        after = {"name": item.name}
        await record(
            session, actor, action=CHANGE, resources=resources, team_id=team_id, after=after, at=at, new_id=new_id
        )
    subject = Subject(ActorKind.SERVICE_ACCOUNT, account_id)
    changed = await set_roles(session, actor, subject, team_id=team_id, roles=item.roles, at=at, new_id=new_id)
    if changed.before != changed.after:
        await record(
            session,
            actor,
            action=BIND,
            resources=resources,
            team_id=team_id,
            before={"roles": changed.before},
            after={"roles": changed.after},
            at=at,
            new_id=new_id,
        )
    elif added is None:
        return Change("ServiceAccount", name, ChangeAction.UNCHANGED)
    action = ChangeAction.UPDATED if added is None else ChangeAction.CREATED
    return Change("ServiceAccount", name, action, exchanged("role", changed.before, changed.after))
