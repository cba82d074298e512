"""Ten thousand events, some of them late and out of order, as programs see them that are not ours; and every change."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import select

from guildhall.audit.checkpoints import Signer
from guildhall.audit.exporting import Export, FolderInUse, NothingSealed, export_record
from guildhall.audit.mac import AuditKeys
from guildhall.audit.merkle import inclusion_proof, leaf_hash, node_hash
from guildhall.audit.offline import NoExport, verify_export
from guildhall.audit.record import add_events, compose_event
from guildhall.audit.sealing import seal_once
from guildhall.audit.tables import AuditEvent, AuditLeaf, AuditSeal
from guildhall.audit.tiles import tile_reader
from guildhall.audit.verifying import Verification, verify_record
from guildhall.auth.actor import system_actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database
from tests.cluster.unavailable import ClusterUnavailable
from tests.conftest import AUDIT_KEY, MONDAY_MORNING, cloned_database
from tests.independent.programs import Programs, built_programs

SIZE = 10_000
BATCH = 400
READ = "registry:dataset:read"
WORKER = system_actor("worker")
DATASET = ResourceRef("Dataset", UUID(int=7))
SIGNER = Signer("guildhall.example/audit", b"s" * 32)
KEYS = AuditKeys([AUDIT_KEY])
VKEY = SIGNER.verifier.text
_ANEW = {"id": "gen_random_uuid()", "xid": "'3'"}
COPIES = "INSERT INTO audit_events SELECT {} FROM audit_events".format(
    ", ".join(_ANEW.get(column.name, column.name) for column in AuditEvent.__table__.columns)
)
"""Each event once more, as another one of a transaction that the seal has passed."""


@dataclass(frozen=True)
class Sealed:
    """A database that is sealed up to SIZE, its heads, and an export of it."""

    database: Database
    name: str
    published: list[str]
    folder: Path


async def _head(database: Database) -> str:
    async with database.read() as session:
        note = (await session.get_one(AuditSeal, 1)).note
    assert note is not None
    return note


async def _write(database: Database, number: int, *, late_after: int = 0) -> None:
    """Some events in one transaction, which commits only after that many passes of the seal."""
    clock = SimulatedClock(MONDAY_MORNING)
    async with database.transaction() as session:
        await add_events(
            session,
            [
                compose_event(WORKER, action=READ, resources=[DATASET], at=clock.now(), new_id=new_id)
                for _ in range(number)
            ],
        )
        for _ in range(late_after):
            await seal_once(database, [SIGNER], at=clock.now())


@pytest.fixture(scope="module")
async def sealed(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sealed]:
    async with cloned_database(server) as database:
        published = []
        for round_ in range(SIZE // (4 * BATCH)):
            # Of four transactions that begin one after the other the first commits last.
            async with database.transaction() as late:
                events = [
                    compose_event(WORKER, action=READ, resources=[DATASET], at=MONDAY_MORNING, new_id=new_id)
                    for _ in range(BATCH)
                ]
                await add_events(late, events)
                await asyncio.gather(_write(database, BATCH, late_after=2), _write(database, BATCH, late_after=1))
                await _write(database, BATCH)
                await seal_once(database, [SIGNER], at=MONDAY_MORNING, rows_max=170 * (round_ + 1))
            published.append(await _head(database))
        await _write(database, SIZE % (4 * BATCH))
        while (done := await seal_once(database, [SIGNER], at=MONDAY_MORNING)) is None or done.more:
            pass
        published.append(await _head(database))
        folder = tmp_path_factory.mktemp("export") / "record"
        assert await export_record(database, folder, published) == Export(SIZE, 0)
        yield Sealed(database, str(database.engine.url.database), published, folder)


@pytest.fixture(scope="module")
def programs() -> Programs:
    try:
        return built_programs()
    except ClusterUnavailable as error:
        pytest.skip(str(error))


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(argument) for argument in arguments], check=False, capture_output=True, text=True, timeout=120
    )


def _fsck(programs: Programs, folder: Path, keys: Path) -> str:
    """What it says. Its workers stop at the first difference and the rest waits for them, unless there are enough."""
    key = keys / "key"
    key.write_text(VKEY)
    options = ("--ui=false", "-N=200", f"--storage_url=file://{folder}/", f"--public_key={key}")
    return _run(programs.fsck, *options).stderr


@pytest.fixture
def copy(sealed: Sealed, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed.folder, tmp_path / "copy"))


class TestIndependentVerifiers:
    def test_the_record_as_it_is(self, sealed: Sealed, programs: Programs) -> None:
        run = _run(programs.verify, sealed.folder, VKEY)
        assert run.stderr == ""
        assert run.stdout.startswith(
            f"{SIZE} events: complete, in order, under {len(set(sealed.published)) + 1} heads;"
        )

    def test_fsck_of_tessera(self, sealed: Sealed, programs: Programs, tmp_path: Path) -> None:
        assert f"Successfully fsck'd log with size {SIZE}" in _fsck(programs, sealed.folder, tmp_path)

    def test_fsck_finds_an_entry_that_is_another(self, copy: Path, programs: Programs, tmp_path: Path) -> None:
        bundle = copy / "tile" / "entries" / "007"
        content = bytearray(bundle.read_bytes())
        content[100] ^= 1
        bundle.write_bytes(content)
        assert "fsck failed" in _fsck(programs, copy, tmp_path)

    @pytest.mark.parametrize(
        ("change", "want"),
        [
            (lambda lines: [*lines[:50], lines[50].replace(b"ALLOWED", b"REFUSED"), *lines[51:]], "do not lead to"),
            (lambda lines: [*lines[:50], *lines[51:]], "do not lead to"),
            (lambda lines: [*lines[:50], lines[50], *lines[50:]], "do not lead to"),
            (lambda lines: [*lines[:50], lines[51], lines[50], *lines[52:]], "do not lead to"),
            (lambda lines: lines[:-1], f"there are {SIZE - 1} lines"),
            (lambda lines: [*lines, lines[-1]], f"there are {SIZE + 1} lines"),
        ],
        ids=["edited", "deleted", "inserted", "reordered", "cut", "added"],
    )
    def test_lines_that_were_changed(self, copy: Path, programs: Programs, change: object, want: str) -> None:
        assert callable(change)
        path = copy / "events.jsonl"
        lines = path.read_bytes().splitlines()
        path.write_bytes(b"".join(line + b"\n" for line in change(lines)))
        run = _run(programs.verify, copy, VKEY)
        assert (run.returncode, run.stdout) == (1, "")
        assert want in run.stderr
        assert verify_export(copy, KEYS, [SIGNER.verifier]).wrong > 0

    def test_an_old_copy_with_its_own_heads(self, sealed: Sealed, copy: Path, programs: Programs) -> None:
        """A consistent export of half the record, among heads that were published after it."""
        (copy / "checkpoint").write_text(sealed.published[1])
        assert "the record was cut or put back" in _run(programs.verify, copy, VKEY).stderr

    def test_a_head_of_another_key(self, copy: Path, programs: Programs) -> None:
        run = _run(programs.verify, copy, Signer(SIGNER.origin, b"x" * 32).verifier.text)
        assert run.returncode == 1


class TestOffline:
    def test_the_record_as_it_is(self, sealed: Sealed) -> None:
        want = Verification(sealed=SIZE, heads=len({*sealed.published}))
        assert verify_export(sealed.folder, KEYS, [SIGNER.verifier]) == want
        assert verify_export(sealed.folder, None, [SIGNER.verifier]) == want

    def test_more_lines_than_leaves_and_a_head_of_nobody(self, sealed: Sealed) -> None:
        found = verify_export(sealed.folder, None, [Signer(SIGNER.origin, b"x" * 32).verifier])
        assert (found.sealed, found.wrong) == (SIZE, len({*sealed.published}))

    @pytest.mark.parametrize("content", [b"no JSON\n", b"{}\n", b"[]\n"])
    def test_what_is_no_export(self, sealed: Sealed, copy: Path, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(NoExport, match="No such file"):
            verify_export(tmp_path / "nothing", KEYS, [])
        (copy / "events.jsonl").write_bytes(content)
        with pytest.raises(NoExport, match="is no event"):
            verify_export(copy, KEYS, [])


class TestExportRecord:
    async def test_it_takes_a_folder_of_its_own(self, sealed: Sealed) -> None:
        with pytest.raises(FolderInUse):
            await export_record(sealed.database, sealed.folder, [])

    async def test_before_the_first_seal(self, database: Database, tmp_path: Path) -> None:
        with pytest.raises(NothingSealed):
            await export_record(database, tmp_path, [])


class TestEveryEvent:
    """Exhaustively: whichever of the ten thousand is touched, it is found."""

    async def test_none_can_stand_in_anothers_place(self, sealed: Sealed) -> None:
        """Each entry leads to the root by its path, and no neighbour does: so none is moved, doubled or left out."""
        async with sealed.database.read() as session:
            leaves = list(await session.scalars(select(AuditLeaf.entry).order_by(AuditLeaf.number)))
            read = tile_reader(session)
            paths = [await inclusion_proof(number, SIZE, read) for number in range(SIZE)]
        root = {path_root(number, leaves[number], path) for number, path in enumerate(paths)}
        assert len(root) == 1
        for number, path in enumerate(paths):
            neighbour = leaves[(number + 1) % SIZE]
            assert path_root(number, neighbour, path) not in root

    @pytest.mark.parametrize(
        ("statement", "want"),
        [
            ("UPDATE audit_events SET purpose = 'x'", 2 * SIZE),
            ("UPDATE audit_events SET mac = sha256(mac)", 2 * SIZE),
            ("DELETE FROM audit_events", 2 * SIZE),
            ("DELETE FROM audit_resources", SIZE),
            ("UPDATE audit_resources SET resource_id = gen_random_uuid()", 2 * SIZE),
            ("UPDATE audit_resources SET act_at = act_at + interval '1 month'", 2 * SIZE),
            ("UPDATE audit_resources SET event_id = gen_random_uuid()", 2 * SIZE),
            ("INSERT INTO audit_resources SELECT gen_random_uuid(), act_at, event_id FROM audit_resources", SIZE),
            (COPIES, 3 * SIZE),  # another code, no leaf, and not among what questions go by
            ("UPDATE audit_leaves SET event_id = gen_random_uuid()", 2 * SIZE),
        ],
    )
    async def test_each_change_of_each_is_counted(
        self, sealed: Sealed, server: EmbeddedServer, statement: str, want: int
    ) -> None:
        assert (await _found_after(sealed, server, statement)).wrong == want
        as_it_was = await verify_record(sealed.database, KEYS, [SIGNER.verifier], sealed.published)
        assert as_it_was == Verification(sealed=SIZE, heads=len({*sealed.published}))

    @pytest.mark.parametrize(
        ("statement", "want", "of_heads"),
        [
            (
                f"UPDATE audit_leaves SET number = number - {SIZE}; UPDATE audit_leaves SET number = -1 - number",
                0,
                True,
            ),
            ("UPDATE audit_leaves SET entry = sha256(entry)", SIZE, True),
            (f"DELETE FROM audit_leaves WHERE number >= {SIZE // 2}", SIZE - SIZE // 2 + 2, False),
            ("DELETE FROM audit_leaves", SIZE + 2, False),
        ],
        ids=["reversed", "other entries", "cut in half", "cut to nothing"],
    )
    async def test_no_head_is_led_to_by_other_leaves(
        self, sealed: Sealed, server: EmbeddedServer, statement: str, want: int, *, of_heads: bool
    ) -> None:
        found = await _found_after(sealed, server, statement)
        assert found.wrong == want + len({*sealed.published}) * of_heads


async def _found_after(sealed: Sealed, server: EmbeddedServer, statement: str) -> Verification:
    """What is found when a superuser has done this; it is taken back."""
    connection = await server.connect(database=sealed.name)
    try:
        async with _as_it_was_after(connection):
            await connection.execute(statement)
            return await verify_record(sealed.database, KEYS, [SIGNER.verifier], sealed.published)
    finally:
        await connection.close()


@asynccontextmanager
async def _as_it_was_after(connection: "asyncpg.Connection[asyncpg.Record]") -> AsyncIterator[None]:
    """Whatever becomes of the block, what it changed in the record is as it was after it."""
    tables = ("audit_events", "audit_resources", "audit_leaves")
    await connection.execute("SET session_replication_role = replica")
    for table in tables:
        await connection.execute(f"CREATE TABLE saved_{table} AS TABLE {table}")
    try:
        yield
    finally:
        for table in tables:
            for back in (
                f"DELETE FROM {table}",
                f"INSERT INTO {table} TABLE saved_{table}",
                f"DROP TABLE saved_{table}",
            ):
                await connection.execute(back)


def path_root(number: int, entry: bytes, path: list[bytes]) -> bytes:
    """RFC 9162, 2.1.3.2, as it is written there."""
    inner, last, result = number, SIZE - 1, leaf_hash(entry)
    for sibling in path:
        if inner % 2 == 1 or inner == last:
            result = node_hash(sibling, result)
            while inner % 2 == 0 and inner != 0:
                inner, last = inner >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        inner, last = inner >> 1, last >> 1
    assert last == 0
    return result
