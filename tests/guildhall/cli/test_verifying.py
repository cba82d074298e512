"""`verify-audit` says whether the record is what was written."""

import argparse

import pytest
from sqlalchemy import func, select

from guildhall.audit.record import record
from guildhall.auth.actor import system_actor
from guildhall.cli.verifying import AuditAltered, run_verify_audit
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database, connect_database
from guildhall.keys import load_key
from guildhall.settings import Settings

WORKER = system_actor("worker")


class TestRunVerifyAudit:
    async def test_both_answers(
        self,
        settings: Settings,
        database: Database,
        server: EmbeddedServer,
        clock: SimulatedClock,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        mine = connect_database(database.url, audit_key=load_key(settings.audit_key_file))
        async with mine.transaction() as session:
            event_id = await record(session, WORKER, action="registry:dataset:read", at=clock.now(), new_id=new_id)
            name = str((await session.scalars(select(func.current_database()))).one())
        await mine.close()
        await run_verify_audit(settings, argparse.Namespace(export=None, offline=None, key=None, archives=None))
        assert capsys.readouterr().out == (
            "All 0 sealed events and 1 that wait for the seal are as they were written; 0 signed heads lead to them.\n"
        )

        superuser = await server.connect(database=name)
        await superuser.execute("ALTER TABLE audit_events DISABLE TRIGGER ALL")
        await superuser.execute("UPDATE audit_events SET bytes = 0")
        await superuser.close()
        with pytest.raises(AuditAltered, match="is not what was written: 1 findings"):
            await run_verify_audit(settings, argparse.Namespace(export=None, offline=None, key=None, archives=None))
        assert capsys.readouterr().out == f"Event {event_id} was altered or made up: its code does not fit.\n"
