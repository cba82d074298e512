"""`audit-stream` says how far the stream has come, moves it, and forgets it."""

import argparse
import asyncio
import os
import signal
from pathlib import Path

import pytest
from sqlalchemy import select

from guildhall.audit.record import record
from guildhall.audit.sealer import open_signers
from guildhall.audit.sealing import seal_once
from guildhall.audit.stream_cursor import NoStream, move_on, note_trouble, read_progress, take_lease
from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import system_actor
from guildhall.cli.main import build_parser
from guildhall.cli.sealing import run_sealer
from guildhall.cli.streaming import run_audit_stream
from guildhall.clock import SimulatedClock, SystemClock, new_id
from guildhall.db.transaction import Database
from guildhall.settings import Settings


def asked(*given: str) -> argparse.Namespace:
    return build_parser().parse_args(["audit-stream", *given])


@pytest.fixture
def told(fresh_database: Database, tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path, database_url=fresh_database.url, audit_stream_url=(tmp_path / "siem.jsonl").as_uri()
    )


async def write(database: Database, told: Settings, number: int) -> None:
    async with database.transaction() as session:
        for _ in range(number):
            worker = system_actor("worker")
            await record(session, worker, action="registry:dataset:read", at=SystemClock().now(), new_id=new_id)
    await seal_once(database, open_signers(told), at=SystemClock().now())


class TestRunAuditStream:
    async def test_looking_moving_and_forgetting(
        self, told: Settings, fresh_database: Database, clock: SimulatedClock, capsys: pytest.CaptureFixture[str]
    ) -> None:
        await run_audit_stream(told, asked())
        assert capsys.readouterr().out == "There is no stream: nothing was ever sent from here.\n"
        await write(fresh_database, told, 3)
        lease = await take_lease(fresh_database, owner="one", clock=clock, new_id=new_id)
        assert lease is not None
        await note_trouble(fresh_database, lease, "it is away")
        await run_audit_stream(told, asked())
        assert capsys.readouterr().out == (
            "The stream is at leaf 0 of 3: 3 wait. Last delivered: never.\nWhat stands in the way: it is away\n"
        )
        await move_on(fresh_database, lease, 2, at=clock.now())
        await run_audit_stream(told, asked())
        assert capsys.readouterr().out == (
            "The stream is at leaf 2 of 3: 1 wait. Last delivered: 2026-03-02T08:00:00+00:00.\n"
        )
        await run_audit_stream(told, asked("--from-leaf", "0"), clock)
        assert capsys.readouterr().out == "The stream goes on from leaf 0 of 3.\n"
        await run_audit_stream(told, asked("--forget"), clock)
        assert capsys.readouterr().out.startswith("The stream is forgotten")
        with pytest.raises(NoStream):
            await run_audit_stream(told, asked("--forget"))
        async with fresh_database.read() as session:
            acts = select(AuditEvent.before, AuditEvent.after).where(AuditEvent.action == "guildhall:audit:stream")
            kept = [tuple(row) for row in await session.execute(acts.order_by(AuditEvent.id))]
        assert kept == [({"next_leaf": 2}, {"next_leaf": 0}), ({"next_leaf": 0}, None)]


class TestTheSealersProcess:
    async def test_it_streams_what_it_seals(self, told: Settings, fresh_database: Database, tmp_path: Path) -> None:
        await write(fresh_database, told, 2)
        running = asyncio.create_task(run_sealer(told, argparse.Namespace(new_key=False, show_key=False)))
        async with asyncio.timeout(60):
            while True:
                async with fresh_database.read() as session:
                    progress = await read_progress(session)
                if progress is not None and progress.next_leaf == 2:
                    break
                await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 60)
        assert (tmp_path / "siem.jsonl").read_bytes().count(b"\n") == 2
