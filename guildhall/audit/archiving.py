"""Retention: whole old months leave the database for sealed archives, and what has left is checked there.

A month leaves only when all of its events are sealed and the file in the store, read back, proves each of them. Then
one short transaction records it and drops the partition. The leaves stay, so the tree does; the values of persons stay,
so that they can be erased.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import BigInteger, RowMapping, func, select, text

from guildhall.audit.archive_rows import keep_uses
from guildhall.audit.archive_store import ArchiveStore
from guildhall.audit.archives import Month, verify_archive, write_archive
from guildhall.audit.checkpoints import Verifier
from guildhall.audit.mac import AuditKey, AuditKeys, compute_mac
from guildhall.audit.partitions import month_after, month_beginnings
from guildhall.audit.question_index import COMPARED_KEY, MONTH_SECONDS_MAX
from guildhall.audit.record import record
from guildhall.audit.sealing import COLUMNS
from guildhall.audit.tables import AuditArchive, AuditEvent, AuditLeaf, AuditSeal, AuditStream
from guildhall.audit.tiles import tile_reader
from guildhall.audit.verifying import NAMED_MAX, PAGE_ROWS, Verification
from guildhall.auth.actor import system_actor
from guildhall.clock import Clock, IdSource
from guildhall.db.transaction import AUDIT_KEY, Database, DatabaseBusy, ReadSession, WriteSession
from guildhall.errors import Conflict

logger = logging.getLogger(__name__)

ARCHIVER = system_actor("archiver")
DROP_TRIES_MAX = 20
DROP_SECONDS_BETWEEN = 0.5
LOCK_MILLISECONDS_MAX = 500
"""Less than the server takes to see a deadlock: where a writer and we wait for each other, it is we who give way."""
_NOBODY_COMPARES = text(f"SELECT pg_try_advisory_xact_lock({COMPARED_KEY})")
_NOBODY_COMPARES_ANY_MORE = text(f"SELECT pg_advisory_xact_lock({COMPARED_KEY})")
_DELETE_STRAY = text("DELETE FROM audit_resources_default WHERE act_at >= :begins_at AND act_at < :ends_at")


class NotSealed(Conflict):
    """A month with events that have no leaf yet."""

    code = "NOT_SEALED"


class NotStreamed(Conflict):
    """A month with events that the receiver of the stream has not taken yet."""

    code = "NOT_STREAMED"


class ArchiveDisagrees(Conflict):
    """The archive does not prove what the database holds: one of the two was changed. The month stays."""

    code = "ARCHIVE_DISAGREES"


class ArchivingUnderWay(Conflict):
    """Somebody else archives at this moment."""

    code = "ARCHIVING_UNDER_WAY"


class MonthInUse(Conflict):
    """Somebody reads the record for so long that the month cannot be taken away from under them."""

    code = "MONTH_IN_USE"


class ArchiveMissing(Conflict):
    """Events that lie in an archive which was not given."""

    code = "ARCHIVE_MISSING"


@dataclass(frozen=True)
class Archived:
    """A month that has left: how many events it had, and the SHA-256 of the file they are in."""

    month: Month
    events: int
    sha256: str


async def months_before(database: Database, before: datetime) -> list[Month]:
    """The months that have a partition of their own and ended by then, the oldest first."""
    async with database.read() as session:
        beginnings = await month_beginnings(session)
    months = [Month(begins.strftime("%Y-%m"), begins, month_after(begins)) for begins in beginnings]
    return [month for month in months if month.ends_at <= before]


async def count_events(database: Database, month: Month) -> int:
    """How many events of the month are in the database."""
    async with database.read() as session:
        return await _count(session, month)


async def count_without_month(database: Database, before: datetime) -> int:
    """How many older events lie in the default partition, which stays as it is."""
    statement = text("SELECT count(*) FROM audit_events_default WHERE act_at < :before").columns(count=BigInteger)
    async with database.read() as session:
        return int((await session.scalars(statement, {"before": before})).one())


@asynccontextmanager
async def only_archiver(database: Database) -> AsyncIterator[None]:
    """For as long as the block lasts nobody else archives. Raises ArchivingUnderWay."""
    async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        if not await connection.scalar(text("SELECT pg_try_advisory_lock(hashtextextended('audit archives', 0))")):
            raise ArchivingUnderWay("Somebody else archives the audit record at this moment; wait for them to end.")
        try:
            yield
        finally:
            await connection.execute(text("SELECT pg_advisory_unlock_all()"))


async def archive_month(
    database: Database, store: ArchiveStore, month: Month, verifiers: Sequence[Verifier], clock: Clock, new_id: IdSource
) -> Archived:
    """Move the month's events into the store, as the owner of the tables, within `only_archiver`.

    Raises NotSealed, ArchiveDisagrees, ArchiveStoreUnavailable, MonthInUse; the month has not left then.
    """
    key = AuditKey(database.session_info[AUDIT_KEY])
    async with database.read() as session:
        state = await session.get_one(AuditSeal, 1)
    with TemporaryDirectory(prefix="guildhall-archive-") as folder:
        written, stored = Path(folder) / "written.zip", Path(folder) / month.file_name
        events = 0
        if state.note is not None:
            async with database.read() as session:
                pages = _sealed_events(database, month, state.size)
                events = await write_archive(written, month, state.note, pages, tile_reader(session))
        present = await count_events(database, month)
        await _require_streamed(database, month)
        if events != present or state.note is None:
            raise NotSealed(
                f"{present - events} of the {present} events of {month.name} are not sealed: run `python -m guildhall "
                "sealer`, then archive again."
            )
        await asyncio.to_thread(_require_proof, written, month, verifiers, events)
        await store.add(written, month.file_name)
        await store.fetch(month.file_name, stored)
        await asyncio.to_thread(_require_proof, stored, month, verifiers, events)
        archived = Archived(month, events, await asyncio.to_thread(sha256_of, stored))
    for _ in range(DROP_TRIES_MAX):
        try:
            await _let_go(database, archived, key, clock.now(), new_id)
        except DatabaseBusy:
            await asyncio.sleep(DROP_SECONDS_BETWEEN)
        else:
            return archived
    raise MonthInUse(
        f"{month.name} stays: somebody reads the audit record for longer than we wait (a report, a search). "
        f"{month.file_name} is written; archive again when they have ended."
    )


async def _let_go(database: Database, archived: Archived, key: AuditKey, at: datetime, new_id: IdSource) -> None:
    """Record that the month has left, and drop its partition, unless it has got another event meanwhile."""
    async with database.transaction() as session:
        await _wait_for_comparison(session, archived.month)
        await _record_and_drop(session, archived, key, at, new_id)


async def _wait_for_comparison(session: WriteSession, month: Month) -> None:
    """While `verify-audit` compares a month no partition can go, and to ask for it would hold up every writer."""
    if await session.scalar(_NOBODY_COMPARES):
        return
    logger.warning("%s leaves as soon as `verify-audit` has compared the month that it is at.", month.name)
    for setting in ("statement_timeout", "lock_timeout"):
        await session.execute(text(f"SET LOCAL {setting} = '{MONTH_SECONDS_MAX}s'"))
    await session.execute(_NOBODY_COMPARES_ANY_MORE)


async def _record_and_drop(
    session: WriteSession, archived: Archived, key: AuditKey, at: datetime, new_id: IdSource
) -> None:
    month = archived.month
    partition = f"audit_events_{month.begins_at:%Y_%m}"
    await session.execute(text(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS_MAX}"))
    await session.execute(text(f"LOCK TABLE ONLY {partition} IN SHARE MODE"))
    if await _count(session, month) != archived.events:
        raise NotSealed(f"{month.name} has got another event meanwhile; archive again when it is sealed.")
    in_month = {"name": month.name, "begins_at": month.begins_at, "ends_at": month.ends_at}
    values = {
        **in_month,
        "events": archived.events,
        "sha256": archived.sha256,
        "archived_at": at,
        "mac_key": key.name,
        "uses_sha256": await keep_uses(session, in_month),
    }
    session.add(AuditArchive(**values, mac=compute_mac(key, values)))
    after = {"name": month.name, "events": archived.events, "sha256": archived.sha256}
    await record(session, ARCHIVER, action="guildhall:audit:archive", at=at, new_id=new_id, after=after)
    await session.flush()
    # What its acts are about: in the default partition only where the month had begun there.
    await session.execute(_DELETE_STRAY, {"begins_at": month.begins_at, "ends_at": month.ends_at})
    await session.execute(text(f"DROP TABLE IF EXISTS {partition}, audit_resources_{month.begins_at:%Y_%m}"))


async def fetch_archives(
    database: Database, store: ArchiveStore | None, folder: Path
) -> tuple[list[tuple[RowMapping, Path]], list[RowMapping]]:
    """Copy every archive that the store has into the folder; with those that it has not."""
    async with database.read() as session:
        statement = select(*AuditArchive.__table__.columns).order_by(AuditArchive.begins_at)
        rows = (await session.execute(statement)).mappings().all()
    given, missing = [], []
    for row in rows:
        path = folder / month_of(row).file_name
        if store is not None and await store.fetch(path.name, path):
            given.append((row, path))
        else:
            missing.append(row)
    return given, missing


async def verify_archives(
    database: Database, store: ArchiveStore, keys: AuditKeys, verifiers: Sequence[Verifier], found: Verification
) -> None:
    """Check every archive that the record speaks of; what is missing, other or wrong is a finding."""
    with TemporaryDirectory(prefix="guildhall-archives-") as folder:
        given, missing = await fetch_archives(database, store, Path(folder))
        for row in missing:
            found.find(f"The archive {row['name']} ({row['events']} events) is missing from {store.where}.")
        for row, path in given:
            if await asyncio.to_thread(sha256_of, path) != row["sha256"]:
                found.find(f"The archive {row['name']} is not the file that was written: its SHA-256 is another.")
                continue
            one = await asyncio.to_thread(verify_archive, path, month_of(row), keys, verifiers)
            found.wrong += one.wrong
            found.named += one.named[: NAMED_MAX - len(found.named)]


async def _sealed_events(database: Database, month: Month, size: int) -> AsyncIterator[Sequence[RowMapping]]:
    event = AuditEvent.__table__
    statement = (
        select(AuditLeaf.number, *COLUMNS)
        .join(event, (event.c.id == AuditLeaf.event_id) & (event.c.act_at == AuditLeaf.act_at))
        .where(AuditLeaf.act_at >= month.begins_at, AuditLeaf.act_at < month.ends_at)
        .order_by(AuditLeaf.number)
    )
    for first in range(0, size, PAGE_ROWS):
        numbers = AuditLeaf.number.between(first, min(first + PAGE_ROWS, size) - 1)
        async with database.read() as session:
            yield (await session.execute(statement.where(numbers))).mappings().all()


async def _require_streamed(database: Database, month: Month) -> None:
    """Once a month has left, the stream cannot send it any more."""
    waiting = (
        select(AuditStream.name)
        .join(AuditLeaf, AuditLeaf.number >= AuditStream.next_leaf)
        .where(AuditLeaf.act_at >= month.begins_at, AuditLeaf.act_at < month.ends_at)
        .limit(1)
    )
    async with database.read() as session:
        stream = await session.scalar(waiting)
    if stream is not None:
        raise NotStreamed(
            f"Events of {month.name} wait for the receiver of the audit stream (`python -m guildhall audit-stream` "
            "says why): archive again when they are delivered, or forget the stream with `--forget`."
        )


async def _count(session: ReadSession, month: Month) -> int:
    event = AuditEvent.__table__
    statement = select(func.count()).select_from(event)
    in_month = statement.where(event.c.act_at >= month.begins_at, event.c.act_at < month.ends_at)
    return (await session.scalars(in_month)).one()


def _require_proof(path: Path, month: Month, verifiers: Sequence[Verifier], events: int) -> None:
    found = verify_archive(path, month, None, verifiers)
    if found.wrong or found.sealed != events:
        told = found.named[0] if found.named else f"It holds {found.sealed} events, and the database {events}."
        raise ArchiveDisagrees(f"The archive {month.file_name} does not prove the events of {month.name}: {told}")


def month_of(row: RowMapping) -> Month:
    """The month that a row of the archives is about."""
    return Month(row["name"], row["begins_at"], row["ends_at"])


def sha256_of(path: Path) -> str:
    """Of the file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
