"""How far the stream to somebody else's system has come, who sends at this moment, and what is next.

The cursor is the number of a leaf, so the order is that of the seal: what committed late is a later leaf, and nothing
is ever skipped. It moves only under the lease of whoever sent, and only from where they began.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from guildhall.audit.ocsf import ocsf_event
from guildhall.audit.record import record
from guildhall.audit.sealing import COLUMNS, NAMES
from guildhall.audit.tables import AuditEvent, AuditLeaf, AuditPersonal, AuditSeal, AuditStream
from guildhall.auth.actor import Actor
from guildhall.clock import Clock, IdSource
from guildhall.db.leases import RETURNED
from guildhall.db.transaction import Database
from guildhall.errors import Invalid, NotFound

STREAM = "siem"
"""The one stream that there is."""
PERMISSION = "guildhall:audit:stream"
EVENTS_MAX = 500
BATCH_BYTES_MAX = 1 << 20
LEASE_SECONDS = 60
TROUBLE_CHARACTERS_MAX = 500


class NoSuchLeaf(Invalid):
    """A cursor beyond what is sealed."""

    code = "NO_SUCH_LEAF"


class NoStream(NotFound):
    """Nothing was ever streamed from this installation, or the stream was forgotten."""

    code = "NO_STREAM"


@dataclass(frozen=True)
class Lease:
    """The right to send from that leaf on, until it ends."""

    token: UUID
    next_leaf: int
    expires_at: datetime


@dataclass(frozen=True)
class Batch:
    """Some leaves: each event as a line of JSON, and where the cursor stands when they have arrived.

    `missing` counts leaves whose event is no longer in the database: it left with its month for an archive.
    """

    lines: Sequence[bytes]
    first: int
    next_leaf: int
    missing: int

    @property
    def id(self) -> str:
        """The same for the same leaves, however often they are sent."""
        return f"{self.first}-{self.next_leaf - 1}"


@dataclass(frozen=True)
class Progress:
    """Where the stream stands."""

    next_leaf: int
    sealed: int
    delivered_at: datetime | None
    trouble: str | None

    @property
    def waiting(self) -> int:
        """How many sealed events are not delivered."""
        return max(0, self.sealed - self.next_leaf)


async def take_lease(database: Database, *, owner: str, clock: Clock, new_id: IdSource) -> Lease | None:
    """The right to send, unless another has it. The first one ever begins with the first leaf.

    A lease that ends later than any may was given by a clock that was set back since, and does not count.
    """
    now, token = clock.now(), new_id()
    expires_at = now + timedelta(seconds=LEASE_SECONDS)
    held_until = AuditStream.lease_expires_at
    free = or_(held_until.is_(None), held_until <= now, held_until > now + timedelta(seconds=2 * LEASE_SECONDS))
    async with database.transaction() as session:
        await session.execute(insert(AuditStream).values(name=STREAM, next_leaf=0).on_conflict_do_nothing())
        taken = update(AuditStream).where(AuditStream.name == STREAM, free)
        values = {"lease_owner": owner, "lease_token": token, "lease_expires_at": expires_at}
        next_leaf = await session.scalar(taken.values(values).returning(AuditStream.next_leaf))
    return None if next_leaf is None else Lease(token, next_leaf, expires_at)


async def renew_lease(database: Database, lease: Lease, *, at: datetime) -> Lease | None:
    """The same for another while; None where it was lost, or somebody has moved the cursor."""
    expires_at = at + timedelta(seconds=LEASE_SECONDS)
    async with database.transaction() as session:
        held = await _change(session, lease, {"lease_expires_at": expires_at})
    return replace(lease, expires_at=expires_at) if held else None


async def end_lease(database: Database, lease: Lease) -> None:
    """Let others send at once."""
    async with database.transaction() as session:
        await _change(session, lease, RETURNED)


async def move_on(database: Database, lease: Lease, next_leaf: int, *, at: datetime) -> Lease | None:
    """Say that all before that leaf has arrived. None where the lease was lost: the next holder sends it again."""
    async with database.transaction() as session:
        values = {"next_leaf": next_leaf, "delivered_at": at, "trouble": None}
        moved = await _change(session, lease, values)
    return replace(lease, next_leaf=next_leaf) if moved else None


async def note_trouble(database: Database, lease: Lease, trouble: str) -> None:
    """Keep what stands in the way, for whoever looks after the stream."""
    async with database.transaction() as session:
        await _change(session, lease, {"trouble": trouble[:TROUBLE_CHARACTERS_MAX]})


async def next_batch(
    database: Database, lease: Lease, *, origin: str, with_personal: bool, events_max: int = EVENTS_MAX
) -> Batch | None:
    """What follows the cursor, in the order of the leaves; None when nothing does."""
    event, caller = AuditEvent.__table__, aliased(AuditPersonal, name="caller")
    beside = (
        (caller.event_id == func.coalesce(event.c.concludes_id, event.c.id))
        & (caller.act_at == event.c.act_at)
        & (caller.person_id == func.coalesce(event.c.on_behalf_of_id, event.c.actor_id))
    )
    statement = (
        select(AuditLeaf.number, AuditLeaf.entry, caller.content.label("personal"), *COLUMNS)
        .outerjoin(event, (event.c.id == AuditLeaf.event_id) & (event.c.act_at == AuditLeaf.act_at))
        .outerjoin(caller, beside)
        .where(AuditLeaf.number >= lease.next_leaf)
        .order_by(AuditLeaf.number)
        .limit(events_max)
    )
    async with database.read() as session:
        rows = (await session.execute(statement)).mappings().all()
    lines: list[bytes] = []
    next_leaf, missing, size = lease.next_leaf, 0, 0
    for row in rows:
        if row["id"] is None:
            missing += 1
        else:
            line = _line(row, origin, with_personal=with_personal)
            size += len(line)
            if lines and size > BATCH_BYTES_MAX:
                break
            lines.append(line)
        next_leaf = row["number"] + 1
    return Batch(lines, lease.next_leaf, next_leaf, missing) if rows else None


def _line(row: RowMapping, origin: str, *, with_personal: bool) -> bytes:
    personal = (row["personal"] or {}) if with_personal else {}
    values = {name: row[name] for name in NAMES}
    event = ocsf_event(values, leaf=row["number"], entry=row["entry"], personal=personal, origin=origin)
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


async def read_progress(session: AsyncSession) -> Progress | None:
    """Where the stream stands; None where there is none."""
    sealed_size = select(AuditSeal.size).where(AuditSeal.id == 1).scalar_subquery()
    statement = select(AuditStream, sealed_size).where(AuditStream.name == STREAM)
    row = (await session.execute(statement)).one_or_none()
    if row is None:
        return None
    stream, sealed = row
    return Progress(stream.next_leaf, sealed, stream.delivered_at, stream.trouble)


async def move_cursor(session: AsyncSession, actor: Actor, leaf: int, *, at: datetime, new_id: IdSource) -> Progress:
    """Have everything from that leaf on sent again, or left out up to it; who sends now loses the lease.

    Raises NoStream and NoSuchLeaf.
    """
    progress = await _required(session)
    if not 0 <= leaf <= progress.sealed:
        raise NoSuchLeaf(f"There are {progress.sealed} leaves: the stream can go on from 0 to {progress.sealed}.")
    freed = update(AuditStream).where(AuditStream.name == STREAM).values(next_leaf=leaf, **RETURNED)
    await session.execute(freed)
    before, after = {"next_leaf": progress.next_leaf}, {"next_leaf": leaf}
    await record(session, actor, action=PERMISSION, before=before, after=after, at=at, new_id=new_id)
    return replace(progress, next_leaf=leaf)


async def forget_stream(session: AsyncSession, actor: Actor, *, at: datetime, new_id: IdSource) -> None:
    """Nobody streams any more: no month waits for it before it leaves for an archive. Raises NoStream."""
    progress = await _required(session)
    await session.execute(delete(AuditStream).where(AuditStream.name == STREAM))
    before = {"next_leaf": progress.next_leaf}
    await record(session, actor, action=PERMISSION, before=before, at=at, new_id=new_id)


async def _required(session: AsyncSession) -> Progress:
    progress = await read_progress(session)
    if progress is None:
        raise NoStream("There is no stream: set GUILDHALL_AUDIT_STREAM_URL and start a sealer.")
    return progress


async def _change(session: AsyncSession, lease: Lease, values: Mapping[str, Any]) -> bool:
    """Only under the lease, and only where the cursor is still where it began."""
    held = update(AuditStream).where(AuditStream.lease_token == lease.token, AuditStream.next_leaf == lease.next_leaf)
    changed = await session.scalar(held.values(values).returning(AuditStream.name))
    return changed is not None
