"""What was begun and never ended is cleaned up."""

from datetime import timedelta

from guildhall.audit.record import record
from guildhall.audit.tables import AuditEvent, Outcome
from guildhall.auth.resources import ResourceRef
from guildhall.clock import SystemClock, new_id
from registry.storage import ArtifactStore
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
