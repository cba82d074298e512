"""`archive-audit` moves whole old months, and `verify-audit` goes on with their archives."""

import argparse
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from guildhall.audit.archiving import ArchiveMissing
from guildhall.audit.record import record
from guildhall.audit.sealer import open_signers
from guildhall.audit.sealing import seal_once
from guildhall.auth.actor import system_actor
from guildhall.cli.archiving import TooYoung, run_archive_audit
from guildhall.cli.main import build_parser
from guildhall.cli.verifying import AuditAltered, run_verify_audit
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.transaction import Database, connect_database
from guildhall.keys import load_key
from guildhall.settings import Settings

WORKER = system_actor("worker")
JANUARY = datetime(2025, 1, 7, tzinfo=UTC)


def archiving(folder: Path, before: str, *, dry_run: bool = False) -> argparse.Namespace:
    given = ["archive-audit", "--before", before, "--to", str(folder), *(["--dry-run"] if dry_run else [])]
    return build_parser().parse_args(given)


def verifying(*given: str) -> argparse.Namespace:
    return build_parser().parse_args(["verify-audit", *given])


@pytest.fixture
async def owned(fresh_database: Database, server: EmbeddedServer, tmp_path: Path, clock: SimulatedClock) -> Settings:
    """The settings of a database with two sealed events of January 2025, and one of no month."""
    owner = server.url(OWNER_ROLE, str(fresh_database.engine.url.database))
    settings = Settings(data_dir=tmp_path, database_url=fresh_database.url, migration_database_url=owner)
    mine = connect_database(fresh_database.url, audit_key=load_key(settings.audit_key_file))
    async with mine.transaction() as session:
        made = text("SELECT audit_make_partitions(CAST(:at AS timestamptz), 1)")
        await session.execute(made, {"at": JANUARY})
    async with mine.transaction() as session:
        for at in (JANUARY, JANUARY, datetime(2024, 5, 1, tzinfo=UTC)):
            await record(session, WORKER, action="registry:dataset:read", at=at, new_id=new_id)
    await seal_once(mine, open_signers(settings), at=clock.now())
    await mine.close()
    return settings


class TestRunArchiveAudit:
    async def test_an_old_month_leaves_and_is_still_proven(
        self, owned: Settings, clock: SimulatedClock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "archives"
        staying = "1 older events are in no month of their own (audit_events_default), and stay.\n"
        await run_archive_audit(owned, archiving(folder, "2025-01-26", dry_run=True), clock)
        assert capsys.readouterr().out == f"No month that ended by 2025-01-26 is in the database.\n{staying}"
        clock.advance(timedelta(days=31))
        await run_archive_audit(owned, archiving(folder, "2025-02-01", dry_run=True), clock)
        assert capsys.readouterr().out == f"2025-01: 2 events would go into audit-2025-01.zip.\n{staying}"
        assert not folder.exists()

        await run_archive_audit(owned, archiving(folder, "2025-02-01"), clock)
        assert capsys.readouterr().out.startswith("2025-01: 2 events are in audit-2025-01.zip, SHA-256 ")
        assert [path.name for path in folder.iterdir()] == ["audit-2025-01.zip"]

        await run_verify_audit(owned, verifying())
        assert "; 2 more are in archives, which were not read: name where" in capsys.readouterr().out
        await run_verify_audit(owned, verifying("--archives", str(folder)))
        assert capsys.readouterr().out == (
            "All 1 sealed events and 1 that wait for the seal are as they were written; 2 more are in archives, and "
            "were read there; 1 signed heads lead to them.\n"
        )
        with pytest.raises(ArchiveMissing, match=r"lie in the archives 2025-01\. Name where they are with --archives"):
            await run_verify_audit(owned, verifying("--export", str(tmp_path / "record")))
        elsewhere = ("--archives", str(tmp_path / "elsewhere"))
        with pytest.raises(ArchiveMissing, match="They are not in "):
            await run_verify_audit(owned, verifying("--export", str(tmp_path / "record"), *elsewhere))
        with pytest.raises(AuditAltered):
            await run_verify_audit(owned, verifying(*elsewhere))
        assert "The archive 2025-01 (2 events) is missing from " in capsys.readouterr().out
        await run_verify_audit(owned, verifying("--export", str(tmp_path / "record"), "--archives", str(folder)))
        assert "3 sealed events are in " in capsys.readouterr().out
        await run_verify_audit(owned, verifying("--offline", str(tmp_path / "record")))
        assert "All 3 sealed events and 0 that wait" in capsys.readouterr().out

    async def test_what_is_too_young_stays(self, owned: Settings, clock: SimulatedClock, tmp_path: Path) -> None:
        with pytest.raises(TooYoung, match=r"Events stay for 400 days .* may be 2025-01-26 at the latest"):
            await run_archive_audit(owned, archiving(tmp_path / "archives", "2025-01-27"), clock)
        assert not (tmp_path / "archives").exists()

    def test_a_day_is_a_day(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert archiving(Path("x"), "2026-01-01").before == date(2026, 1, 1)
        with pytest.raises(SystemExit):
            archiving(Path("x"), "yesterday")
        assert "'yesterday' is no day such as 2026-01-01" in capsys.readouterr().err
