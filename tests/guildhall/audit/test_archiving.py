"""Old months leave for archives that prove themselves, and only then."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, text

from guildhall.audit import archiving
from guildhall.audit.archive_store import ArchiveStore
from guildhall.audit.archives import Month, NoArchive, read_lines, verify_archive
from guildhall.audit.archiving import (
    ARCHIVER,
    Archived,
    ArchiveDisagrees,
    ArchivingUnderWay,
    NotSealed,
    archive_month,
    count_events,
    count_without_month,
    fetch_archives,
    months_before,
    only_archiver,
    verify_archives,
)
from guildhall.audit.checkpoints import Head, Signer, sign_head
from guildhall.audit.exporting import Export, export_record
from guildhall.audit.mac import AuditKeys
from guildhall.audit.merkle import leaf_hash
from guildhall.audit.offline import verify_export
from guildhall.audit.record import record
from guildhall.audit.sealing import seal_once
from guildhall.audit.tables import AuditEvent, AuditPersonal
from guildhall.audit.verifying import Verification, verify_record
from guildhall.auth.actor import Actor, RequestContext
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE, create_owner_engine
from guildhall.db.transaction import Database
from tests.conftest import AUDIT_KEY

KEYS = AuditKeys([AUDIT_KEY])
SIGNERS = [Signer("guildhall.example/audit", b"s" * 32)]
VERIFIERS = [signer.verifier for signer in SIGNERS]
JANUARY = Month("2025-01", datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC))
DECEMBER = Month("2025-12", datetime(2025, 12, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
ADA = Actor(
    kind=ActorKind.USER, id=UUID(int=7), name="ada", policy=ARCHIVER.policy, request=RequestContext(address="192.0.2.7")
)  # fmt: skip
DATASET = ResourceRef("Dataset", UUID(int=5))
GRANT = UUID(int=6)


@pytest.fixture
async def owned(fresh_database: Database, server: EmbeddedServer) -> AsyncIterator[Database]:
    """The database as its owner has it, with a partition for January and for December 2025."""
    engine = create_owner_engine(server.url(OWNER_ROLE, str(fresh_database.engine.url.database)))
    owner = Database(engine, audit_key=AUDIT_KEY)
    async with owner.transaction() as session:
        for month in (JANUARY, DECEMBER):
            made = text("SELECT audit_make_partitions(CAST(:at AS timestamptz), 1)")
            await session.execute(made, {"at": month.begins_at})
    yield owner
    await owner.close()


@pytest.fixture
def store(tmp_path: Path) -> ArchiveStore:
    return ArchiveStore.open(str(tmp_path / "archives"))


async def write(database: Database, at: datetime, number: int, actor: Actor = ADA) -> list[UUID]:
    async with database.transaction() as session:
        return [
            await record(
                session,
                actor,
                action="registry:dataset:read",
                resources=[DATASET],
                access_grant_id=GRANT,
                at=at,
                new_id=new_id,
            )
            for _ in range(number)
        ]


async def seal(database: Database, clock: SimulatedClock) -> None:
    while (done := await seal_once(database, SIGNERS, at=clock.now())) is None or done.more:
        pass


async def fill(database: Database, clock: SimulatedClock, number: int = 300) -> None:
    """January's events in two runs of leaves, with one of today between them."""
    await write(database, JANUARY.begins_at, number)
    await seal(database, clock)
    await write(database, clock.now(), 1)
    await seal(database, clock)
    await write(database, JANUARY.begins_at, 3)
    await seal(database, clock)


async def archive(owned: Database, store: ArchiveStore, clock: SimulatedClock, month: Month = JANUARY) -> Archived:
    return await archive_month(owned, store, month, VERIFIERS, clock, new_id)


async def partitions(database: Database) -> set[str]:
    async with database.read() as session:
        return set(await session.scalars(text("SELECT inhrelid::regclass::text FROM pg_inherits")))


async def checked(database: Database, store: ArchiveStore) -> Verification:
    found = await verify_record(database, KEYS, VERIFIERS, [])
    await verify_archives(database, store, KEYS, VERIFIERS, found)
    return found


class TestArchiveMonth:
    async def test_a_month_leaves_whole_and_is_proven_from_its_file(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock, tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(archiving, "PAGE_ROWS", 100)
        await fill(owned, clock)
        whole = await export_record(owned, tmp_path / "before", [])
        assert whole == Export(304, 0)
        assert await months_before(owned, DECEMBER.begins_at) == [JANUARY]
        assert await count_events(owned, JANUARY) == 303
        done = await archive(owned, store, clock)
        path = tmp_path / "archives" / "audit-2025-01.zip"
        assert done == Archived(JANUARY, 303, hashlib.sha256(path.read_bytes()).hexdigest())
        assert await partitions(owned) & {"audit_events_2025_01", "audit_resources_2025_01"} == set()
        assert await months_before(owned, DECEMBER.ends_at) == [DECEMBER]
        assert verify_archive(path, JANUARY, KEYS, VERIFIERS) == Verification(sealed=303, heads=1)
        assert [number for number, _ in read_lines(path)] == [*range(300), 301, 302, 303]

        async with owned.read() as session:
            kept = (await session.scalars(select(AuditEvent).where(AuditEvent.actor_id == ARCHIVER.id))).one()
            assert len((await session.scalars(select(AuditPersonal))).all()) == 304
        assert kept.action == "guildhall:audit:archive"
        assert kept.after == {"name": "2025-01", "events": 303, "sha256": done.sha256}
        assert await checked(owned, store) == Verification(sealed=304, unsealed=1, archived=303, heads=1)

        given, missing = await fetch_archives(owned, store, tmp_path)
        assert missing == []
        exported = await export_record(owned, tmp_path / "after", [], [path for _, path in given])
        assert exported == Export(304, 0)
        for name in ("events.jsonl", "checkpoint"):
            assert (tmp_path / "after" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()
        assert verify_export(tmp_path / "after", KEYS, VERIFIERS) == Verification(sealed=304, heads=1)

    async def test_what_its_acts_are_about_leaves_also_where_it_has_no_month(
        self, owned: Database, server: EmbeddedServer, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        connection = await server.connect(database=str(owned.engine.url.database))
        await connection.execute("DROP TABLE audit_resources_2025_01")
        await fill(owned, clock, 2)
        about = "SELECT tableoid::regclass::text, count(*)::int FROM audit_resources GROUP BY 1"
        assert [tuple(row) for row in await connection.fetch(about)] == [("audit_resources_default", 6)]
        assert (await archive(owned, store, clock)).events == 5
        assert [tuple(row) for row in await connection.fetch(about)] == [("audit_resources_default", 1)]
        await connection.close()
        assert (await checked(owned, store)).named == []

    async def test_a_month_with_nothing_in_it(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await write(owned, clock.now(), 256)
        await seal(owned, clock)
        assert (await archive(owned, store, clock, DECEMBER)).events == 0
        assert await checked(owned, store) == Verification(sealed=256, unsealed=1, heads=1)

    async def test_what_is_not_sealed_stays(self, owned: Database, store: ArchiveStore, clock: SimulatedClock) -> None:
        with pytest.raises(NotSealed, match="0 of the 0 events of 2025-01 are not sealed"):
            await archive(owned, store, clock)
        await fill(owned, clock, 2)
        await write(owned, JANUARY.begins_at, 4)
        with pytest.raises(NotSealed, match="4 of the 9 events of 2025-01 are not sealed"):
            await archive(owned, store, clock)
        assert await store.fetch(JANUARY.file_name, Path("/dev/null")) is False
        assert "audit_events_2025_01" in await partitions(owned)

    async def test_an_event_that_comes_meanwhile_keeps_the_month(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await fill(owned, clock, 2)
        fetch = store.fetch

        async def late(name: str, path: Path) -> bool:
            await write(owned, JANUARY.begins_at, 1)
            return await fetch(name, path)

        monkeypatch.setattr(store, "fetch", late)
        with pytest.raises(NotSealed, match="has got another event meanwhile"):
            await archive(owned, store, clock)
        assert await count_events(owned, JANUARY) == 6
        assert (await verify_record(owned, KEYS, VERIFIERS, [])).archived == 0

    async def test_a_changed_event_is_never_archived(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await fill(owned, clock, 2)
        async with owned.transaction() as session:
            await session.execute(text("ALTER TABLE audit_events_2025_01 DISABLE TRIGGER USER"))
            await session.execute(text("UPDATE audit_events_2025_01 SET purpose = 'quality'"))
        with pytest.raises(ArchiveDisagrees, match="Leaf 0 of the archive 2025-01 is not the one that was sealed"):
            await archive(owned, store, clock)
        assert await count_events(owned, JANUARY) == 5

    async def test_a_file_that_is_there_from_before_counts_only_if_it_holds_the_month(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await fill(owned, clock, 2)
        with monkeypatch.context() as patched:
            patched.setattr(archiving, "_let_go", _stop)
            with pytest.raises(InterruptedError):
                await archive(owned, store, clock)
        await write(owned, JANUARY.begins_at, 1)
        await seal(owned, clock)
        with pytest.raises(ArchiveDisagrees, match="It holds 5 events, and the database 6"):
            await archive(owned, store, clock)
        (Path(store.where) / JANUARY.file_name).unlink()
        assert (await archive(owned, store, clock)).events == 6

    async def test_one_archiver_at_a_time(self, owned: Database) -> None:
        async with only_archiver(owned):
            with pytest.raises(ArchivingUnderWay):
                async with only_archiver(owned):
                    pass
        async with only_archiver(owned):
            pass

    async def test_what_has_no_month_is_counted(self, owned: Database) -> None:
        await write(owned, datetime(2024, 5, 1, tzinfo=UTC), 2)
        assert await count_without_month(owned, JANUARY.begins_at) == 2
        assert await months_before(owned, JANUARY.begins_at) == []


async def _stop(*_: object) -> None:
    raise InterruptedError


class TestVerifyArchives:
    async def test_what_is_missing_or_another_file_is_told(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock, tmp_path: Path
    ) -> None:
        await fill(owned, clock, 2)
        await archive(owned, store, clock)
        empty = ArchiveStore.open(str(tmp_path / "elsewhere"))
        assert (await checked(owned, empty)).named == [
            f"The archive 2025-01 (5 events) is missing from {tmp_path / 'elsewhere'}."
        ]
        assert [row["name"] for row in (await fetch_archives(owned, None, tmp_path))[1]] == ["2025-01"]
        assert (await export_record(owned, tmp_path / "partial", [])).missing == 5
        (tmp_path / "elsewhere" / JANUARY.file_name).write_bytes(b"x")
        assert (await checked(owned, empty)).named == [
            "The archive 2025-01 is not the file that was written: its SHA-256 is another."
        ]

    async def test_no_more_may_be_gone_than_was_archived(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await fill(owned, clock, 2)
        await archive(owned, store, clock)
        (late,) = await write(owned, JANUARY.begins_at, 1)
        await seal(owned, clock)
        assert (await checked(owned, store)).wrong == 0
        async with owned.transaction() as session:
            await session.execute(text("ALTER TABLE audit_events_default DISABLE TRIGGER USER"))
            await session.execute(text("DELETE FROM audit_events_default WHERE id = :id"), {"id": late})
        assert (await checked(owned, store)).named == [
            "6 events of 2025-01 have left, and its archive has 5.",
            f"Event {late} (leaf 7) was put into what questions about {DATASET.id} look at, and is not about it.",
        ]

    async def test_what_is_gone_from_another_month_was_deleted(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        (gone,) = await write(owned, DECEMBER.begins_at, 1)
        await fill(owned, clock, 2)
        await archive(owned, store, clock)
        async with owned.transaction() as session:
            await session.execute(text("ALTER TABLE audit_events_2025_12 DISABLE TRIGGER USER"))
            await session.execute(text("DELETE FROM audit_events_2025_12"))
        assert (await checked(owned, store)).named == [
            f"Event {gone} (leaf 0) was deleted.",
            f"Event {gone} (leaf 0) was put into what questions about {DATASET.id} look at, and is not about it.",
            f"Event {gone} (leaf 0) was put in as a use of the access grant {GRANT}, and is none.",
        ]


def rewritten(path: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def about(members: dict[str, bytes], **values: object) -> None:
    members["archive.json"] = json.dumps(json.loads(members["archive.json"]) | values).encode()


def of_another_month(members: dict[str, bytes]) -> None:
    members["events.jsonl"] = members["events.jsonl"].replace(b"2025-01-01", b"2025-02-01")


OTHER = Signer("guildhall.example/audit", b"o" * 32)


def _into_no_event(members: dict[str, bytes]) -> None:
    """One line that is no event, in a tree of its own."""
    tile = leaf_hash(hashlib.sha256(b"{}").digest())
    note = sign_head(Head(OTHER.origin, 1, tile), [OTHER])
    about(members, leaves=[[0, 0]], events=1)
    members |= {"events.jsonl": b"{}\n", "tile/0/000.p/1": tile, "checkpoint": note.encode()}


class TestVerifyArchive:
    @pytest.mark.parametrize(
        ("change", "want"),
        [
            (of_another_month, "Leaf 0 of the archive 2025-01 is not the one that was sealed."),
            (lambda m: m.update({"tile/1/000.p/1": b"x" * 32}), "The tiles of audit.zip do not lead to its"),
            (lambda m: m.pop("tile/0/000"), "Leaf 0 of the archive 2025-01 is not the one"),
            (lambda m: m.update({"tile/0/000": b"x" * 32}), "Leaf 0 of the archive 2025-01 is not the one"),
            (lambda m: about(m, events=4), "audit.zip holds 303 events and says 4."),
            (lambda m: about(m, leaves=[[301, 303], [0, 299]]), "The leaves of audit.zip are not in order."),
            (lambda m: m.update(checkpoint=m["checkpoint"].replace(b"304", b"305")), "bears no valid signature"),
        ],
    )
    async def test_a_changed_file_is_found(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock, tmp_path: Path,
        change: Callable[[dict[str, bytes]], object], want: str,
    ) -> None:  # fmt: skip
        await fill(owned, clock)
        await archive(owned, store, clock)
        path = tmp_path / "audit.zip"
        shutil.copy(tmp_path / "archives" / JANUARY.file_name, path)
        rewritten(path, change)
        found = verify_archive(path, JANUARY, KEYS, VERIFIERS)
        assert found.wrong > 0
        assert want in "\n".join(found.named)

    async def test_an_event_of_another_month_does_not_belong(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock, tmp_path: Path
    ) -> None:
        await fill(owned, clock, 2)
        await archive(owned, store, clock)
        path = tmp_path / "archives" / JANUARY.file_name
        narrower = Month("2025-01", datetime(2025, 1, 2, tzinfo=UTC), JANUARY.ends_at)
        assert "is of another month" in verify_archive(path, narrower, None, VERIFIERS).named[0]
        with pytest.raises(NoArchive, match="is not the archive of 2025-12"):
            verify_archive(path, DECEMBER, KEYS, VERIFIERS)
        rewritten(path, lambda members: about(members, leaves=[[0, 1]]))
        with pytest.raises(NoArchive, match="is no archive"):
            verify_archive(path, JANUARY, KEYS, VERIFIERS)
        rewritten(path, _into_no_event)
        with pytest.raises(NoArchive, match="Leaf 0 of the archive 2025-01 is no event"):
            verify_archive(path, JANUARY, KEYS, [OTHER.verifier])
        path.write_bytes(b"")
        for read in (lambda: verify_archive(path, JANUARY, KEYS, VERIFIERS), lambda: list(read_lines(path))):
            with pytest.raises(NoArchive, match="is no archive"):
                read()
