"""What questions go by names what the sealed events do, or is found out."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import literal, select

from guildhall.audit import questions
from guildhall.audit.outcomes import conclude
from guildhall.audit.question_index import index_findings
from guildhall.audit.record import record
from guildhall.audit.search import ACTS, is_about
from guildhall.audit.tables import Outcome
from guildhall.auth.actor import system_actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database
from tests.guildhall.audit.test_verifying import alter, check, seal

WORKER = system_actor("worker")
READ = "registry:dataset:read"
SOUGHT, OTHER = (ResourceRef("Dataset", UUID(int=number)) for number in (5, 6))
APRIL = datetime(2026, 4, 2, tzinfo=UTC)


async def read_data(
    database: Database, at: datetime, *resources: ResourceRef, outcome: str = "ALLOWED", grant: UUID | None = None
) -> UUID:
    async with database.transaction() as session:
        return await record(
            session, WORKER, action=READ, outcome=Outcome(outcome), resources=resources, access_grant_id=grant, at=at,
            new_id=new_id,
        )  # fmt: skip


@pytest.fixture
async def acts(fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock) -> Sequence[UUID]:
    """Reads in March, which has no partition, and in April, which has; the last one is not sealed."""
    await alter(server, fresh_database, "SELECT audit_make_partitions('2026-04-01Z', 1)")
    intent = await read_data(fresh_database, APRIL, SOUGHT, OTHER, SOUGHT, outcome="STARTED")
    async with fresh_database.transaction() as session:
        await conclude(session, intent, outcome=Outcome.COMPLETED, at=APRIL, new_id=new_id)
    acts = [intent, await read_data(fresh_database, clock.now(), SOUGHT), await read_data(fresh_database, APRIL)]
    await seal(fresh_database, clock)
    return [*acts, await read_data(fresh_database, APRIL, SOUGHT)]


class TestResourceFindings:
    async def test_an_untouched_record(self, fresh_database: Database, acts: Sequence[UUID]) -> None:
        assert len(acts) == 4
        assert await index_findings(fresh_database, named_max=9) == []

    @pytest.mark.parametrize(
        ("statement", "want"),
        [
            ("DELETE FROM audit_resources WHERE event_id = '{1}'", "Event {1} (leaf 2) was taken out of"),
            ("DELETE FROM audit_resources WHERE event_id = '{3}'", "Event {3} was taken out of"),
            ("INSERT INTO audit_resources SELECT '{sought}', act_at, id FROM audit_events WHERE id = '{2}'",
             "Event {2} (leaf 3) was put into"),
            # an outcome is found by its intent
            ("INSERT INTO audit_resources SELECT '{sought}', act_at, id FROM audit_events WHERE concludes_id = '{0}'",
             "(leaf 1) was put into"),
            ("INSERT INTO audit_resources VALUES ('{sought}', '2026-04-09Z', '{1}')",
             "Event {1} (leaf 2) was put into"),
            ("INSERT INTO audit_resources VALUES ('{sought}', '1999-04-09Z', '{nobody}')",
             "Event {nobody} was put into"),
            ("INSERT INTO audit_resources VALUES ('{sought}', 'infinity', '{nobody}')", "Event {nobody} was put into"),
            ("INSERT INTO audit_resources VALUES ('{sought}', '-infinity', '{nobody}')", "Event {nobody} was put into"),
        ],
        ids=["sealed", "unsealed", "another's act", "an outcome", "another moment", "no act", "the end", "the start"],
    )  # fmt: skip
    async def test_a_row_that_was_changed(
        self, fresh_database: Database, server: EmbeddedServer, acts: Sequence[UUID], statement: str, want: str
    ) -> None:
        names = {"sought": SOUGHT.id, "nobody": UUID(int=1)}
        await alter(server, fresh_database, statement.format(*acts, **names))
        ((wrong, (sentence,)),) = await index_findings(fresh_database, named_max=9)
        assert wrong == 1
        assert f"{want.format(*acts, **names)} what questions about {SOUGHT.id} look at" in sentence
        found = await check(fresh_database)
        assert (found.wrong, found.named) == (1, [sentence])

    async def test_all_are_counted_and_the_first_are_named(
        self, fresh_database: Database, server: EmbeddedServer, acts: Sequence[UUID]
    ) -> None:
        await alter(server, fresh_database, "UPDATE audit_resources SET event_id = gen_random_uuid()")
        findings = await index_findings(fresh_database, named_max=2)
        assert [(wrong, len(sentences)) for wrong, sentences in findings] == [(1, 1), (1, 1), (3, 2), (3, 2)]
        assert (await check(fresh_database)).wrong == 8


class TestUsedGrants:
    @pytest.mark.parametrize(
        ("statement", "want"),
        [
            ("DELETE FROM audit_used_grants",
             "Event {use} (leaf 1) used the access grant {grant}, which was taken out of those that were used."),
            ("INSERT INTO audit_used_grants SELECT '{sought}', act_at, id FROM audit_events WHERE id = '{use}'",
             "Event {use} (leaf 1) was put in as a use of the access grant {sought}, and is none."),
            ("INSERT INTO audit_used_grants SELECT '{sought}', act_at, id FROM audit_events WHERE id = '{refused}'",
             "Event {refused} (leaf 0) was put in as a use of the access grant {sought}, and is none."),
            # only where a month has left is a leaf enough
            ("INSERT INTO audit_used_grants VALUES ('{sought}', '2026-03-02 08:00Z', '{nobody}')",
             "Event {nobody} was put in as a use of the access grant {sought}, and is none."),
        ],
        ids=["taken out", "another grant's", "refused", "no act"],
    )  # fmt: skip
    async def test_they_are_those_by_which_data_was_read(
        self, fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock, statement: str, want: str
    ) -> None:
        grant = new_id()
        refused = await read_data(fresh_database, clock.now(), SOUGHT, outcome="REFUSED", grant=OTHER.id)
        use = await read_data(fresh_database, clock.now(), SOUGHT, grant=grant)
        await read_data(fresh_database, APRIL, SOUGHT, outcome="STARTED", grant=grant)
        await seal(fresh_database, clock)
        async with fresh_database.read() as session:
            for grant_id, used in ((grant, True), (OTHER.id, False)):
                assert await session.scalar(select(questions.was_used(literal(grant_id)))) is used
        assert await index_findings(fresh_database, named_max=9) == []
        names = {"use": use, "refused": refused, "grant": grant, "sought": SOUGHT.id, "nobody": UUID(int=1)}
        await alter(server, fresh_database, statement.format(**names))
        assert await index_findings(fresh_database, named_max=9) == [(1, [want.format(**names)])]


class TestQuestions:
    """An answer takes no row's word for it that an event is about something."""

    async def test_who_read_what_somebody_else_read(
        self, fresh_database: Database, server: EmbeddedServer, acts: Sequence[UUID]
    ) -> None:
        about = questions.acts_about(SOUGHT.id, None, None)
        reads = select(ACTS.c.id).join(about, about.c.id == ACTS.c.id).where(*questions.data_reads(about))
        await alter(
            server, fresh_database,
            f"INSERT INTO audit_resources SELECT '{SOUGHT.id}', act_at, id FROM audit_events WHERE id = '{acts[2]}'",
        )  # fmt: skip
        for statement in (reads, select(ACTS.c.id).where(is_about(SOUGHT.id))):
            async with fresh_database.read() as session:
                assert set(await session.scalars(statement)) == {acts[0], acts[1], acts[3]}
