"""A read of a data set against its budgets: it goes on, goes on with an alert, waits, or is refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from guildhall.audit.record import record
from guildhall.audit.tables import Outcome
from guildhall.auth.actor import Actor
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import User
from guildhall.clock import IdSource
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Forbidden, RateLimited
from registry.artifacts.tables import Artifact
from registry.datasets.tables import Dataset, DatasetVersion
from registry.volume.counting import Reservation, Volume, count, load_budgets
from registry.volume.tables import AccessAlert, BudgetAction, BudgetScope
from registry.volume.telling import tell_alert

ROW_BYTES_ASSUMED = 100
"""Of data whose rows nobody counted: a short row of a table, so that more are counted rather than fewer."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is about to leave of `owner`: a version of the data set, or of a model that was made from it.

    `rows` None: nobody counted them in this file. Then a share of the version's is taken, or, where nobody counted
    those either, as many as the bytes could be.
    """

    owner: ResourceRef
    dataset_id: UUID
    rows: int | None
    size_bytes: int
    team_id: UUID | None
    permission: str
    purpose: str | None
    justification: str | None
    grant_id: UUID | None
    resources: Sequence[ResourceRef]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What the alert's row will say."""

    volume: Volume
    user_id: UUID | None
    team_id: UUID | None
    message: str
    raised_at: datetime


class ReadBudgetCrossed(Forbidden):
    """The read would cross a budget of the data set that blocks; nothing of it leaves."""

    code = "READ_BUDGET_CROSSED"


class ReadDelayed(RateLimited):
    """The read may be asked for again after a while, if nobody has ended the access by then."""

    code = "READ_DELAYED"


class Crossed(Exception):
    """Ends the transaction of a read that goes no further; `record_crossing` then writes what was wrong with it."""

    def __init__(self, refusal: ReadBudgetCrossed | ReadDelayed, alert: Alert, reading: Reading) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.alert = alert
        self.reading = reading


async def reserve(
    session: WriteSession, actor: Actor, reading: Reading, *, at: datetime, new_id: IdSource
) -> Reservation | None:
    """Count the read before it begins; None where nothing is counted for this data. Raises Crossed."""
    budgets = await load_budgets(session, reading.dataset_id)
    if not budgets:
        return None
    rows = await _rows(session, reading) if reading.rows is None else reading.rows
    person = await _person(session, actor)
    reservation, volumes = await count(
        session,
        dataset_id=reading.dataset_id,
        budgets=budgets,
        # All programs of a team are one reader: otherwise whoever makes them could read a budget with each.
        person_id=person or actor.team_id or actor.id,
        team_id=reading.team_id,
        rows=rows,
        size_bytes=reading.size_bytes,
        at=at,
    )
    for volume in volumes:
        if volume.crossed:
            await _cross(session, actor, person, reading, volume, at=at, new_id=new_id)
    return reservation


async def record_crossing(
    session: WriteSession, actor: Actor, crossed: Crossed, *, at: datetime, new_id: IdSource
) -> None:
    """Write the alert, and the refusal with it, after the transaction of the read was rolled back."""
    reading = crossed.reading
    await raise_alert(session, crossed.alert, new_id=new_id)
    await record(
        session,
        actor,
        action=reading.permission,
        outcome=Outcome.REFUSED,
        resources=reading.resources,
        team_id=reading.team_id,
        purpose=reading.purpose,
        justification=reading.justification,
        access_grant_id=reading.grant_id,
        reason=crossed.refusal,
        at=at,
        new_id=new_id,
    )


async def raise_alert(session: WriteSession, alert: Alert, *, new_id: IdSource) -> None:
    """Write the alert, and tell of it; where the window has one, that grows, and is open again.

    A delay that has begun stays as it was.
    """
    volume, key = alert.volume, alert.volume.key
    delays = volume.budget.action is BudgetAction.DELAY
    row = {
        "id": new_id(),
        **key._asdict(),
        "action": volume.budget.action,
        "user_id": alert.user_id,
        "team_id": alert.team_id,
        "rows": volume.rows,
        "bytes": volume.bytes,
        "message": alert.message,
        "raised_at": alert.raised_at,
        "delayed_until": alert.raised_at + timedelta(seconds=volume.budget.delay_seconds) if delays else None,
    }
    statement = insert(AccessAlert).values(row)
    statement = statement.on_conflict_do_update(
        index_elements=["dataset_id", "scope", "subject_id", "window_seconds", "window_start", "action"],
        set_={
            "rows": func.greatest(AccessAlert.rows, statement.excluded.rows),
            "bytes": func.greatest(AccessAlert.bytes, statement.excluded.bytes),
            "message": statement.excluded.message,
            "acknowledged_at": None,
            "acknowledged_by": None,
            "acknowledgement": None,
        },
    )
    written = (await session.scalars(statement.returning(AccessAlert))).one()
    if written.id == row["id"]:
        await tell_alert(session, written, at=alert.raised_at, new_id=new_id)


async def _person(session: ReadSession, actor: Actor) -> UUID | None:
    """The person behind the call; a job may be a program's."""
    if actor.kind is not ActorKind.JOB:
        return actor.user_id
    return await session.scalar(select(User.id).where(User.id == actor.on_behalf_of))


async def _cross(
    session: WriteSession,
    actor: Actor,
    person: UUID | None,
    reading: Reading,
    volume: Volume,
    *,
    at: datetime,
    new_id: IdSource,
) -> None:
    """Alert in the transaction of the read, or raise what ends it."""
    name = await session.scalar(select(Dataset.name).where(Dataset.id == reading.dataset_id))
    alert = Alert(
        volume=volume,
        user_id=person,
        team_id=reading.team_id,
        message=_sentence(actor, _called(str(name), reading), volume, of_person=person is not None),
        raised_at=at,
    )
    if volume.budget.action is BudgetAction.BLOCK:
        message = f"{alert.message} The stewards were told; ask them to raise the budget, or read less."
        raise Crossed(ReadBudgetCrossed(message, details={"reason": "BLOCK"}), alert, reading)
    left = await _delay_left(session, volume, at) if volume.budget.action is BudgetAction.DELAY else 0
    if left > 0:
        message = f"{alert.message} The stewards were told; ask again in {left} seconds."
        raise Crossed(ReadDelayed(message, retry_after_seconds=left), alert, reading)
    await raise_alert(session, alert, new_id=new_id)


async def _delay_left(session: ReadSession, volume: Volume, at: datetime) -> int:
    """Seconds until the delay of this window, which begins with its first crossing, is over."""
    mine = [getattr(AccessAlert, name) == value for name, value in volume.key._asdict().items()]
    statement = select(AccessAlert.delayed_until).where(*mine, AccessAlert.action == BudgetAction.DELAY)
    until = await session.scalar(statement)
    return volume.budget.delay_seconds if until is None else max(0, -int((at - until).total_seconds() // 1))


async def _rows(session: ReadSession, reading: Reading) -> int:
    """The version's rows, in the measure of the bytes that leave; never 0 where nobody said how many it has."""
    statement = (
        select(DatasetVersion.rows, func.sum(Artifact.size_bytes))
        .join(Artifact, Artifact.owner_id == DatasetVersion.id)
        .where(DatasetVersion.id == reading.owner.id)
        .group_by(DatasetVersion.id)
    )
    rows, size_bytes = (await session.execute(statement)).one()
    if rows is None:
        return -(-reading.size_bytes // ROW_BYTES_ASSUMED)
    return -(-rows * reading.size_bytes // max(int(size_bytes), 1))


def _called(name: str, reading: Reading) -> str:
    """What was read of: of a model the bytes count for the data that it was made from."""
    return name if reading.owner.type == "DatasetVersion" else f"{name} and models that were made from it"


_WHOSE = {BudgetScope.PERSON: "{name}", BudgetScope.TEAM: "{name}'s team", BudgetScope.DATASET: "everybody"}


def _sentence(actor: Actor, dataset: str, volume: Volume, *, of_person: bool) -> str:
    """What was unusual, with the figures."""
    name = actor.name if of_person else f"{actor.name} with the other programs of its team"
    who = _WHOSE[volume.budget.scope].format(name=name)
    seconds = volume.budget.window_seconds
    window = f"{seconds // 3600} hours" if seconds % 3600 == 0 else f"{seconds} seconds"
    parts = []
    for unit, read, most, policy, usual in (
        ("rows", volume.rows, volume.rows_max, volume.budget.rows_max, volume.rows_usual),
        ("bytes", volume.bytes, volume.bytes_max, volume.budget.bytes_max, volume.bytes_usual),
    ):
        if most is not None and read > most:
            reason = f"the policy lets {most:,} pass" if most == policy else f"usual are {usual:,}"
            parts.append(f"{read:,} {unit} ({reason})")
    return f"With this read, {who} would have read {' and '.join(parts)} of {dataset} within {window}."
