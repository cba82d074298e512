"""A month that leaves waits for its readers, and never for long in the way of writers."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import select, text

from guildhall.audit import archiving
from guildhall.audit.archive_store import ArchiveStore
from guildhall.audit.archiving import MonthInUse, count_events
from guildhall.audit.question_index import COMPARED_KEY
from guildhall.audit.tables import AuditEvent
from guildhall.clock import SimulatedClock
from guildhall.db.transaction import Database, DatabaseBusy
from tests.guildhall.audit.test_archiving import JANUARY, archive, checked, fill, owned, partitions, store

__all__ = ["owned", "store"]


class TestLeaving:
    async def test_it_gives_way_to_readers_and_tries_again(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archiving, "LOCK_MILLISECONDS_MAX", 20)
        monkeypatch.setattr(archiving, "DROP_SECONDS_BETWEEN", 0.01)
        monkeypatch.setattr(archiving, "DROP_TRIES_MAX", 2)
        await fill(owned, clock, 2)
        async with owned.read() as session:
            await session.execute(select(AuditEvent.id).limit(1))
            with pytest.raises(MonthInUse, match=r"2025-01 stays: somebody reads .* audit-2025-01\.zip is written"):
                await archive(owned, store, clock)
        assert await count_events(owned, JANUARY) == 5
        let_go, tries = archiving._let_go, list[int]()

        async def free_at_the_last(*given: Any) -> None:
            tries.append(1)
            if len(tries) < archiving.DROP_TRIES_MAX:
                raise DatabaseBusy("Somebody reads.")
            await let_go(*given)

        monkeypatch.setattr(archiving, "_let_go", free_at_the_last)
        assert (await archive(owned, store, clock)).events == 5
        assert len(tries) == 2

    async def test_it_waits_until_a_month_is_compared(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock, caplog: pytest.LogCaptureFixture
    ) -> None:
        await fill(owned, clock, 2)
        async with owned.read() as session:
            await session.execute(text(f"SELECT pg_advisory_xact_lock_shared({COMPARED_KEY})"))
            leaving = asyncio.create_task(archive(owned, store, clock))
            async with asyncio.timeout(120):
                while "2025-01 leaves as soon as `verify-audit` has compared the month" not in caplog.text:
                    await asyncio.sleep(0.05)
            assert "audit_events_2025_01" in await partitions(owned)
            assert not leaving.done()
        assert (await leaving).events == 5
        assert (await checked(owned, store)).named == []
