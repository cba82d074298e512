"""The cursor follows the leaves, and moves only for whoever may send."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update

from guildhall.audit import stream_cursor
from guildhall.audit.checkpoints import Signer
from guildhall.audit.record import record
from guildhall.audit.sealing import seal_once
from guildhall.audit.stream_cursor import (
    Batch,
    Lease,
    NoStream,
    NoSuchLeaf,
    Progress,
    end_lease,
    forget_stream,
    move_cursor,
    move_on,
    next_batch,
    note_trouble,
    read_progress,
    renew_lease,
    take_lease,
)
from guildhall.audit.tables import AuditEvent, AuditPersonal, AuditStream
from guildhall.auth.actor import Actor, RequestContext, system_actor
from guildhall.auth.subjects import ActorKind
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database

SIGNERS = [Signer("guildhall.example/audit", b"s" * 32)]
READ = "registry:dataset:read"
OPERATOR = system_actor("audit-stream")


async def write(database: Database, clock: SimulatedClock, number: int = 1, *, seal: bool = True) -> None:
    request = RequestContext(address="192.0.2.7")
    ada = Actor(kind=ActorKind.USER, id=new_id(), name="ada", policy=OPERATOR.policy, request=request)
    async with database.transaction() as session:
        for _ in range(number):
            await record(session, ada, action=READ, at=clock.now(), new_id=new_id, justification="to look")
    if seal:
        await seal_once(database, SIGNERS, at=clock.now())


async def taken(database: Database, clock: SimulatedClock, owner: str = "one") -> Lease | None:
    return await take_lease(database, owner=owner, clock=clock, new_id=new_id)


async def leased(database: Database, clock: SimulatedClock) -> Lease:
    lease = await taken(database, clock)
    assert lease is not None
    return lease


async def batch_of(database: Database, lease: Lease, *, with_personal: bool = True, events_max: int = 500) -> Batch:
    batch = await next_batch(
        database, lease, origin="guildhall.example/audit", with_personal=with_personal, events_max=events_max
    )
    assert batch is not None
    return batch


async def progress(database: Database) -> Progress | None:
    async with database.read() as session:
        return await read_progress(session)


class TestLease:
    async def test_one_sends_at_a_time(self, fresh_database: Database, clock: SimulatedClock) -> None:
        first = await leased(fresh_database, clock)
        assert first.next_leaf == 0
        assert await taken(fresh_database, clock, "two") is None
        await end_lease(fresh_database, first)
        assert await taken(fresh_database, clock, "two") is not None
        assert await renew_lease(fresh_database, first, at=clock.now()) is None

    async def test_it_ends_by_itself_unless_it_is_renewed(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        first = await leased(fresh_database, clock)
        clock.advance(seconds=59)
        renewed = await renew_lease(fresh_database, first, at=clock.now())
        assert renewed is not None
        assert renewed.expires_at == clock.now() + timedelta(seconds=60)
        clock.advance(seconds=59)
        assert await taken(fresh_database, clock, "two") is None
        clock.advance(seconds=1)
        assert await taken(fresh_database, clock, "two") is not None
        assert await move_on(fresh_database, renewed, 5, at=clock.now()) is None
        await note_trouble(fresh_database, renewed, "too late")
        found = await progress(fresh_database)
        assert found is not None
        assert (found.next_leaf, found.trouble) == (0, None)

    async def test_a_clock_that_was_set_back_does_not_lock_it_up(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        later = SimulatedClock(clock.now() + timedelta(hours=1))
        await leased(fresh_database, later)
        assert await taken(fresh_database, clock, "two") is not None


class TestNextBatch:
    async def test_sealed_events_in_the_order_of_their_leaves_and_no_others(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        lease = await leased(fresh_database, clock)
        assert await next_batch(fresh_database, lease, origin="o", with_personal=True) is None
        async with fresh_database.transaction() as late:
            await record(late, OPERATOR, action=READ, at=clock.now(), new_id=new_id)
            await write(fresh_database, clock, 2)
        await write(fresh_database, clock, seal=False)
        batch = await batch_of(fresh_database, lease)
        assert (len(batch.lines), batch.first, batch.next_leaf, batch.missing, batch.id) == (2, 0, 2, 0, "0-1")
        await seal_once(fresh_database, SIGNERS, at=clock.now())
        moved = await move_on(fresh_database, lease, batch.next_leaf, at=clock.now())
        assert moved is not None
        batch = await batch_of(fresh_database, moved)
        assert (len(batch.lines), batch.first, batch.next_leaf) == (2, 2, 4)

    async def test_pieces(
        self, fresh_database: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await write(fresh_database, clock, 5)
        lease = await leased(fresh_database, clock)
        assert len((await batch_of(fresh_database, lease, events_max=3)).lines) == 3
        monkeypatch.setattr(stream_cursor, "BATCH_BYTES_MAX", 10)
        batch = await batch_of(fresh_database, lease)
        assert (len(batch.lines), batch.next_leaf) == (1, 1)

    async def test_the_caller_s_own_values_where_they_are_wanted_and_not_erased(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await write(fresh_database, clock)
        lease = await leased(fresh_database, clock)
        with_them = (await batch_of(fresh_database, lease)).lines[0]
        assert b'"ip":"192.0.2.7"' in with_them
        assert b'"justification":"to look"' in with_them
        without = (await batch_of(fresh_database, lease, with_personal=False)).lines[0]
        async with fresh_database.transaction() as session:
            await session.execute(update(AuditPersonal).values(salt=None, content=None, erased_at=clock.now()))
        erased = (await batch_of(fresh_database, lease)).lines[0]
        assert erased == without
        assert b"192.0.2.7" not in without
        assert b"to look" not in without

    async def test_what_has_left_for_an_archive_is_counted(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await write(fresh_database, clock, 2)
        async with fresh_database.transaction() as session:
            await session.execute(
                text("INSERT INTO audit_leaves VALUES (2, gen_random_uuid(), :at, sha256('x'))"), {"at": clock.now()}
            )
        batch = await batch_of(fresh_database, await leased(fresh_database, clock))
        assert (len(batch.lines), batch.missing, batch.next_leaf) == (2, 1, 3)


class TestMoveCursor:
    async def test_it_is_moved_recorded_and_taken_from_who_sends(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await write(fresh_database, clock, 3)
        lease = await leased(fresh_database, clock)
        lease = await move_on(fresh_database, lease, 3, at=clock.now()) or lease
        async with fresh_database.transaction() as session:
            told = await move_cursor(session, OPERATOR, 1, at=clock.now(), new_id=new_id)
        assert told == Progress(1, 3, clock.now(), None)
        assert await move_on(fresh_database, lease, 4, at=clock.now()) is None
        found = await progress(fresh_database)
        assert found is not None
        assert (found.next_leaf, found.waiting) == (1, 2)
        async with fresh_database.read() as session:
            event = (
                await session.scalars(select(AuditEvent).where(AuditEvent.action == "guildhall:audit:stream"))
            ).one()
        assert (event.before, event.after) == ({"next_leaf": 3}, {"next_leaf": 1})
        again = await leased(fresh_database, clock)
        assert again.next_leaf == 1

    @pytest.mark.parametrize("leaf", [-1, 4])
    async def test_not_where_there_is_no_leaf(self, fresh_database: Database, clock: SimulatedClock, leaf: int) -> None:
        await write(fresh_database, clock, 3)
        await leased(fresh_database, clock)
        with pytest.raises(NoSuchLeaf, match="There are 3 leaves: the stream can go on from 0 to 3"):
            async with fresh_database.transaction() as session:
                await move_cursor(session, OPERATOR, leaf, at=clock.now(), new_id=new_id)
        found = await progress(fresh_database)
        assert found is not None
        assert found.next_leaf == 0

    async def test_only_where_there_is_a_stream(self, fresh_database: Database, clock: SimulatedClock) -> None:
        assert await progress(fresh_database) is None
        with pytest.raises(NoStream, match="GUILDHALL_AUDIT_STREAM_URL"):
            async with fresh_database.transaction() as session:
                await forget_stream(session, OPERATOR, at=clock.now(), new_id=new_id)
        async with fresh_database.read() as session:
            assert (await session.scalars(select(AuditEvent))).all() == []


class TestForgetStream:
    async def test_it_is_recorded(self, fresh_database: Database, clock: SimulatedClock) -> None:
        await leased(fresh_database, clock)
        async with fresh_database.transaction() as session:
            await forget_stream(session, OPERATOR, at=clock.now(), new_id=new_id)
        async with fresh_database.read() as session:
            assert (await session.scalars(select(AuditStream))).all() == []
            assert (await session.scalars(select(AuditEvent.before))).one() == {"next_leaf": 0}


class TestProgress:
    def test_nothing_waits_where_more_was_delivered_than_is_sealed(self) -> None:
        assert Progress(5, 3, datetime(2026, 1, 1, tzinfo=UTC), None).waiting == 0
