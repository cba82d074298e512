"""Whether somebody wants their notifications as mail as well: theirs to say, and no unless they said so.

A mail is read on machines that are not ours, and nobody is written to who has not asked for it.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import PermissionRefused, require
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.inbox.tables import InboxSettings

CHANGE_SETTINGS = "guildhall:inbox:change"


class MailWanted(StrEnum):
    """Which notifications come as mail."""

    ALL = "ALL"
    NONE = "NONE"


async def mail_wanted(session: ReadSession, actor: Actor) -> MailWanted:
    """What the caller said, or NONE."""
    said = await session.scalar(select(InboxSettings.mail).where(InboxSettings.user_id == actor.id))
    return MailWanted.NONE if said is None else MailWanted(said)


async def update_inbox_settings(
    session: WriteSession, actor: Actor, *, mail: MailWanted, at: datetime, new_id: IdSource
) -> None:
    """Say it of oneself. Who is no person has no inbox, and is refused."""
    require(actor, CHANGE_SETTINGS, team_id=None)
    if actor.kind is not ActorKind.USER:
        raise PermissionRefused("Only people have an inbox; programs have webhooks.", permission=CHANGE_SETTINGS)
    before = await mail_wanted(session, actor)
    row = {"user_id": actor.id, "mail": mail.value, "changed_at": at}
    statement = insert(InboxSettings).values(row)
    await session.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=row))
    await record(
        session, actor, action=CHANGE_SETTINGS, resources=[ResourceRef("User", actor.id)],
        before={"mail": before.value}, after={"mail": mail.value}, at=at, new_id=new_id,
    )  # fmt: skip
