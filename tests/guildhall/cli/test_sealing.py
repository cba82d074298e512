"""`sealer` says its keys, makes new ones, and seals until it is told to stop."""

import argparse
import asyncio
import os
import signal

import pytest
from sqlalchemy import select

from guildhall.audit.record import record
from guildhall.audit.tables import AuditTreeHead
from guildhall.auth.actor import system_actor
from guildhall.cli.sealing import run_sealer
from guildhall.clock import SystemClock, new_id
from guildhall.db.transaction import Database
from guildhall.settings import Settings


def options(**given: bool) -> argparse.Namespace:
    return argparse.Namespace(**{"new_key": False, "show_key": False, **given})


async def test_the_keys_are_said_the_present_one_first(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    await run_sealer(settings, options(show_key=True))
    (first,) = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{settings.audit_origin}+")
    await run_sealer(settings, options(new_key=True))
    second, before = capsys.readouterr().out.splitlines()
    assert (before, second == first) == (first, False)


async def test_it_seals_until_it_is_told_to_stop(settings: Settings, database: Database) -> None:
    async with database.transaction() as session:
        worker = system_actor("worker")
        await record(session, worker, action="registry:dataset:read", at=SystemClock().now(), new_id=new_id)
    sealing = asyncio.create_task(run_sealer(settings, options()))
    heads: list[int] = []
    async with asyncio.timeout(60):
        while not heads:
            await asyncio.sleep(0.05)
            async with database.read() as session:
                heads = list(await session.scalars(select(AuditTreeHead.size)))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(sealing, 60)
    assert heads == [1]
