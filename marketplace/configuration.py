"""The marketplace's share of the configuration: what is named is made or changed, nothing else is touched.

A change of prices reaches no quote that is already made: quotes keep their rates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.resources import ResourceRef
from guildhall.changes import Change, ChangeAction, compared
from guildhall.clock import IdSource
from guildhall.errors import Invalid
from guildhall.slugs import require_slug
from marketplace.tables import Period, Programme, StrategicClass

Row = TypeVar("Row", Programme, Period)

PROGRAMME_PERMISSION = "marketplace:programme:change"
TITLE_CHARACTERS_MAX = 200


class NamedTwice(Invalid):
    """One configuration says two things about one name."""

    code = "NAMED_TWICE"


class PeriodEmpty(Invalid):
    """A period that would end before it starts."""

    code = "PERIOD_EMPTY"


class TitleMissing(Invalid):
    """A programme that people could not tell apart."""

    code = "TITLE_MISSING"


@dataclass(frozen=True)
class ProgrammeSetting:
    """A programme as the configuration says it should be."""

    name: str
    title: str
    strategic_class: StrategicClass


@dataclass(frozen=True)
class PeriodSetting:
    """A period as the configuration says it should be."""

    name: str
    starts_at: datetime
    ends_at: datetime


async def apply_programmes(
    session: AsyncSession, actor: Actor, items: Sequence[ProgrammeSetting], *, at: datetime, new_id: IdSource
) -> list[Change]:
    """Make or change the programmes; one Change for each, in order."""
    refuse_doubles([item.name for item in items], "programmes")
    changes = []
    for index, item in enumerate(items):
        require_slug(item.name, f"programmes.{index}.name")
        if not 0 < len(item.title.strip()) <= TITLE_CHARACTERS_MAX:
            raise TitleMissing(
                f"A programme has a title of 1 to {TITLE_CHARACTERS_MAX} characters.", field=f"programmes.{index}.title"
            )
        values = {"title": item.title, "strategic_class": item.strategic_class.value}
        changes.append(await _apply(session, actor, Programme, item.name, values, at=at, new_id=new_id))
    return changes


async def apply_periods(
    session: AsyncSession, actor: Actor, items: Sequence[PeriodSetting], *, at: datetime, new_id: IdSource
) -> list[Change]:
    """Make or change the periods; one Change for each, in order."""
    refuse_doubles([item.name for item in items], "periods")
    changes = []
    for index, item in enumerate(items):
        require_slug(item.name, f"periods.{index}.name")
        if item.starts_at >= item.ends_at:
            raise PeriodEmpty("A period starts before it ends.", field=f"periods.{index}.endsAt")
        values = {"starts_at": item.starts_at, "ends_at": item.ends_at}
        changes.append(await _apply(session, actor, Period, item.name, values, at=at, new_id=new_id))
    return changes


def refuse_doubles(names: Sequence[str], field: str) -> None:
    """Raise NamedTwice, because nobody could say which of the two counts."""
    for index, name in enumerate(names):
        if name in names[:index]:
            raise NamedTwice(f"{name!r} is named twice.", field=f"{field}.{index}.name")


async def _apply(
    session: AsyncSession,
    actor: Actor,
    table: type[Row],
    name: str,
    values: Mapping[str, object],
    *,
    at: datetime,
    new_id: IdSource,
) -> Change:
    require(actor, PROGRAMME_PERMISSION, team_id=None)
    kind = table.__name__
    row = await session.scalar(select(table).where(table.name == name).with_for_update(key_share=True))
    before = None if row is None else {column: getattr(row, column) for column in values}
    if before == dict(values):
        return Change(kind, name, ChangeAction.UNCHANGED)
    if row is None:
        row = table(id=new_id(), name=name, created_at=at, **values)
        session.add(row)
    else:
        for column, value in values.items():
            setattr(row, column, value)
    await session.flush()
    await record_change(
        session,
        actor,
        PROGRAMME_PERMISSION,
        ResourceRef(kind, row.id),
        before=before,
        after={"name": name, **values},
        at=at,
        new_id=new_id,
    )
    action = ChangeAction.CREATED if before is None else ChangeAction.UPDATED
    return Change(kind, name, action, compared(before, values))


async def record_change(
    session: AsyncSession,
    actor: Actor,
    permission: str,
    resource: ResourceRef,
    *,
    before: Mapping[str, object] | None,
    after: Mapping[str, object],
    at: datetime,
    new_id: IdSource,
) -> UUID:
    """One audit event for one changed thing of the configuration."""
    return await record(
        session,
        actor,
        action=permission,
        resources=[resource],
        before=before,
        after=after,
        at=at,
        new_id=new_id,
    )
