"""The organisation's purposes as data: what is named is made or changed, nothing else is touched."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.changes import Change, ChangeAction, compared
from guildhall.clock import IdSource
from guildhall.db.transaction import WriteSession
from guildhall.slugs import require_slug
from registry.purposes.tables import Purpose
from registry.texts import require_text

CHANGE = "registry:purpose:change"
DESCRIPTION_CHARACTERS_MAX = 2_000


@dataclass(frozen=True, kw_only=True)
class PurposeSpec:
    """One purpose as the configuration states it."""

    name: str
    description: str


async def apply_purposes(
    session: WriteSession,
    actor: Actor,
    items: Sequence[PurposeSpec],
    *,
    field: str = "purposes",
    at: datetime,
    new_id: IdSource,
) -> list[Change]:
    """Make or describe again each purpose, in the order given; one change for each. A purpose is never removed."""
    if not items:
        return []
    require(actor, CHANGE, team_id=None)
    return [
        await _apply(session, actor, item, field=f"{field}[{number}]", at=at, new_id=new_id)
        for number, item in enumerate(items)
    ]


async def _apply(
    session: WriteSession, actor: Actor, item: PurposeSpec, *, field: str, at: datetime, new_id: IdSource
) -> Change:
    name = require_slug(item.name, f"{field}.name")
    description = require_text(
        item.description, f"{field}.description", characters_max=DESCRIPTION_CHARACTERS_MAX, empty_allowed=True
    )
    row = {"name": name, "description": description, "created_at": at}
    statement = insert(Purpose).values(row).on_conflict_do_nothing(index_elements=["name"]).returning(Purpose.name)
    if await session.scalar(statement) is not None:
        await record(
            session, actor, action=CHANGE, after={"name": name, "description": description}, at=at, new_id=new_id
        )
        return Change("Purpose", name, ChangeAction.CREATED, compared(None, {"description": description}))
    purpose = (
        await session.scalars(
            select(Purpose)
            .where(Purpose.name == name)
            .with_for_update(key_share=True)
            .execution_options(populate_existing=True)
        )
    ).one()
    if purpose.description == description:
        return Change("Purpose", name, ChangeAction.UNCHANGED)
    before = {"name": name, "description": purpose.description}
    purpose.description = description
    after = {"name": name, "description": description}
    await record(session, actor, action=CHANGE, before=before, after=after, at=at, new_id=new_id)
    return Change("Purpose", name, ChangeAction.UPDATED, compared(before, after))
