"""Months that have left answer the auditor's questions, once they are proven and not before."""

import shutil
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from guildhall.audit.archive_search import (
    ArchiveNotProven,
    ArchiveQuestion,
    acts_of,
    data_reads,
    policy_changes,
    reads_without_grant,
    search_archives,
)
from guildhall.audit.archive_store import ArchiveStore
from guildhall.audit.archives import Month
from guildhall.audit.archiving import ArchiveMissing, NotStreamed, archive_month
from guildhall.audit.checkpoints import Signer
from guildhall.audit.mac import AuditKeys
from guildhall.audit.outcomes import conclude
from guildhall.audit.personal import erase_person
from guildhall.audit.record import record
from guildhall.audit.sealing import seal_once
from guildhall.audit.stream_cursor import move_on, take_lease
from guildhall.audit.tables import AuditEvent, Outcome
from guildhall.auth.actor import Actor, RequestContext, system_actor
from guildhall.auth.authorize import PermissionRefused
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
READ = "registry:dataset:read"
JANUARY = Month("2025-01", datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC))
FEBRUARY = Month("2025-02", datetime(2025, 2, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC))
NOON = datetime(2025, 1, 7, 12, tzinfo=UTC)
AUDITOR = system_actor("search-archive")
DATASET, GRANT = UUID(int=70), UUID(int=71)
ADA = Actor(
    kind=ActorKind.USER, id=UUID(int=7), name="ada", policy=AUDITOR.policy, request=RequestContext(address="192.0.2.7")
)  # fmt: skip
JOB = Actor(kind=ActorKind.JOB, id=UUID(int=8), name="job", policy=AUDITOR.policy, on_behalf_of=ADA.id)


@pytest.fixture
async def owned(fresh_database: Database, server: EmbeddedServer) -> AsyncIterator[Database]:
    """As its owner has it: two months with a download by grant, one without, one by a job, and a change of policy."""
    engine = create_owner_engine(server.url(OWNER_ROLE, str(fresh_database.engine.url.database)))
    owner = Database(engine, audit_key=AUDIT_KEY)
    async with owner.transaction() as session:
        for month in (JANUARY, FEBRUARY):
            made = text("SELECT audit_make_partitions(CAST(:at AS timestamptz), 1)")
            await session.execute(made, {"at": month.begins_at})
    data = [ResourceRef("Dataset", DATASET)]
    refusal = PermissionRefused("No.", permission=READ, resources=data)
    async with owner.transaction() as session:
        started = await record(
            session, ADA, action=READ, at=NOON, new_id=new_id, resources=data, outcome=Outcome.STARTED,
            access_grant_id=GRANT, justification="to look", team_id=UUID(int=9),
        )  # fmt: skip
        await record(
            session, ADA, action=READ, at=NOON, new_id=new_id, resources=data, outcome=Outcome.REFUSED, reason=refusal
        )
        await record(session, ADA, action="guildhall:role:bind", at=NOON, new_id=new_id)
        await record(
            session, JOB, action=READ, at=NOON + timedelta(days=40), new_id=new_id, resources=data,
            access_grant_id=GRANT,
        )  # fmt: skip
    async with owner.transaction() as session:
        await conclude(
            session, started, outcome=Outcome.COMPLETED, rows=12, bytes=345, at=NOON + timedelta(hours=1), new_id=new_id
        )
    yield owner
    await owner.close()


@pytest.fixture
def store(tmp_path: Path) -> ArchiveStore:
    return ArchiveStore.open(str(tmp_path / "archives"))


async def seal(database: Database, clock: SimulatedClock) -> None:
    while (done := await seal_once(database, SIGNERS, at=clock.now())) is None or done.more:
        pass


async def archive(owned: Database, store: ArchiveStore, clock: SimulatedClock) -> None:
    await seal(owned, clock)
    for month in (JANUARY, FEBRUARY):
        await archive_month(owned, store, month, VERIFIERS, clock, new_id)


async def found(
    database: Database, store: ArchiveStore, clock: SimulatedClock, means: Callable[[Any], bool],
    since: datetime | None = None, until: datetime | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    question = ArchiveQuestion(since=since, until=until, text="a question", means=means)
    acts = search_archives(
        database, store, AUDITOR, question, keys=KEYS, verifiers=VERIFIERS, clock=clock, new_id=new_id
    )
    return [act async for act in acts]


async def searches(database: Database) -> list[tuple[str, int | None, Any]]:
    statement = select(AuditEvent.outcome, AuditEvent.rows, AuditEvent.after["question"].astext)
    async with database.read() as session:
        asked = statement.where(AuditEvent.action == "guildhall:audit:read").order_by(AuditEvent.id)
        return [tuple(row) for row in await session.execute(asked)]


class TestSearchArchives:
    async def test_who_read_this(
        self, owned: Database, fresh_database: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await archive(owned, store, clock)
        acts = await found(fresh_database, store, clock, data_reads(DATASET))
        (whole, refused, by_job) = acts
        assert {name: whole[name] for name in whole if name not in {"id", "request_id", "client"}} == {
            "archive": "2025-01", "leaf_number": 0, "occurred_at": "2025-01-07T12:00:00.000000+00:00",
            "concluded_at": "2025-01-07T13:00:00.000000+00:00", "action": READ, "permission_class": "DATA_READ",
            "outcome": "COMPLETED", "rows": 12, "bytes": 345, "actor_kind": "USER", "actor_id": str(ADA.id),
            "on_behalf_of_id": None, "team_id": str(UUID(int=9)), "resource_types": ["Dataset"],
            "resource_ids": [str(DATASET)], "purpose": None, "access_grant_id": str(GRANT), "reason_code": None,
            "reason_message": None, "before": None, "after": None, "justification": "to look", "address": "192.0.2.7",
            "erased_at": None,
        }  # fmt: skip
        assert (refused["outcome"], refused["reason_code"]) == ("REFUSED", "PERMISSION_REFUSED")
        assert (by_job["archive"], by_job["actor_kind"], by_job["on_behalf_of_id"]) == ("2025-02", "JOB", str(ADA.id))
        assert await searches(fresh_database) == [("STARTED", None, "a question"), ("COMPLETED", 3, "a question")]
        assert await found(fresh_database, store, clock, data_reads(GRANT)) == []

    async def test_the_other_questions(
        self, owned: Database, fresh_database: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await archive(owned, store, clock)
        assert len(await found(fresh_database, store, clock, acts_of(ADA.id))) == 4
        assert [act["actor_kind"] for act in await found(fresh_database, store, clock, acts_of(JOB.id))] == ["JOB"]
        assert [act["outcome"] for act in await found(fresh_database, store, clock, reads_without_grant)] == ["REFUSED"]
        changes = await found(fresh_database, store, clock, policy_changes)
        assert [act["action"] for act in changes] == ["guildhall:role:bind"]

    async def test_only_of_the_asked_time(
        self, owned: Database, fresh_database: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await archive(owned, store, clock)
        later = NOON + timedelta(seconds=1)
        assert len(await found(fresh_database, store, clock, data_reads(DATASET), until=NOON)) == 0
        assert len(await found(fresh_database, store, clock, data_reads(DATASET), NOON, later)) == 2
        assert len(await found(fresh_database, store, clock, data_reads(DATASET), later)) == 1
        shutil.rmtree(store.where)
        assert await found(fresh_database, store, clock, data_reads(DATASET), FEBRUARY.ends_at) == []

    async def test_what_was_erased_stays_away(
        self, owned: Database, fresh_database: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await archive(owned, store, clock)
        async with fresh_database.transaction() as session:
            await erase_person(session, ADA.id, at=clock.now())
        whole = (await found(fresh_database, store, clock, data_reads(DATASET)))[0]
        assert (whole["justification"], whole["address"]) == (None, None)
        assert whole["erased_at"] == clock.now().isoformat()

    async def test_one_that_is_missing_answers_nothing(
        self, owned: Database, fresh_database: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await archive(owned, store, clock)
        (Path(store.where) / JANUARY.file_name).unlink()
        with pytest.raises(ArchiveMissing, match="The archive 2025-01 is not in "):
            await found(fresh_database, store, clock, data_reads(DATASET))
        assert await searches(fresh_database) == [("STARTED", None, "a question"), ("ABORTED", 0, "a question")]

    async def test_another_file_answers_nothing(
        self, owned: Database, fresh_database: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await archive(owned, store, clock)
        shutil.copy(Path(store.where) / FEBRUARY.file_name, Path(store.where) / JANUARY.file_name)
        with pytest.raises(ArchiveNotProven, match="The archive 2025-01 is not the file that was written"):
            await found(fresh_database, store, clock, data_reads(DATASET))

    async def test_a_row_of_somebody_else_answers_nothing(
        self, owned: Database, fresh_database: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await archive(owned, store, clock)
        async with owned.transaction() as session:
            await session.execute(text("ALTER TABLE audit_archives DISABLE TRIGGER ALL"))
            await session.execute(text("UPDATE audit_archives SET events = 1 WHERE name = '2025-01'"))
        with pytest.raises(ArchiveNotProven, match="of the archive 2025-01 was not written by us"):
            await found(fresh_database, store, clock, data_reads(DATASET))

    async def test_an_unknown_signer_answers_nothing(
        self, owned: Database, fresh_database: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await archive(owned, store, clock)
        question = ArchiveQuestion(since=None, until=None, text="a question", means=data_reads(DATASET))
        others = [Signer("guildhall.example/audit", b"o" * 32).verifier]
        acts = search_archives(
            fresh_database, store, AUDITOR, question, keys=KEYS, verifiers=others, clock=clock, new_id=new_id
        )
        with pytest.raises(ArchiveNotProven, match=r"2025-01 is not proven: .* bears no valid signature"):
            await anext(acts)


class TestArchiveMonth:
    async def test_a_month_waits_until_the_stream_has_delivered_it(
        self, owned: Database, store: ArchiveStore, clock: SimulatedClock
    ) -> None:
        await seal(owned, clock)
        lease = await take_lease(owned, owner="one", clock=clock, new_id=new_id)
        assert lease is not None
        lease = await move_on(owned, lease, 3, at=clock.now())
        assert lease is not None
        with pytest.raises(NotStreamed, match="Events of 2025-01 wait for the receiver"):
            await archive_month(owned, store, JANUARY, VERIFIERS, clock, new_id)
        async with owned.read() as session:
            assert len((await session.scalars(select(AuditEvent.id).where(AuditEvent.act_at == NOON))).all()) == 4
        assert await move_on(owned, lease, 5, at=clock.now()) is not None
        assert (await archive_month(owned, store, JANUARY, VERIFIERS, clock, new_id)).events == 4
