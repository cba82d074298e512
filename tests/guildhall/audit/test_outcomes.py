"""What became of data that left is said once, and what a crashed process left open is closed by others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit import outcomes
from guildhall.audit.mac import AuditKey, verify_row
from guildhall.audit.outcomes import Conclusions, abort_stale_intents, compose_outcome, conclude, open_intents
from guildhall.audit.record import add_events, compose_event, record
from guildhall.audit.tables import AuditEvent, Outcome
from guildhall.auth.actor import system_actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import SimulatedClock, new_id
from guildhall.db import kept_statements
from guildhall.db.kept_statements import KeptStatements, KeptTransaction
from guildhall.db.transaction import Database, DatabaseUnavailable, WriteSession
from guildhall.errors import Unavailable
from tests.conftest import AUDIT_KEY
from tests.waiting import PATIENCE_SECONDS

WORKER = system_actor("worker")
READ = "registry:dataset:read"


async def intent(session: AsyncSession, at: datetime, **more: Any) -> UUID:
    return await record(session, WORKER, action=READ, outcome=Outcome.STARTED, at=at, new_id=new_id, **more)


async def conclusions(session: AsyncSession, event_id: UUID) -> list[dict[str, Any]]:
    columns = AuditEvent.__table__.columns
    rows = await session.execute(select(*columns).where(columns.concludes_id == event_id))
    return [dict(row._mapping) for row in rows]


class TestConclude:
    async def test_it_repeats_the_intent_and_says_what_left(self, session: WriteSession, clock: SimulatedClock) -> None:
        resource, grant, team = ResourceRef("Dataset", new_id()), new_id(), new_id()
        event_id = await intent(
            session, clock.now(), resources=[resource], access_grant_id=grant, team_id=team, purpose="quality"
        )
        before = (await session.scalars(select(AuditEvent).where(AuditEvent.id == event_id))).one()
        clock.advance(seconds=3)
        outcome_id = await conclude(
            session, event_id, outcome=Outcome.COMPLETED, rows=10, bytes=2_000, at=clock.now(), new_id=new_id
        )
        (row,) = await conclusions(session, event_id)
        assert verify_row(AuditKey(AUDIT_KEY), row)
        assert (row["id"], row["occurred_at"], row["outcome"]) == (outcome_id, clock.now(), "COMPLETED")
        assert (row["rows"], row["bytes"], row["reason_code"]) == (10, 2_000, None)
        assert (row["resource_ids"], row["access_grant_id"], row["team_id"]) == ([resource.id], grant, team)
        assert (row["actor_id"], row["purpose"], row["action"]) == (WORKER.id, "quality", READ)
        assert (before.outcome, before.rows) == ("STARTED", None)

    async def test_an_abort_says_why(self, session: WriteSession, clock: SimulatedClock) -> None:
        event_id = await intent(session, clock.now())
        gone = Unavailable("The reader went away.")
        await conclude(session, event_id, outcome=Outcome.ABORTED, bytes=5, reason=gone, at=clock.now(), new_id=new_id)
        (row,) = await conclusions(session, event_id)
        assert (row["outcome"], row["bytes"], row["reason_code"], row["reason_message"]) == (
            "ABORTED", 5, "UNAVAILABLE", "The reader went away.",
        )  # fmt: skip

    async def test_the_first_word_counts(self, session: WriteSession, clock: SimulatedClock) -> None:
        event_id = await intent(session, clock.now())
        first = await conclude(session, event_id, outcome=Outcome.COMPLETED, bytes=1, at=clock.now(), new_id=new_id)
        second = await conclude(session, event_id, outcome=Outcome.ABORTED, bytes=2, at=clock.now(), new_id=new_id)
        assert second is None
        (row,) = await conclusions(session, event_id)
        assert (row["id"], row["outcome"], row["bytes"]) == (first, "COMPLETED", 1)

    async def test_of_many_at_once_one_counts(self, database: Database, clock: SimulatedClock) -> None:
        async with database.transaction() as session:
            event_id = await intent(session, clock.now())

        async def attempt(number: int) -> UUID | None:
            async with database.transaction() as rival:
                return await conclude(
                    rival, event_id, outcome=Outcome.COMPLETED, bytes=number, at=clock.now(), new_id=new_id
                )

        written = [found for found in await asyncio.gather(*(attempt(number) for number in range(10))) if found]
        assert len(written) == 1
        async with database.read() as reading:
            assert [row["id"] for row in await conclusions(reading, event_id)] == written

    async def test_only_an_intent_is_concluded(self, session: WriteSession, clock: SimulatedClock) -> None:
        event_id = await record(session, WORKER, action=READ, at=clock.now(), new_id=new_id)
        with pytest.raises(AssertionError, match="only an intent"):
            await conclude(session, event_id, outcome=Outcome.COMPLETED, at=clock.now(), new_id=new_id)
        assert await conclusions(session, event_id) == []

    async def test_not_with_a_beginning(self, session: WriteSession, clock: SimulatedClock) -> None:
        event_id = await intent(session, clock.now())
        with pytest.raises(AssertionError, match="completed or aborted"):
            await conclude(session, event_id, outcome=Outcome.ALLOWED, at=clock.now(), new_id=new_id)

    async def test_the_database_knows_the_pair_too(self, session: WriteSession, clock: SimulatedClock) -> None:
        await intent(session, clock.now())
        with pytest.raises(DBAPIError, match="outcome_concludes"):
            await session.execute(
                text("""
                    INSERT INTO audit_events SELECT (jsonb_populate_record(a, jsonb_build_object(
                        'id', gen_random_uuid(), 'outcome', 'COMPLETED'))).* FROM audit_events a
                """)
            )


class TestComposeOutcome:
    async def test_what_is_said_beside_the_intent(self, session: WriteSession, clock: SimulatedClock) -> None:
        for before, after, want in (
            (None, None, None),
            ({"limits": 1}, None, {"limits": 1}),
            (None, {"filesSent": 2}, {"filesSent": 2}),
            ({"limits": 1}, {"filesSent": 2}, {"limits": 1, "filesSent": 2}),
        ):
            event_id = await intent(session, clock.now(), after=before)
            await conclude(session, event_id, outcome=Outcome.COMPLETED, after=after, at=clock.now(), new_id=new_id)
            (row,) = await conclusions(session, event_id)
            assert row["after"] == want


@pytest.fixture
async def kept(database: Database) -> AsyncIterator[KeptStatements]:
    opened = KeptStatements(database.url, connections_max=1, statement_seconds=PATIENCE_SECONDS)
    yield opened
    await opened.close()


class TestConclusions:
    async def test_many_are_written_together(
        self, database: Database, kept: KeptStatements, clock: SimulatedClock
    ) -> None:
        intents = await intents_of(database, clock, 5)
        written = Conclusions(kept, database.session_info)
        outcomes = [
            compose_outcome(each, outcome=Outcome.COMPLETED, bytes=number, at=clock.now(), new_id=new_id)
            for number, each in enumerate(intents)
        ]
        again = compose_outcome(intents[0], outcome=Outcome.ABORTED, at=clock.now(), new_id=new_id)
        await asyncio.gather(*(written.add(outcome) for outcome in [*outcomes, again]))
        async with database.read() as session:
            rows = [row for each in intents for row in await conclusions(session, each["id"])]
            transactions = {row["xid"] for row in rows}
        assert [(row["id"], row["bytes"]) for row in rows] == [(each["id"], each["bytes"]) for each in outcomes]
        assert all(verify_row(AuditKey(AUDIT_KEY), row) for row in rows)
        assert len(transactions) == 1
        await written.add(compose_outcome(intents[0], outcome=Outcome.ABORTED, at=clock.now(), new_id=new_id))
        await written.flush()
        await written.add(again)  # by another task, as the first has ended
        await written.flush()

    async def test_there_may_be_none(self, database: Database, kept: KeptStatements) -> None:
        await Conclusions(kept, database.session_info).flush()

    async def test_who_waits_no_more_does_not_keep_it_from_being_written(
        self, database: Database, kept: KeptStatements, clock: SimulatedClock
    ) -> None:
        (started,) = await intents_of(database, clock, 1)
        written = Conclusions(kept, database.session_info)
        outcome = compose_outcome(started, outcome=Outcome.COMPLETED, at=clock.now(), new_id=new_id)
        waiting = asyncio.create_task(written.add(outcome))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await written.flush()
        async with database.read() as session:
            assert [row["id"] for row in await conclusions(session, started["id"])] == [outcome["id"]]

    async def test_all_who_wait_are_told_that_it_failed(
        self, database: Database, kept: KeptStatements, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        intents = await intents_of(database, clock, 2)
        written = Conclusions(kept, database.session_info)
        gone = [compose_outcome(each, outcome=Outcome.COMPLETED, at=clock.now(), new_id=new_id) for each in intents]

        tries: list[None] = []

        def away() -> None:
            tries.append(None)
            raise DatabaseUnavailable("The database cannot be reached.")

        with monkeypatch.context() as patched:
            patched.setattr(outcomes, "AGAIN_SECONDS", 0)
            patched.setattr(kept, "transaction", away)
            told = await asyncio.gather(*(written.add(outcome) for outcome in gone), return_exceptions=True)
        assert [type(each) for each in told] == [DatabaseUnavailable, DatabaseUnavailable]
        assert len(tries) == outcomes.TRIES_MAX
        async with database.read() as session:
            assert [await conclusions(session, each["id"]) for each in intents] == [[], []]
        await asyncio.gather(*(written.add(outcome) for outcome in gone))
        async with database.read() as session:
            assert [len(await conclusions(session, each["id"])) for each in intents] == [1, 1]

    async def test_connections_that_are_busy_with_reads_are_waited_for(
        self, database: Database, kept: KeptStatements, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (started,) = await intents_of(database, clock, 1)
        outcome = compose_outcome(started, outcome=Outcome.COMPLETED, at=clock.now(), new_id=new_id)
        again = asyncio.Event()
        tries: list[None] = []
        begin = kept.transaction

        def counted() -> AbstractAsyncContextManager[KeptTransaction]:
            tries.append(None)
            if len(tries) == 2:
                again.set()
            return begin()

        monkeypatch.setattr(kept_statements, "POOL_WAIT_SECONDS_MAX", 0.01)
        monkeypatch.setattr(outcomes, "AGAIN_SECONDS", 0.01)
        monkeypatch.setattr(outcomes, "TRIES_MAX", 100_000)
        monkeypatch.setattr(kept, "transaction", counted)
        async with begin():
            writing = asyncio.create_task(Conclusions(kept, database.session_info).add(outcome))
            await asyncio.wait_for(again.wait(), PATIENCE_SECONDS)
        await writing
        async with database.read() as session:
            assert [row["id"] for row in await conclusions(session, started["id"])] == [outcome["id"]]

    async def test_what_was_committed_on_a_connection_that_was_lost_is_written_once(
        self, database: Database, kept: KeptStatements, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (started,) = await intents_of(database, clock, 1)
        outcome = compose_outcome(started, outcome=Outcome.COMPLETED, at=clock.now(), new_id=new_id)
        committed: list[None] = []
        begin = kept.transaction

        @asynccontextmanager
        async def lost_once() -> AsyncIterator[KeptTransaction]:
            async with begin() as transaction:
                yield transaction
            committed.append(None)
            if len(committed) == 1:
                raise DatabaseUnavailable("The connection to the database was lost.")

        monkeypatch.setattr(outcomes, "AGAIN_SECONDS", 0)
        monkeypatch.setattr(kept, "transaction", lost_once)
        await Conclusions(kept, database.session_info).add(outcome)
        assert len(committed) == 2
        async with database.read() as session:
            assert [row["id"] for row in await conclusions(session, started["id"])] == [outcome["id"]]

    async def test_what_fails_for_good_is_not_tried_again(
        self, database: Database, kept: KeptStatements, clock: SimulatedClock
    ) -> None:
        (started,) = await intents_of(database, clock, 1)
        outcome = compose_outcome(started, outcome=Outcome.COMPLETED, at=clock.now(), new_id=new_id)
        with pytest.raises(AssertionError, match="this session cannot record"):
            await Conclusions(kept, {}).add(outcome)
        async with database.read() as session:
            assert await conclusions(session, started["id"]) == []
        await Conclusions(kept, database.session_info).add(outcome)  # other tests want none that is open


async def intents_of(database: Database, clock: SimulatedClock, number: int) -> list[dict[str, Any]]:
    """Intents as they were composed."""
    composed = [
        compose_event(WORKER, action=READ, outcome=Outcome.STARTED, at=clock.now(), new_id=new_id)
        for _ in range(number)
    ]
    async with database.transaction() as session:
        await add_events(session, composed)
    return composed


class TestOpenIntents:
    async def test_those_from_before_that_nobody_concluded(self, session: WriteSession, clock: SimulatedClock) -> None:
        oldest = await intent(session, clock.now())
        done = await intent(session, clock.advance(seconds=1))
        await conclude(session, done, outcome=Outcome.COMPLETED, at=clock.now(), new_id=new_id)
        await record(session, WORKER, action=READ, at=clock.now(), new_id=new_id)
        older = await intent(session, clock.advance(seconds=1))
        limit = clock.advance(seconds=1)
        await intent(session, limit)
        assert [found.id for found in await open_intents(session, older_than=limit)] == [oldest, older]
        assert [found.id for found in await open_intents(session, older_than=limit, maximum=1)] == [oldest]

    async def test_how_much_is_read_does_not_grow_with_the_record(
        self, session: WriteSession, clock: SimulatedClock
    ) -> None:
        long_ago = await intent(session, clock.now())
        within = await intent(session, clock.advance(seconds=1))
        limit = clock.now() + outcomes.SWEEP_BACK
        assert [found.id for found in await open_intents(session, older_than=limit)] == [within]
        earlier = limit - timedelta(seconds=1)
        assert [found.id for found in await open_intents(session, older_than=earlier)] == [long_ago, within]


class TestAbortStaleIntents:
    async def test_what_a_crash_left_open_is_said_to_be_unknown(
        self, session: WriteSession, clock: SimulatedClock
    ) -> None:
        stale = await intent(session, clock.now())
        limit = clock.advance(timedelta(hours=1))
        fresh = await intent(session, clock.now())
        assert await abort_stale_intents(session, older_than=limit, at=clock.now(), new_id=new_id) == 1
        (row,) = await conclusions(session, stale)
        assert (row["outcome"], row["reason_code"], row["bytes"]) == ("ABORTED", "OUTCOME_UNKNOWN", None)
        assert await conclusions(session, fresh) == []
        assert await abort_stale_intents(session, older_than=limit, at=clock.now(), new_id=new_id) == 0

    async def test_one_that_ends_meanwhile_is_left_alone(
        self, session: WriteSession, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        event_id = await intent(session, clock.now())
        found = await open_intents(session, older_than=clock.advance(seconds=1))
        await conclude(session, event_id, outcome=Outcome.COMPLETED, at=clock.now(), new_id=new_id)

        async def as_it_was(_session: AsyncSession, **_: object) -> object:
            return found

        monkeypatch.setattr(outcomes, "open_intents", as_it_was)
        assert await abort_stale_intents(session, older_than=clock.now(), at=clock.now(), new_id=new_id) == 0
        assert [row["outcome"] for row in await conclusions(session, event_id)] == ["COMPLETED"]
