"""By which grants data was read is known also of months that have left, and nobody changes that unseen."""

import hashlib
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, text

from guildhall.audit.archive_store import ArchiveStore
from guildhall.audit.mac import AuditKey, compute_mac
from guildhall.audit.outcomes import conclude
from guildhall.audit.record import record
from guildhall.audit.tables import AuditArchive, AuditArchivedUse, Outcome
from guildhall.audit.verifying import Verification, verify_record
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database
from tests.conftest import AUDIT_KEY
from tests.guildhall.audit.test_archiving import (
    ADA,
    DATASET,
    GRANT,
    JANUARY,
    KEYS,
    VERIFIERS,
    archive,
    owned,
    seal,
    store,
    write,
)
from tests.guildhall.audit.test_verifying import alter

__all__ = ["owned", "store"]
LATER = JANUARY.begins_at + timedelta(days=3)
REFUSED, UNUSED = UUID(int=16), UUID(int=17)
TAKEN_OUT = (
    f"Data was read by the access grant {GRANT} in 2025-01, and the grant was taken out of those that were used."
)
MADE_UP = "The archive 2025-01 was made up: its code does not fit."
CHANGED = "By which access grants data was read in {} is not what was written when that month left."


async def read_by(database: Database, grant: UUID, at: datetime, outcome: Outcome) -> UUID:
    async with database.transaction() as session:
        return await record(
            session, ADA, action="registry:dataset:read", resources=[DATASET], access_grant_id=grant, outcome=outcome,
            at=at, new_id=new_id,
        )  # fmt: skip


async def check(database: Database) -> Verification:
    return await verify_record(database, KEYS, VERIFIERS, [])


@pytest.fixture
async def left(owned: Database, store: ArchiveStore, clock: SimulatedClock) -> Database:
    """January has left: two reads by the one grant, the second of them a download, and a refusal by another."""
    await write(owned, JANUARY.begins_at, 1)
    intent = await read_by(owned, GRANT, LATER, Outcome.STARTED)
    async with owned.transaction() as session:
        await conclude(session, intent, outcome=Outcome.COMPLETED, at=LATER, new_id=new_id)
    await read_by(owned, REFUSED, LATER, Outcome.REFUSED)
    await seal(owned, clock)
    assert (await archive(owned, store, clock)).events == 4
    return owned


class TestKeepUses:
    async def test_of_each_grant_how_often_and_from_when_to_when(self, left: Database) -> None:
        async with left.read() as session:
            (use,) = (await session.scalars(select(AuditArchivedUse))).all()
            kept = (await session.scalars(select(AuditArchive))).one()
        assert (use.archive, use.access_grant_id, use.times) == ("2025-01", GRANT, 2)
        assert (use.first_used_at, use.last_used_at) == (JANUARY.begins_at, LATER)
        line = (
            f'{{"access_grant_id":"{GRANT.hex}","archive":"2025-01","first_used_at":"2025-01-01T00:00:00.000000+00:00",'
            '"last_used_at":"2025-01-04T00:00:00.000000+00:00","times":2}\n'
        )
        assert kept.uses_sha256 == hashlib.sha256(line.encode()).hexdigest()
        assert await check(left) == Verification(sealed=4, unsealed=1, archived=4, heads=1)

    async def test_of_a_month_without_any(self, owned: Database, store: ArchiveStore, clock: SimulatedClock) -> None:
        await read_by(owned, REFUSED, LATER, Outcome.REFUSED)
        await seal(owned, clock)
        await archive(owned, store, clock)
        async with owned.read() as session:
            assert (await session.scalars(select(AuditArchivedUse))).all() == []
            assert await session.scalar(select(AuditArchive.uses_sha256)) == hashlib.sha256(b"").hexdigest()
        assert await check(owned) == Verification(sealed=1, unsealed=1, archived=1, heads=1)


class TestUseFindings:
    @pytest.mark.parametrize(
        ("statement", "want"),
        [
            ("DELETE FROM audit_used_grants",
             [TAKEN_OUT]),
            ("UPDATE audit_archived_uses SET times = 1", [CHANGED.format("2025-01")]),
            (f"INSERT INTO audit_used_grants SELECT '{UNUSED}', act_at, event_id FROM audit_leaves WHERE number = 0",
             [f"Event {{0}} (leaf 0) was put in as a use of the access grant {UNUSED}, and is none."]),
            (f"INSERT INTO audit_archived_uses VALUES ('{GRANT}', '2025-01b', 1, '2025-01-02Z', '2025-01-02Z')",
             [CHANGED.format("2025-01b")]),
            ("UPDATE audit_archives SET uses_sha256 = NULL", [MADE_UP]),
        ],
        ids=["the grant taken out", "a count altered", "a use made up", "an archive made up", "no sum"],
    )  # fmt: skip
    async def test_what_was_changed_is_named(
        self, left: Database, server: EmbeddedServer, statement: str, want: list[str]
    ) -> None:
        await alter(server, left, statement)
        async with left.read() as session:
            first = await session.scalar(text("SELECT event_id FROM audit_leaves WHERE number = 0"))
        named = (await check(left)).named
        assert [sentence for sentence in named if "was deleted" not in sentence] == [
            each.format(first) for each in want
        ]

    async def test_what_left_before_there_were_uses_has_none(self, left: Database, server: EmbeddedServer) -> None:
        async with left.read() as session:
            row = (await session.execute(select(*AuditArchive.__table__.columns))).mappings().one()
        before = {name: value for name, value in row.items() if name != "uses_sha256"}
        code = compute_mac(AuditKey(AUDIT_KEY), before).hex()
        await alter(
            server, left, "DELETE FROM audit_archived_uses",
            f"UPDATE audit_archives SET uses_sha256 = NULL, mac = decode('{code}', 'hex')",
        )  # fmt: skip
        assert await check(left) == Verification(sealed=4, unsealed=1, archived=4, heads=1)
        await alter(
            server,
            left,
            f"INSERT INTO audit_archived_uses VALUES ('{GRANT}', '2025-01', 9, '2025-01-02Z', '2025-01-02Z')",
        )
        assert (await check(left)).named == [CHANGED.format("2025-01")]
