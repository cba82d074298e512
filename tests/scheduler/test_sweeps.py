"""What was begun and never ended is cleaned up."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from guildhall.audit.record import record
from guildhall.audit.tables import AuditEvent, Outcome
from guildhall.auth.resources import ResourceRef
from guildhall.clock import SystemClock, new_id
from guildhall.db.transaction import WriteSession
from guildhall.outbox.outbox import DONE_KEPT
from guildhall.outbox.tables import OutboxRow
from registry.artifacts.sweeping import Swept
from registry.storage import ArtifactStore
from scheduler import sweeps
from scheduler.sweeps import delete_parts, sweep
from tests.scheduler.yard import Yard


class TestSweep:
    async def test_concludes_intents_of_which_nobody_said_how_they_ended(self, yard: Yard) -> None:
        yard.clock.advance_to(SystemClock().now())  # the store's own times count as well
        begun = yard.clock.now() - timedelta(hours=25)
        async with yard.database.transaction() as session:
            for at in (begun, yard.clock.now()):
                await record(
                    session, yard.actor("anna"), action="registry:dataset:read", outcome=Outcome.STARTED,
                    resources=[ResourceRef("Dataset", yard.dataset_id)], at=at, new_id=new_id,
                )  # fmt: skip
        store = ArtifactStore.open(yard.settings.artifacts_url)
        await sweep(yard.context(), store)
        await delete_parts(yard.context(), store)
        aborted = await yard.rows(AuditEvent, AuditEvent.outcome == Outcome.ABORTED)
        assert len(aborted) == 1
        (old,) = await yard.rows(AuditEvent, AuditEvent.id == aborted[0].concludes_id)
        assert old.occurred_at == begun

    async def test_one_that_fails_keeps_no_other_from_running(
        self, yard: Yard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        at, ran = yard.clock.now(), []

        async def too_long(session: WriteSession, **_: Any) -> int:
            await session.execute(text("SET LOCAL statement_timeout = 1"))
            await session.execute(text("SELECT pg_sleep(60)"))
            raise AssertionError("the database ends it")

        async def deliveries(_session: WriteSession, **_: Any) -> int:
            ran.append("deliveries")
            return 2

        async def uploads(*_: Any, **__: Any) -> Swept:
            ran.append("uploads")
            return Swept(parts=3, orphans=0, staged=1)

        async def no_store(*_: Any, **__: Any) -> int:
            raise OSError("The store is away.")

        monkeypatch.setattr(sweeps, "abort_stale_intents", too_long)
        monkeypatch.setattr(sweeps, "sweep_deliveries", deliveries)
        monkeypatch.setattr(sweeps, "sweep_uploads", uploads)
        async with yard.database.transaction() as session:
            done = OutboxRow(
                id=new_id(), topic="t", payload={}, created_at=at, available_at=at, attempts=1, done_at=at - DONE_KEPT
            )
            session.add(done)
        monkeypatch.setattr(sweeps, "sweep_filtered", no_store)
        with caplog.at_level("INFO", logger=sweeps.__name__):
            await sweep(yard.context(), ArtifactStore.open(yard.settings.artifacts_url))
        assert (ran, yard.clock.now()) == (["deliveries", "uploads"], at)
        assert [record.message for record in caplog.records if record.name == sweeps.__name__] == [
            "The stale intents were not swept; the next round tries again.",
            "Swept 2 ended deliveries.",
            "Swept 1 done effects.",
            "Swept 3 parts, 1 staged uploads.",
            "The narrowed files were not swept; the next round tries again.",
        ]
