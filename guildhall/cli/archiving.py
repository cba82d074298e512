"""The command that moves old months of the audit record into archives."""

import argparse
from datetime import UTC, datetime, time, timedelta

from guildhall.audit.archive_store import ArchiveStore
from guildhall.audit.archiving import (
    archive_month,
    count_events,
    count_without_month,
    months_before,
    only_archiver,
)
from guildhall.audit.sealer import open_signers
from guildhall.clock import Clock, SystemClock, new_id
from guildhall.db.engine import create_owner_engine
from guildhall.db.opening import database_addresses, migrate_database, require_newest_revision
from guildhall.db.transaction import Database
from guildhall.errors import Invalid
from guildhall.keys import load_keys
from guildhall.settings import Settings


class TooYoung(Invalid):
    """Events that must stay in the database for longer."""

    code = "TOO_YOUNG"


async def run_archive_audit(settings: Settings, options: argparse.Namespace, clock: Clock | None = None) -> None:
    """`archive-audit`: month by month, as the owner of the database; the first that is refused ends it."""
    clock = clock or SystemClock()
    before = datetime.combine(options.before, time(), UTC)
    latest = clock.now() - timedelta(days=settings.audit_retention_days)
    if before > latest:
        raise TooYoung(
            f"Events stay for {settings.audit_retention_days} days (GUILDHALL_AUDIT_RETENTION_DAYS): --before may be "
            f"{latest.date()} at the latest, not {options.before}."
        )
    async with database_addresses(settings) as addresses:
        if addresses.embedded:
            await migrate_database(addresses)
        engine = create_owner_engine(addresses.owner)
        database = Database(engine, audit_key=load_keys(settings.audit_key_file)[0])
        try:
            await require_newest_revision(database)
            await _archive(database, settings, options, before, clock)
        finally:
            await database.close()


async def _archive(
    database: Database, settings: Settings, options: argparse.Namespace, before: datetime, clock: Clock
) -> None:
    months = await months_before(database, before)
    if not months:
        print(f"No month that ended by {options.before} is in the database.")
    if options.dry_run:
        for month in months:
            print(f"{month.name}: {await count_events(database, month)} events would go into {month.file_name}.")
    else:
        store = ArchiveStore.open(options.to)
        verifiers = [signer.verifier for signer in open_signers(settings)]
        async with only_archiver(database):
            for month in months:
                done = await archive_month(database, store, month, verifiers, clock, new_id)
                print(f"{month.name}: {done.events} events are in {month.file_name}, SHA-256 {done.sha256}.")
    if staying := await count_without_month(database, before):
        print(f"{staying} older events are in no month of their own (audit_events_default), and stay.")
