"""What became of data that left: an event of intent before the first byte, one of outcome after the last.

The outcome repeats who, what and why from its intent and points at it; the intent stays as it was written. What it says
of persons stands beside the intent alone.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from guildhall.audit.record import as_json, reason_columns
from guildhall.audit.tables import AuditEvent, Outcome
from guildhall.audit.writing import execute, insertion_once_of, secret_of
from guildhall.clock import IdSource
from guildhall.db.kept_statements import KeptStatements
from guildhall.db.transaction import DatabaseBusy, DatabaseUnavailable
from guildhall.errors import GuildhallError

SWEEP_MAX = 500
"""How many abandoned intents one sweep concludes."""

SWEEP_BACK = timedelta(hours=48)
"""How far back from the newest that may be stale a sweep looks. No index knows which intents are open, so what it reads
must not grow with the record; intents that no sweep saw for so long stay STARTED."""

TOGETHER_MAX = 200
"""How many outcomes are written in one transaction."""

GATHER_SECONDS = 0.02
"""The pause after outcomes were written. The first is written at once; of many, what came meanwhile goes together."""

TRIES_MAX = 3
"""How often outcomes are tried while the database is away, or all of its few connections are busy with reads. What went
through before its connection was lost is not written twice."""

AGAIN_SECONDS = 1.0

# What a conclusion says anew; all else it takes over from its intent.
_ANEW = frozenset(
    {"id", "occurred_at", "outcome", "rows", "bytes", "after", "concludes_id", "commitments", "mac", "mac_key"}
)
_COLUMNS = [column for column in AuditEvent.__table__.columns if column.name != "xid"]
_TAKEN_OVER = [column.name for column in _COLUMNS if column.name not in _ANEW]


class NoLongerKnown(GuildhallError):
    """The process that sent the data ended without saying what became of it."""

    code = "OUTCOME_UNKNOWN"


async def conclude(
    session: AsyncSession,
    event_id: UUID,
    *,
    outcome: Outcome,
    at: datetime,
    new_id: IdSource,
    rows: int | None = None,
    bytes: int | None = None,  # noqa: A002 -- the column's name and the auditor's word
    after: Mapping[str, Any] | None = None,
    reason: GuildhallError | None = None,
) -> UUID | None:
    """Say how an intent ended: COMPLETED or ABORTED, with what really left. None when that has been said already.

    `after` stands beside what the intent says there.
    """
    row = (await session.execute(select(*_COLUMNS).where(AuditEvent.id == event_id))).mappings().one()
    values = compose_outcome(
        dict(row), outcome=outcome, at=at, new_id=new_id, rows=rows, bytes=bytes, after=after, reason=reason
    )
    written = await execute(session, insertion_once_of([values], secret_of(session.info)))
    outcome_id: UUID = values["id"]
    return outcome_id if written else None


def compose_outcome(
    intent: Mapping[str, Any],
    *,
    outcome: Outcome,
    at: datetime,
    new_id: IdSource,
    rows: int | None = None,
    bytes: int | None = None,  # noqa: A002 -- the column's name and the auditor's word
    after: Mapping[str, Any] | None = None,
    reason: GuildhallError | None = None,
) -> dict[str, Any]:
    """The values of the event that says how an intent, given by its own values, ended; see `conclude`."""
    assert outcome in {Outcome.COMPLETED, Outcome.ABORTED}, "an intent is completed or aborted"
    assert intent["outcome"] == Outcome.STARTED, "only an intent is concluded"
    return {name: intent[name] for name in _TAKEN_OVER} | {
        "id": new_id(),
        "occurred_at": at,
        "outcome": outcome.value,
        "rows": rows,
        "bytes": bytes,
        "after": intent["after"] if after is None else {**(intent["after"] or {}), **as_json(after)},
        "commitments": None,
        "concludes_id": intent["id"],
        **reason_columns(reason),
    }


class Conclusions:
    """Writes the outcomes of one process; while one batch is under way the next gathers.

    Nobody but who has sent the data waits for them: the answer is out. Where the process dies before they are written,
    `abort_stale_intents` speaks for it. They go by a connection that keeps the statement: a session of its own for each
    batch cost more than twice as much. `info` is that of the database's sessions, which has the audit key.
    """

    def __init__(self, statements: KeptStatements, info: Mapping[str, Any]) -> None:
        self._statements = statements
        self._info = info
        self._waiting: list[tuple[Mapping[str, Any], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def add(self, outcome: Mapping[str, Any]) -> None:
        """Write a composed outcome; it is committed when this returns, and written also if nobody waits any more."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((outcome, written))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="outcomes")
        await written

    async def flush(self) -> None:
        """Wait until all are written."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting[:TOGETHER_MAX], self._waiting[TOGETHER_MAX:]
            failure = await self._write_together([outcome for outcome, _ in together])
            for _, written in together:
                if written.done():  # cancelled
                    continue
                if failure is None:
                    written.set_result(None)
                else:
                    written.set_exception(failure)
            await asyncio.sleep(GATHER_SECONDS)

    async def _write_together(self, outcomes: Sequence[Mapping[str, Any]]) -> Exception | None:
        failure: Exception | None = None
        for tried in range(TRIES_MAX):
            if tried:
                await asyncio.sleep(AGAIN_SECONDS)
            try:
                async with self._statements.transaction() as transaction:
                    await transaction.fetch(*insertion_once_of(outcomes, secret_of(self._info)))
            except (DatabaseBusy, DatabaseUnavailable) as error:
                failure = error
            except Exception as error:  # noqa: BLE001 -- whatever it is, each of those who wait raises it
                return error
            else:
                return None
        return failure


async def open_intents(
    session: AsyncSession, *, older_than: datetime, maximum: int = SWEEP_MAX
) -> Sequence[AuditEvent]:
    """Intents from the `SWEEP_BACK` before that moment of which nobody said how they ended, oldest first."""
    conclusion = aliased(AuditEvent)
    statement = (
        select(AuditEvent)
        .where(AuditEvent.outcome == Outcome.STARTED)
        .where(AuditEvent.act_at >= older_than - SWEEP_BACK, AuditEvent.act_at < older_than)
        .where(
            ~select(conclusion.id)
            .where(conclusion.concludes_id == AuditEvent.id, conclusion.act_at == AuditEvent.act_at)
            .exists()
        )
        .order_by(AuditEvent.act_at, AuditEvent.id)
        .limit(maximum)
    )
    return (await session.scalars(statement)).all()


async def abort_stale_intents(session: AsyncSession, *, older_than: datetime, at: datetime, new_id: IdSource) -> int:
    """Conclude as ABORTED what a crashed process left open, at most `SWEEP_MAX`; returns how many.

    `older_than` lies further back than any transfer may take: a conclusion is final, and the first one counts.
    """
    concluded = 0
    for intent in await open_intents(session, older_than=older_than):
        reason = NoLongerKnown("The server that sent this ended before it could say how much had left.")
        written = await conclude(session, intent.id, outcome=Outcome.ABORTED, reason=reason, at=at, new_id=new_id)
        concluded += written is not None
    return concluded
