"""Checking the record against the key: every row as the database has it now must be the one that was written."""

from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import select

from guildhall.audit.mac import AuditKey, verify_row
from guildhall.audit.tables import AuditEvent
from guildhall.db.transaction import Database

PAGE_ROWS = 1_000
ALTERED_MAX = 100
"""How many altered events a report names; it counts them all."""


@dataclass
class Verification:
    """What a check of the whole record found."""

    checked: int = 0
    altered: int = 0
    other_key: int = 0
    named: list[UUID] = field(default_factory=list)


async def verify_record(database: Database, key: AuditKey) -> Verification:
    """Check every event, in pages that each take a transaction of their own, so that nothing waits for it.

    An event under another key cannot be checked with this one, and is counted apart. That events are missing is not
    found: that takes the seal.
    """
    found = Verification()
    table = AuditEvent.__table__
    last: UUID | None = None
    while True:  # ends at the first page that is not full
        page = select(*table.columns).order_by(table.c.id).limit(PAGE_ROWS)
        if last is not None:
            page = page.where(table.c.id > last)
        async with database.read() as session:
            rows = [row._asdict() for row in await session.execute(page)]
        for row in rows:
            found.checked += 1
            if row["mac_key"] != key.name:
                found.other_key += 1
            elif not verify_row(key, row):
                found.altered += 1
                found.named += [row["id"]] if len(found.named) < ALTERED_MAX else []
        if len(rows) < PAGE_ROWS:
            return found
        last = rows[-1]["id"]
