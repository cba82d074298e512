"""What has committed is sealed once and in order, whoever else is writing, sealing or late."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from guildhall.audit.checkpoints import Head, Signer, open_head
from guildhall.audit.mac import entry_of
from guildhall.audit.merkle import EMPTY_ROOT, leaf_hash, node_hash
from guildhall.audit.record import record
from guildhall.audit.sealing import COLUMNS, Pass, seal_once
from guildhall.audit.tables import AuditLeaf, AuditSeal, AuditTile
from guildhall.auth.actor import system_actor
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database

WORKER = system_actor("worker")
READ = "registry:dataset:read"
SIGNERS = [Signer("guildhall.example/audit", b"s" * 32)]


async def write(database: Database, clock: SimulatedClock, number: int) -> list[UUID]:
    async with database.transaction() as session:
        return [await record(session, WORKER, action=READ, at=clock.now(), new_id=new_id) for _ in range(number)]


async def leaves(database: Database) -> Sequence[AuditLeaf]:
    async with database.read() as session:
        return (await session.scalars(select(AuditLeaf).order_by(AuditLeaf.number))).all()


async def head(database: Database) -> Head:
    async with database.read() as session:
        note = (await session.get_one(AuditSeal, 1)).note
    assert note is not None
    return open_head(note, [signer.verifier for signer in SIGNERS])


def root(hashes: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written there."""
    if not hashes:
        return EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(root(hashes[:split]), root(hashes[split:]))


async def consistent(database: Database) -> list[UUID]:
    """The sealed events in the order of their leaves, after a look at entries, tiles and head."""
    found = await leaves(database)
    assert [leaf.number for leaf in found] == list(range(len(found)))
    async with database.read() as session:
        rows = {row["id"]: dict(row) for row in (await session.execute(select(*COLUMNS))).mappings()}
        tiles = await session.scalars(select(AuditTile).where(AuditTile.level == 0).order_by(AuditTile.number))
        stored = b"".join(tile.hashes for tile in tiles)
    assert [leaf.entry for leaf in found] == [entry_of(rows[leaf.event_id]) for leaf in found]
    hashes = [leaf_hash(leaf.entry) for leaf in found]
    assert stored == b"".join(hashes)
    assert await head(database) == Head("guildhall.example/audit", len(found), root(hashes))
    return [leaf.event_id for leaf in found]


class TestSealOnce:
    async def test_an_empty_record_has_a_head(self, fresh_database: Database, clock: SimulatedClock) -> None:
        assert await seal_once(fresh_database, SIGNERS, at=clock.now()) == Pass(0, 0, more=False)
        assert await head(fresh_database) == Head("guildhall.example/audit", 0, EMPTY_ROOT)
        assert await seal_once(fresh_database, SIGNERS, at=clock.now()) == Pass(0, 0, more=False)

    async def test_every_event_gets_one_leaf(self, fresh_database: Database, clock: SimulatedClock) -> None:
        events = await write(fresh_database, clock, 3)
        assert await seal_once(fresh_database, SIGNERS, at=clock.now()) == Pass(3, 3, more=False)
        events += await write(fresh_database, clock, 300)
        assert await seal_once(fresh_database, SIGNERS, at=clock.now()) == Pass(300, 303, more=False)
        assert await seal_once(fresh_database, SIGNERS, at=clock.now()) == Pass(0, 303, more=False)
        assert sorted(await consistent(fresh_database)) == sorted(events)

    async def test_a_backlog_is_sealed_in_pieces(self, fresh_database: Database, clock: SimulatedClock) -> None:
        events = [*await write(fresh_database, clock, 4), *await write(fresh_database, clock, 4)]
        assert await seal_once(fresh_database, SIGNERS, at=clock.now(), rows_max=3) == Pass(3, 3, more=True)
        between = await write(fresh_database, clock, 1)
        assert await seal_once(fresh_database, SIGNERS, at=clock.now(), rows_max=3) == Pass(3, 6, more=True)
        assert await seal_once(fresh_database, SIGNERS, at=clock.now(), rows_max=3) == Pass(2, 8, more=True)
        assert sorted(await consistent(fresh_database)) == sorted(events)
        assert await seal_once(fresh_database, SIGNERS, at=clock.now(), rows_max=3) == Pass(1, 9, more=False)
        assert await consistent(fresh_database) == [*events, *between]

    async def test_a_late_commit_is_not_lost_and_holds_nobody_up(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        async with fresh_database.transaction() as late:
            early = await record(late, WORKER, action=READ, at=clock.now(), new_id=new_id)
            others = await write(fresh_database, clock, 2)
            assert await seal_once(fresh_database, SIGNERS, at=clock.now()) == Pass(2, 2, more=False)
            others += await write(fresh_database, clock, 1)
            assert await seal_once(fresh_database, SIGNERS, at=clock.now()) == Pass(1, 3, more=False)
        assert await seal_once(fresh_database, SIGNERS, at=clock.now()) == Pass(1, 4, more=False)
        assert await consistent(fresh_database) == [*others, early]

    async def test_what_was_rolled_back_is_not_there(self, fresh_database: Database, clock: SimulatedClock) -> None:
        async with fresh_database.transaction() as session:
            await record(session, WORKER, action=READ, at=clock.now(), new_id=new_id)
            await seal_once(fresh_database, SIGNERS, at=clock.now())
            await session.rollback()
        assert await seal_once(fresh_database, SIGNERS, at=clock.now()) == Pass(0, 0, more=False)

    async def test_two_sealers_at_once_do_no_harm(self, fresh_database: Database, clock: SimulatedClock) -> None:
        async def seal() -> None:
            for _ in range(20):
                await seal_once(fresh_database, SIGNERS, at=clock.now(), rows_max=7)

        async def act() -> None:
            for _ in range(20):
                await write(fresh_database, clock, 2)

        await asyncio.gather(seal(), seal(), seal(), act(), act())
        while (await seal_once(fresh_database, SIGNERS, at=clock.now()) or Pass(0, 0, more=True)).more:
            pass
        assert len(await consistent(fresh_database)) == 80

    async def test_whoever_comes_second_lets_the_first_go_on(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await write(fresh_database, clock, 1)
        async with fresh_database.transaction() as first:
            await first.execute(select(AuditSeal).with_for_update())
            assert await seal_once(fresh_database, SIGNERS, at=clock.now()) is None

    async def test_after_a_dump_into_a_younger_server_nothing_is_missing_or_twice(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        sealed = await write(fresh_database, clock, 3)
        await seal_once(fresh_database, SIGNERS, at=clock.now())
        unsealed = await write(fresh_database, clock, 2)
        async with fresh_database.transaction() as session:
            state = await session.get_one(AuditSeal, 1)
            state.sealed_snapshot = "9000000000:9000000000:"
        assert await seal_once(fresh_database, SIGNERS, at=clock.now(), rows_max=2) == Pass(2, 5, more=True)
        assert await seal_once(fresh_database, SIGNERS, at=clock.now(), rows_max=2) == Pass(0, 5, more=True)
        more = await write(fresh_database, clock, 1)
        assert await seal_once(fresh_database, SIGNERS, at=clock.now()) == Pass(1, 6, more=False)
        assert await consistent(fresh_database) == [*sealed, *unsealed, *more]


class TestAppendOnly:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit_leaves SET entry = sha256('x')",
            "DELETE FROM audit_leaves",
            "TRUNCATE audit_tree_heads",
            "DELETE FROM audit_tiles",
            "DELETE FROM audit_seal",
            "UPDATE audit_personal SET person_id = event_id",
            "DELETE FROM audit_personal",
            "SELECT * FROM audit_events_default",
            "SELECT audit_make_partition('audit_events', 'mine', 'DEFAULT')",
        ],
    )
    async def test_the_service_cannot(self, database: Database, statement: str) -> None:
        async def attempt() -> None:
            async with database.transaction() as session:
                await session.execute(text(statement))

        with pytest.raises(DBAPIError, match="permission denied"):
            await attempt()
