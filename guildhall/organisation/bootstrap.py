"""The first administrator: made on the server's own command line, where there is nobody yet who could be asked."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.auth.actor import system_actor
from guildhall.auth.roles import ADMINISTRATOR
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import User
from guildhall.clock import IdSource
from guildhall.errors import Conflict
from guildhall.organisation.bindings import has_administrator
from guildhall.organisation.members import MemberSetting, apply_members
from guildhall.organisation.tokens import issue_token

TOKEN_DAYS = 90


class AdministratorExists(Conflict):
    """Whoever governs already can appoint others; the command line is no way around them."""

    code = "ADMINISTRATOR_EXISTS"


async def create_first_administrator(
    session: AsyncSession, *, email: str, name: str, at: datetime, new_id: IdSource
) -> str:
    """Make an administrator and return their token, valid for `TOKEN_DAYS`. Raises AdministratorExists, InvalidInput.

    Of two at once one is refused: both change bindings, which wait for each other, and the second then sees the first.
    """
    if await has_administrator(session):
        raise _refusal()
    actor = system_actor("bootstrap")
    person = MemberSetting(email=email, name=name, team=None, roles=[ADMINISTRATOR])
    await apply_members(session, actor, [person], at=at, new_id=new_id)
    user_id = (await session.scalars(select(User.id).where(User.email == email.lower()))).one()
    if await has_administrator(session, other_than=user_id):
        raise _refusal()
    token = await issue_token(
        session,
        actor,
        subject_kind=ActorKind.USER,
        subject_id=user_id,
        label="first administrator",
        expires_at=at + timedelta(days=TOKEN_DAYS),
        at=at,
        new_id=new_id,
    )
    return token.text


def _refusal() -> AdministratorExists:
    return AdministratorExists("There is an administrator already: ask them, they can appoint others.")
