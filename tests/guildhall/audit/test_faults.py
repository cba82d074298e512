"""What goes wrong around the record: what must be refused is refused, what may go on goes on, nothing is missing then.

The table in docs/audit.md names the tests of the other faults.
"""

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from guildhall.audit.archive_store import ArchiveStore, ArchiveStoreUnavailable
from guildhall.audit.archives import Month
from guildhall.audit.archiving import archive_month, verify_archives
from guildhall.audit.checkpoints import Signer
from guildhall.audit.mac import AuditKeys
from guildhall.audit.record import record
from guildhall.audit.sealing import PASS_ROWS_MAX, seal_once
from guildhall.audit.tables import AuditArchive, AuditEvent, AuditLeaf
from guildhall.audit.verifying import Verification, verify_record
from guildhall.auth.actor import system_actor
from guildhall.auth.tables import Team
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE, create_owner_engine
from guildhall.db.transaction import Database, DatabaseUnavailable
from tests.conftest import AUDIT_KEY, run_as_superuser
from tests.people import make_team

KEYS = AuditKeys([AUDIT_KEY])
SIGNERS = [Signer("guildhall.example/audit", b"s" * 32)]
VERIFIERS = [signer.verifier for signer in SIGNERS]
WORKER = system_actor("worker")
JANUARY = Month("2025-01", datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC))
SMALL_DISK_BYTES = 2 << 20
ACTS_MAX = 2_000
TITLE_IDS = 200
"""Six kilobytes that no compression makes smaller."""


async def act(database: Database, clock: SimulatedClock, name: str) -> None:
    """A change and its event, in one transaction."""
    async with database.transaction() as session:
        team_id = await make_team(session, name)
        after = {"name": name, "title": "".join(new_id().hex for _ in range(TITLE_IDS))}
        await record(
            session, WORKER, action="guildhall:team:change", team_id=team_id, after=after, at=clock.now(), new_id=new_id
        )


async def act_until_refused(database: Database, clock: SimulatedClock, name: str, done: list[str]) -> None:
    """Change after change; those that succeeded are `done`."""
    for number in range(ACTS_MAX):
        await act(database, clock, f"{name}-{number}")
        done.append(f"{name}-{number}")


async def teams(database: Database) -> set[str]:
    async with database.read() as session:
        return set(await session.scalars(select(Team.name)))


async def seal(database: Database, clock: SimulatedClock, rows_max: int = PASS_ROWS_MAX) -> list[int]:
    """Until nothing is left; how many events each pass sealed."""
    passes = []
    while True:
        done = await seal_once(database, SIGNERS, at=clock.now(), rows_max=rows_max)
        assert done is not None
        passes.append(done.sealed)
        if not done.more:
            return passes


async def proven(database: Database) -> Verification:
    found = await verify_record(database, KEYS, VERIFIERS, [])
    assert found.named == []
    return found


async def as_superuser(server: EmbeddedServer, database: Database, statement: str) -> None:
    connection = await server.connect(database=str(database.engine.url.database))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
def small_disk(server_folder: Path) -> Iterator[Path]:
    """A disk of two megabytes that PostgreSQL may write to."""
    folder = Path(tempfile.mkdtemp(prefix="gh-disk-"))
    owner = next(path for path in server_folder.rglob("PG_VERSION")).stat()
    options = f"size={SMALL_DISK_BYTES},mode=0700,uid={owner.st_uid},gid={owner.st_gid}"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "guildhall-test", str(folder)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"a full disk takes the right to mount one: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


@pytest.fixture
async def on_small_disk(
    server: EmbeddedServer, fresh_database: Database, small_disk: Path, clock: SimulatedClock
) -> AsyncIterator[Database]:
    """A database whose events of this month lie on the small disk."""
    space = f"small_{fresh_database.engine.url.database}"
    await run_as_superuser(server, f"CREATE TABLESPACE {space} LOCATION '{small_disk}'")
    month = f"audit_events_{clock.now():%Y_%m}"
    await as_superuser(
        server, fresh_database,
        f"SELECT audit_make_partitions('{clock.now().isoformat()}', 1); ALTER TABLE {month} SET TABLESPACE {space}",
    )  # fmt: skip
    yield fresh_database
    await as_superuser(server, fresh_database, f"ALTER TABLE {month} SET TABLESPACE pg_default")
    await run_as_superuser(server, f"DROP TABLESPACE {space}")


class TestDiskFull:
    async def test_acts_are_refused_until_there_is_room_and_reads_go_on(
        self, on_small_disk: Database, small_disk: Path, clock: SimulatedClock
    ) -> None:
        database = on_small_disk
        done: list[str] = []
        with pytest.raises(DatabaseUnavailable, match=r"The disk of the database is full; nothing was changed\."):
            await act_until_refused(database, clock, "team", done)
        assert 0 < len(done) < ACTS_MAX
        assert await teams(database) == set(done)
        await seal(database, clock)
        assert (await proven(database)).sealed == len(done)
        with pytest.raises(DatabaseUnavailable):
            await act_until_refused(database, clock, "more", done)
        assert await teams(database) == set(done)

        larger = f"remount,size={SMALL_DISK_BYTES * 8}"
        remounting = await asyncio.create_subprocess_exec("mount", "-o", larger, str(small_disk))
        assert await remounting.wait() == 0
        await act(database, clock, "afterwards")
        await seal(database, clock)
        assert await teams(database) == {*done, "afterwards"}
        assert (await proven(database)).sealed == len(done) + 1


class TestTheTableCannotBeWritten:
    @pytest.mark.parametrize(
        ("breaking", "mending", "error"),
        [
            (
                "REVOKE INSERT ON audit_events FROM guildhall_service",
                "GRANT INSERT ON audit_events TO guildhall_service",
                "permission denied for table audit_events",
            ),
            (
                "ALTER TABLE audit_events DETACH PARTITION audit_events_default",
                "ALTER TABLE audit_events ATTACH PARTITION audit_events_default DEFAULT",
                "no partition of relation",
            ),
        ],
        ids=["privilege", "partition"],
    )
    async def test_no_act_happens_meanwhile_and_reads_go_on(
        self, fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock, breaking: str, mending: str,
        error: str,
    ) -> None:  # fmt: skip
        await act(fresh_database, clock, "before")
        await as_superuser(server, fresh_database, breaking)
        with pytest.raises(DBAPIError, match=error):
            await act(fresh_database, clock, "meanwhile")
        assert await teams(fresh_database) == {"before"}
        await as_superuser(server, fresh_database, mending)
        await act(fresh_database, clock, "afterwards")
        await seal(fresh_database, clock)
        assert await teams(fresh_database) == {"before", "afterwards"}
        assert (await proven(fresh_database)).sealed == 2


class TestNoSealerForAnHour:
    async def test_acts_go_on_and_are_sealed_afterwards_in_pieces(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await seal(fresh_database, clock)
        async with fresh_database.transaction() as late:
            await record(late, WORKER, action="registry:dataset:read", at=clock.now(), new_id=new_id)
            for _ in range(60):
                clock.advance(timedelta(minutes=1))
                async with fresh_database.transaction() as session:
                    for _ in range(10):
                        await record(session, WORKER, action="registry:dataset:read", at=clock.now(), new_id=new_id)
            assert await seal(fresh_database, clock, 250) == [250, 250, 100, 0]
        assert await seal(fresh_database, clock) == [1]
        found = await proven(fresh_database)
        assert (found.sealed, found.unsealed) == (601, 0)
        async with fresh_database.read() as session:
            moments = (await session.scalars(select(AuditLeaf.act_at).order_by(AuditLeaf.number))).all()
        assert list(moments[:600]) == sorted(moments[:600])
        assert moments[600] < moments[0]


class TestClockSetBack:
    async def test_an_act_of_an_earlier_hour_is_sealed_after_those_before_it(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        await act(fresh_database, clock, "before")
        await seal(fresh_database, clock)
        behind = SimulatedClock(clock.now() - timedelta(days=40))
        await act(fresh_database, behind, "behind")
        assert await seal(fresh_database, behind) == [1]
        await act(fresh_database, clock, "afterwards")
        await seal(fresh_database, clock)
        assert (await proven(fresh_database)).sealed == 3
        async with fresh_database.read() as session:
            names = select(AuditEvent.after["name"].astext).join(AuditLeaf, AuditLeaf.event_id == AuditEvent.id)
            assert (await session.scalars(names.order_by(AuditLeaf.number))).all() == ["before", "behind", "afterwards"]


class TestArchiveStoreCannotBeWritten:
    async def test_the_month_stays_and_leaves_when_it_can(
        self, fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock, tmp_path: Path
    ) -> None:
        engine = create_owner_engine(server.url(OWNER_ROLE, str(fresh_database.engine.url.database)))
        owner = Database(engine, audit_key=AUDIT_KEY)
        try:
            async with owner.transaction() as session:
                made = text("SELECT audit_make_partitions(CAST(:at AS timestamptz), 1)")
                await session.execute(made, {"at": JANUARY.begins_at})
            await act(owner, SimulatedClock(JANUARY.begins_at), "january")
            await seal(owner, clock)
            store = ArchiveStore.open(str(tmp_path / "archives"))
            (tmp_path / "archives").rmdir()
            (tmp_path / "archives").write_text("a disk that is full")
            with pytest.raises(ArchiveStoreUnavailable, match=r"audit-2025-01\.zip cannot be written to "):
                await archive_month(owner, store, JANUARY, VERIFIERS, clock, new_id)
            async with fresh_database.read() as session:
                assert (await session.scalars(select(AuditArchive))).all() == []
            assert (await proven(fresh_database)).sealed == 1

            (tmp_path / "archives").unlink()
            assert (await archive_month(owner, store, JANUARY, VERIFIERS, clock, new_id)).events == 1
            await seal(owner, clock)
            found = await proven(fresh_database)
            assert (found.sealed, found.archived) == (2, 1)
            await verify_archives(fresh_database, store, KEYS, VERIFIERS, found)
            assert found.wrong == 0
        finally:
            await owner.close()
