"""People and their roles: whoever is named is added, and holds exactly the roles that are listed for that place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import User
from guildhall.changes import Change, ChangeAction, compared, exchanged
from guildhall.clock import IdSource
from guildhall.organisation.bindings import require_administrator, set_roles
from guildhall.organisation.giving import BIND
from guildhall.organisation.names import Problems, bindable_roles, team_ids

CHANGE = "guildhall:user:change"
EMAIL_CHARACTERS_MAX = 254

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


@dataclass(frozen=True, kw_only=True)
class MemberSetting:
    """One person in one place: a team by name, or organisation-wide where `team` is None. No roles: none there.

    `name` may be left out for somebody who is known already.
    """

    email: str
    team: str | None
    roles: Sequence[str]
    name: str | None = None


async def apply_members(
    session: AsyncSession, actor: Actor, items: Sequence[MemberSetting], *, at: datetime, new_id: IdSource
) -> list[Change]:
    """Add the people and set their roles: a User for each that is new or renamed, then a Membership for each item.

    Raises InvalidInput, PermissionRefused, and LastAdministrator when nobody would be left to govern.
    """
    if not items:
        return []
    places = await _check(session, items)
    users, changes = await _apply_people(session, actor, items, at=at, new_id=new_id)
    for item in items:
        changes.append(
            await _apply_roles(
                session, actor, item, users[item.email.lower()],
                team_id=None if item.team is None else places[item.team], at=at, new_id=new_id,
            )
        )  # fmt: skip
    await require_administrator(session)
    return changes


async def _check(session: AsyncSession, items: Sequence[MemberSetting]) -> dict[str, UUID]:
    """The ids of the teams that the items name; everything that is wrong with the items is told at once."""
    problems = Problems()
    places = await team_ids(session, {item.team for item in items if item.team is not None})
    roles = await bindable_roles(session)
    for index, item in enumerate(items):
        field = f"members.{index}"
        if _EMAIL.fullmatch(item.email) is None or len(item.email) > EMAIL_CHARACTERS_MAX or "\0" in item.email:
            problems.add("INVALID_EMAIL", "This is not an address like name@example.org.", f"{field}.email")
        if item.name is not None:
            problems.check_text(item.name, f"{field}.name", "A name")
        if item.team is not None and item.team not in places:
            problems.add("UNKNOWN_TEAM", f"There is no team named {item.team!r}.", f"{field}.team")
        for role in item.roles:
            if role not in roles:
                known = ", ".join(sorted(roles))
                problems.add("UNKNOWN_ROLE", f"{role!r} is not a role; these are: {known}.", f"{field}.roles")
    problems.check_doubles([(item.email.lower(), item.team) for item in items], "members", "email")
    problems.raise_if_any()
    return places


async def _apply_people(
    session: AsyncSession, actor: Actor, items: Sequence[MemberSetting], *, at: datetime, new_id: IdSource
) -> tuple[dict[str, User], list[Change]]:
    """The people by address, those missing added; and one Change for each who is new or has another name now."""
    names = {item.email.lower(): item.name for item in items if item.name is not None}
    emails = list(dict.fromkeys(item.email.lower() for item in items))
    found = await _users(session, emails)
    new = [email for email in emails if email not in found]
    renamed = [email for email, user in found.items() if names.get(email, user.name).strip() != user.name]
    if not new and not renamed:
        return found, []
    require(actor, CHANGE, team_id=None)
    before = {email: {"name": found[email].name} for email in renamed}
    rows = [
        {"id": new_id(), "email": email, "name": names.get(email, email.partition("@")[0]).strip(), "created_at": at}
        for email in new
    ]
    if rows:
        await session.execute(insert(User).values(rows).on_conflict_do_nothing())
    for email in renamed:
        found[email].name = names[email].strip()
    await session.flush()
    users = await _users(session, emails)
    await record(
        session,
        actor,
        action=CHANGE,
        resources=[ResourceRef("User", users[email].id) for email in [*new, *renamed]],
        personal={
            users[email].id: {"email": email, "before": before.get(email), "after": {"name": users[email].name}}
            for email in [*new, *renamed]
        },
        at=at,
        new_id=new_id,
    )
    actions = dict.fromkeys(new, ChangeAction.CREATED) | dict.fromkeys(renamed, ChangeAction.UPDATED)
    return users, [
        Change("User", email, action, compared(before.get(email), {"name": users[email].name}))
        for email, action in actions.items()
    ]


async def _users(session: AsyncSession, emails: Sequence[str]) -> dict[str, User]:
    statement = select(User).where(User.email.in_(emails)).order_by(User.id).with_for_update(key_share=True)
    rows = await session.scalars(statement.execution_options(populate_existing=True))
    return {user.email: user for user in rows}


async def _apply_roles(
    session: AsyncSession,
    actor: Actor,
    item: MemberSetting,
    user: User,
    *,
    team_id: UUID | None,
    at: datetime,
    new_id: IdSource,
) -> Change:
    resource = ResourceRef("User", user.id)
    require(actor, BIND, team_id=team_id, resource=resource)
    changed = await set_roles(
        session, actor, Subject(ActorKind.USER, user.id), team_id=team_id, roles=item.roles, at=at, new_id=new_id
    )
    name = f"{user.email} in {item.team}" if item.team is not None else f"{user.email} in the organisation"
    if changed.before == changed.after:
        return Change("Membership", name, ChangeAction.UNCHANGED)
    await record(
        session,
        actor,
        action=BIND,
        resources=[resource] if team_id is None else [resource, ResourceRef("Team", team_id)],
        team_id=team_id,
        before={"roles": changed.before},
        after={"roles": changed.after},
        at=at,
        new_id=new_id,
    )
    kept = ChangeAction.UPDATED if changed.before else ChangeAction.CREATED
    action = kept if changed.after else ChangeAction.REMOVED
    return Change("Membership", name, action, exchanged("role", changed.before, changed.after))
