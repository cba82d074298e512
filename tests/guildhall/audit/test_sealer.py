"""The sealer of a process: it publishes what it sealed, and never what does not continue what it published."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select, text

from guildhall.audit import sealer as sealer_module
from guildhall.audit.checkpoints import NotACheckpoint, Signer, Verifier, read_head
from guildhall.audit.heads import HeadsDisagree, HeadStore, HeadStoreUnavailable
from guildhall.audit.record import record
from guildhall.audit.sealer import Sealer, open_sealer
from guildhall.audit.sealing import seal_once
from guildhall.audit.tables import AuditSeal, AuditTreeHead
from guildhall.audit.tiles import read_checkpoint
from guildhall.audit.witness import Witness, WitnessRefused, WitnessUnavailable
from guildhall.auth.actor import system_actor
from guildhall.clock import SimulatedClock, SystemClock, new_id
from guildhall.db.transaction import Database
from guildhall.settings import Settings
from tests.cluster.unavailable import ClusterUnavailable
from tests.independent.programs import built_programs

WORKER = system_actor("worker")
SIGNER = Signer("guildhall.example/audit", b"s" * 32)


async def write(database: Database, clock: SimulatedClock, number: int = 1) -> None:
    async with database.transaction() as session:
        for _ in range(number):
            await record(session, WORKER, action="registry:dataset:read", at=clock.now(), new_id=new_id)
    await seal_once(database, [SIGNER], at=clock.now())


async def heads(database: Database) -> list[int]:
    async with database.read() as session:
        return list(await session.scalars(select(AuditTreeHead.size).order_by(AuditTreeHead.size)))


async def sealed(database: Database) -> int:
    async with database.read() as session:
        return (await session.get_one(AuditSeal, 1)).size


def sizes(notes: object) -> list[int]:
    assert isinstance(notes, list)
    return [read_head(note).size for note in notes]


@pytest.fixture
def store(tmp_path: Path) -> HeadStore:
    return HeadStore.open((tmp_path / "heads").as_uri())


class TestPublish:
    async def test_each_head_once(self, fresh_database: Database, clock: SimulatedClock, store: HeadStore) -> None:
        sealer = Sealer(fresh_database, [SIGNER], store, clock)
        await sealer.publish()
        assert await store.notes() == []
        for _ in range(3):
            await write(fresh_database, clock, 100)
            await sealer.publish()
            await sealer.publish()
        again = Sealer(fresh_database, [SIGNER], store, clock)
        await again.publish()
        await write(fresh_database, clock)
        await again.publish()
        assert sizes(await store.notes()) == await heads(fresh_database) == [100, 200, 300, 301]
        assert sizes(await store.notes(above=200)) == [300, 301]

    async def test_a_record_that_was_put_back_is_told_and_not_signed_again(
        self, fresh_database: Database, clock: SimulatedClock, store: HeadStore
    ) -> None:
        await write(fresh_database, clock, 3)
        async with fresh_database.read() as session:
            older = (await session.get_one(AuditSeal, 1)).note
        await write(fresh_database, clock)
        await Sealer(fresh_database, [SIGNER], store, clock).publish()
        async with fresh_database.transaction() as session:
            (await session.get_one(AuditSeal, 1)).note = older
        with pytest.raises(HeadsDisagree, match="the record of 3 leaves does not continue it"):
            await Sealer(fresh_database, [SIGNER], store, clock).publish()
        assert sizes(await store.notes()) == [4]

    async def test_a_changed_record_of_the_same_size_is_told(
        self, fresh_database: Database, clock: SimulatedClock, store: HeadStore
    ) -> None:
        await write(fresh_database, clock, 3)
        await Sealer(fresh_database, [SIGNER], store, clock).publish()
        async with fresh_database.transaction() as session:
            await session.execute(
                text("UPDATE audit_tiles SET hashes = substr(hashes, 33, 64) || substr(hashes, 1, 32)")
            )
        with pytest.raises(HeadsDisagree, match="of 3 leaves does not continue"):
            await Sealer(fresh_database, [SIGNER], store, clock).publish()


class TestHeadStore:
    async def test_a_head_is_never_replaced(self, store: HeadStore) -> None:
        for root in ("AAAA", "BBBB"):
            note = f"o\n7\n{root}\n\n— o AAAA\n"
            if root == "AAAA":
                await store.publish(note)
                await store.publish(note)
                continue
            with pytest.raises(HeadsDisagree, match="with another root"):
                await store.publish(note)
        assert sizes(await store.notes()) == [7]

    async def test_a_store_that_is_away(self, tmp_path: Path) -> None:
        folder = tmp_path / "heads"
        store = HeadStore.open(folder.as_uri())
        folder.rmdir()
        folder.write_text("no folder")
        with pytest.raises(HeadStoreUnavailable, match="cannot be published"):
            await store.publish("o\n7\nAAAA\n\n— o AAAA\n")
        with pytest.raises(HeadStoreUnavailable, match="cannot be listed"):
            await store.notes()

    async def test_other_kinds(self) -> None:
        store = HeadStore.open("memory:///")
        await store.publish("o\n7\nAAAA\n\n— o AAAA\n")
        assert sizes(await store.notes()) == [7]
        with pytest.raises(HeadStoreUnavailable, match="cannot be read"):
            await store._read("heads/none")
        assert HeadStore.open("s3://heads/here?region=us-east-1") is not None


@pytest.fixture(scope="module")
def witness() -> Iterator[Witness]:
    """A witness that is not ours, for the log of these tests."""
    try:
        program = built_programs().witness
    except ClusterUnavailable as error:
        pytest.skip(str(error))
    with subprocess.Popen([program, SIGNER.verifier.text], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        key, url = process.stdout.readline().strip(), process.stdout.readline().strip()
        yield Witness(url, Verifier.parse(key))
        process.kill()


class TestWitness:
    async def test_it_signs_what_continues_and_nothing_else(
        self, fresh_database: Database, clock: SimulatedClock, store: HeadStore, witness: Witness
    ) -> None:
        sealer = Sealer(fresh_database, [SIGNER], store, clock, witness=witness)
        for number in (3, 300, 1):
            await write(fresh_database, clock, number)
            await sealer.publish()
        async with fresh_database.read() as session:
            note = await read_checkpoint(session)
            assert witness._verifier.verifies(note)
            assert SIGNER.verifier.verifies(note)
            assert not Verifier("other", 4, witness._verifier.public).verifies(note)
        assert await heads(fresh_database) == [3, 303, 304]

        restarted = Witness(witness._url.removesuffix("/add-checkpoint"), witness._verifier)
        await write(fresh_database, clock)
        await Sealer(fresh_database, [SIGNER], store, clock, witness=restarted).publish()
        assert await heads(fresh_database) == [3, 303, 304, 305]

        async with fresh_database.transaction() as session:
            (await session.get_one(AuditSeal, 1)).note = note
        with pytest.raises(WitnessRefused, match="has signed a head of '305' leaves and there are 304"):
            await Sealer(fresh_database, [SIGNER], HeadStore.open("memory:///"), clock, witness=restarted).publish()

    @pytest.mark.parametrize(
        ("status", "body", "error", "want"),
        [
            (200, "— witness.example AAAA\n", WitnessRefused, "is not signed with its key"),
            (200, "— witness.example !\n", WitnessRefused, "is not signed with its key"),
            (403, "", WitnessRefused, "it answered 403"),
            (500, "", WitnessUnavailable, "answered 500"),
            (409, "many\n", WitnessRefused, "has signed a head of 'many' leaves"),
            (409, "1\n", WitnessUnavailable, "names another size each time"),
        ],
    )
    async def test_answers_that_do_not_count(self, status: int, body: str, error: type[Exception], want: str) -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(status, text=body))
        mine = Witness("http://witness.example", Verifier("witness.example", 4, b"x" * 32), transport=transport)
        with pytest.raises(error, match=want):
            await mine.cosign("o\n7\nAAAA\n\n— o AAAA\n", lambda _earlier, _size: asyncio.sleep(0, []))

    async def test_a_witness_that_is_away(self) -> None:
        def refuse(_: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("no route")

        mine = Witness("http://witness.example", Verifier("w", 4, b"x" * 32), transport=httpx.MockTransport(refuse))
        with pytest.raises(WitnessUnavailable, match="cannot be reached: no route"):
            await mine.cosign("o\n7\nAAAA\n\n— o AAAA\n", lambda _earlier, _size: asyncio.sleep(0, []))


class TestRun:
    async def test_until_told_to_stop_through_whatever_goes_wrong(
        self, fresh_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: SimulatedClock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(sealer_module, "TICK_SECONDS", 0.01)
        monkeypatch.setattr(sealer_module, "PUBLISH_SECONDS", 0.2)
        monkeypatch.setattr(sealer_module, "FAILURE_SECONDS", 0.01)
        blocked = tmp_path / "audit-heads"
        settings = Settings(data_dir=tmp_path, database_url=fresh_database.url)
        sealer = open_sealer(settings, fresh_database, SystemClock())
        blocked.rmdir()
        blocked.write_text("no folder")
        stop = asyncio.Event()
        running = asyncio.create_task(sealer.run(stop))
        async with fresh_database.transaction() as session:
            await record(session, WORKER, action="registry:dataset:read", at=clock.now(), new_id=new_id)
        async with asyncio.timeout(60):
            while "cannot be" not in caplog.text or not await sealed(fresh_database):
                await asyncio.sleep(0.01)
            assert await heads(fresh_database) == []
            blocked.unlink()
            while not await heads(fresh_database):
                await asyncio.sleep(0.01)
            stop.set()
            await running
        assert "The signed head is not published: " in caplog.text
        assert "The audit record is not sealed: " not in caplog.text

    async def test_nothing_more_is_sealed_under_a_head_that_disagrees(
        self, fresh_database: Database, store: HeadStore, monkeypatch: pytest.MonkeyPatch, clock: SimulatedClock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(sealer_module, "FAILURE_SECONDS", 0.01)
        monkeypatch.setattr(sealer_module, "PUBLISH_SECONDS", 0.0)
        monkeypatch.setattr(sealer_module, "RESTING_SECONDS", 0.0)
        await write(fresh_database, clock)
        await store.publish("guildhall.example/audit\n9\nAAAA\n\n— o AAAA\n")
        async with fresh_database.transaction() as session:
            await record(session, WORKER, action="registry:dataset:read", at=clock.now(), new_id=new_id)
        stop = asyncio.Event()
        running = asyncio.create_task(Sealer(fresh_database, [SIGNER], store, clock).run(stop))
        async with asyncio.timeout(60):
            while caplog.text.count("A head of 9 leaves was published") < 3:
                await asyncio.sleep(0.01)
            stop.set()
            await running
        assert "The audit record is not sealed: " in caplog.text
        assert await sealed(fresh_database) == 1

    def test_a_witness_needs_its_key(self, settings: Settings, database: Database) -> None:
        told = Settings(
            data_dir=settings.data_dir, audit_witness_url="http://w.example", audit_witness_key="w+00000000+AAAA"
        )
        with pytest.raises(NotACheckpoint, match="is no Ed25519 verifier key"):
            open_sealer(told, database, SystemClock())
        named = Settings(
            data_dir=settings.data_dir, audit_witness_url="http://w.example", audit_witness_key=SIGNER.verifier.text
        )
        assert open_sealer(named, database, SystemClock())._witness is not None


class TestMakePartitions:
    async def test_months_are_made_ahead_once_and_rows_of_no_month_are_kept(
        self, fresh_database: Database, clock: SimulatedClock, store: HeadStore
    ) -> None:
        async def months() -> list[str]:
            names = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_events'::regclass")
            async with fresh_database.read() as session:
                return sorted(name for name in await session.scalars(names) if "2030" in name or "2026_03" in name)

        far = SimulatedClock(clock.now().replace(year=2030, month=11))
        for _ in range(2):
            await Sealer(fresh_database, [SIGNER], store, far).make_partitions()
        assert await months() == ["audit_events_2030_11", "audit_events_2030_12"]
        await write(fresh_database, far)
        await write(fresh_database, clock)  # in March 2026, for which there is no partition
        await Sealer(fresh_database, [SIGNER], store, clock).make_partitions()
        assert await months() == ["audit_events_2030_11", "audit_events_2030_12"]
        places = text("SELECT tableoid::regclass::text FROM audit_events ORDER BY 1")
        async with fresh_database.engine.connect() as connection:
            assert list(await connection.scalars(places)) == ["audit_events_2030_11", "audit_events_default"]
