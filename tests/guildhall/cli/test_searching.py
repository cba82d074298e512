"""`search-archive` prints what archived months know."""

import argparse
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, text

from guildhall.audit.record import record
from guildhall.audit.sealer import open_signers
from guildhall.audit.sealing import seal_once
from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import system_actor
from guildhall.auth.resources import ResourceRef
from guildhall.cli import searching
from guildhall.cli.archiving import run_archive_audit
from guildhall.cli.main import build_parser
from guildhall.cli.searching import NoSuchKey, run_search_archive
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE
from guildhall.db.opening import open_database
from guildhall.db.transaction import Database, connect_database
from guildhall.graphql.ids import encode_id
from guildhall.keys import load_key
from guildhall.settings import Settings

WORKER = system_actor("worker")
JANUARY = datetime(2025, 1, 7, tzinfo=UTC)
DATASET = UUID(int=70)


def asked(*given: str) -> argparse.Namespace:
    return build_parser().parse_args(["search-archive", *given])


@pytest.fixture
async def archived(
    fresh_database: Database, server: EmbeddedServer, tmp_path: Path, clock: SimulatedClock,
    capsys: pytest.CaptureFixture[str],
) -> Settings:  # fmt: skip
    """The settings of a database whose January 2025, with a read and a change of policy, lies in `archives`."""
    owner = server.url(OWNER_ROLE, str(fresh_database.engine.url.database))
    settings = Settings(data_dir=tmp_path, database_url=fresh_database.url, migration_database_url=owner)
    mine = connect_database(fresh_database.url, audit_key=load_key(settings.audit_key_file))
    async with mine.transaction() as session:
        made = text("SELECT audit_make_partitions(CAST(:at AS timestamptz), 1)")
        await session.execute(made, {"at": JANUARY})
    async with mine.transaction() as session:
        data = [ResourceRef("Dataset", DATASET)]
        await record(session, WORKER, action="registry:dataset:read", resources=data, at=JANUARY, new_id=new_id)
        await record(session, WORKER, action="guildhall:role:bind", at=JANUARY, new_id=new_id)
    await seal_once(mine, open_signers(settings), at=clock.now())
    await mine.close()
    given = ["archive-audit", "--before", "2025-02-01", "--to", str(tmp_path / "archives")]
    clock.advance_to(datetime(2026, 4, 1, tzinfo=UTC))
    await run_archive_audit(settings, build_parser().parse_args(given), clock)
    capsys.readouterr()
    return settings


class TestRunSearchArchive:
    @pytest.mark.parametrize(
        ("question", "want"),
        [
            (["--who-read", encode_id("Dataset", DATASET)], ["registry:dataset:read"]),
            (["--who-read", str(DATASET), "--from", "2025-01-07", "--to", "2025-01-08"], ["registry:dataset:read"]),
            (["--who-read", str(DATASET), "--from", "2025-01-08"], []),
            (["--acts-of", str(WORKER.id)], ["registry:dataset:read", "guildhall:role:bind"]),
            (["--without-grant"], ["registry:dataset:read"]),
            (["--policy-changes"], ["guildhall:role:bind"]),
        ],
        ids=" ".join,
    )
    async def test_a_line_for_each_act(
        self, archived: Settings, tmp_path: Path, clock: SimulatedClock, capsys: pytest.CaptureFixture[str],
        question: list[str], want: list[str],
    ) -> None:  # fmt: skip
        await run_search_archive(archived, asked("--archives", str(tmp_path / "archives"), *question), clock)
        acts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [act["action"] for act in acts] == want
        assert {act["archive"] for act in acts} <= {"2025-01"}

    async def test_who_reads_no_further_has_the_search_concluded_before_the_database_closes(
        self, archived: Settings, tmp_path: Path, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        concluded: list[tuple[str, int | None]] = []

        @asynccontextmanager
        async def watched(settings: Settings) -> AsyncIterator[Database]:
            async with open_database(settings) as database:
                try:
                    yield database
                finally:
                    statement = select(AuditEvent.outcome, AuditEvent.rows).where(AuditEvent.concludes_id.is_not(None))
                    async with database.read() as session:
                        concluded.extend((outcome, rows) for outcome, rows in await session.execute(statement))

        def head(*_: object) -> None:
            raise BrokenPipeError

        monkeypatch.setattr(searching, "open_database", watched)
        monkeypatch.setattr("builtins.print", head)
        with pytest.raises(BrokenPipeError):
            await run_search_archive(
                archived, asked("--archives", str(tmp_path / "archives"), "--acts-of", str(WORKER.id)), clock
            )
        assert concluded == [("ABORTED", 1)]

    async def test_what_is_no_key_is_told_before_anything(self, settings: Settings) -> None:
        with pytest.raises(NoSuchKey, match="'the customers' is neither an id nor a UUID"):
            await run_search_archive(settings, asked("--archives", "/nowhere", "--who-read", "the customers"))

    def test_one_question_at_a_time(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            asked("--archives", "x", "--without-grant", "--policy-changes")
        with pytest.raises(SystemExit):
            asked("--archives", "x")
        assert "one of the arguments --who-read --acts-of --without-grant --policy-changes" in capsys.readouterr().err
