"""No record, no act; and what was recorded stays as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, event, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.mac import AuditKey, verify_row
from guildhall.audit.personal import Commitment
from guildhall.audit.record import TEXT_CHARACTERS_MAX, add_events, as_json, compose_event, record, record_refusal
from guildhall.audit.tables import AuditEvent, AuditPersonal, Outcome
from guildhall.auth.actor import Actor, RequestContext, system_actor
from guildhall.auth.authorize import PermissionRefused, Refused
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import Team
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database, WriteSession
from guildhall.errors import Conflict, shortened
from guildhall.organisation.teams import TeamSetting, apply_teams
from tests.conftest import AUDIT_KEY, MONDAY_MORNING

KEY = AuditKey(AUDIT_KEY)
READ = "registry:dataset:read"
WORKER = system_actor("worker")


async def row_of(session: AsyncSession, event_id: UUID) -> dict[str, Any]:
    """The row as the database has it."""
    columns = AuditEvent.__table__.columns
    row = (await session.execute(select(*columns).where(columns.id == event_id))).one()
    return dict(row._mapping)


async def count(session: AsyncSession) -> int:
    return (await session.scalars(select(func.count()).select_from(AuditEvent))).one()


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is sent to the database meanwhile."""
    sent: list[str] = []

    def note(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine.sync_engine, "before_cursor_execute", note)


async def name_of(database: Database) -> str:
    async with database.read() as session:
        return str((await session.scalars(select(func.current_database()))).one())


class TestRecord:
    async def test_it_keeps_everything_that_was_said(self, session: WriteSession, clock: SimulatedClock) -> None:
        dataset, version = ResourceRef("Dataset", new_id()), ResourceRef("DatasetVersion", new_id())
        team, grant, ada = new_id(), new_id(), new_id()
        actor = Actor(
            kind=ActorKind.JOB, id=new_id(), name="job", policy=WORKER.policy, on_behalf_of=ada,
            request=RequestContext(request_id="r-1", address="192.0.2.7", client="x" * 3_000),
        )  # fmt: skip
        event_id = await record(
            session, actor, action=READ, resources=[version, dataset], outcome=Outcome.STARTED, team_id=team,
            purpose="quality", justification="why not", access_grant_id=grant, rows=3, bytes=4,
            before={"a": 1}, after={"b": [date(2026, 1, 1)]}, reason=Conflict("because " + "y" * 3_000),
            at=clock.now(), new_id=new_id,
        )  # fmt: skip
        row = await row_of(session, event_id)
        assert verify_row(KEY, row)
        commitments = row.pop("commitments")
        del row["mac"], row["xid"]
        assert row == {
            "id": event_id, "act_at": clock.now(), "occurred_at": clock.now(), "actor_kind": "JOB",
            "actor_id": actor.id, "on_behalf_of_id": ada, "team_id": team, "action": READ,
            "permission_class": "DATA_READ",
            "outcome": "STARTED", "resource_types": ["DatasetVersion", "Dataset"],
            "resource_ids": [version.id, dataset.id], "purpose": "quality",
            "access_grant_id": grant, "reason_code": "CONFLICT",
            "reason_message": shortened("because " + "y" * 3_000), "request_id": "r-1",
            "client": "x" * TEXT_CHARACTERS_MAX, "rows": 3, "bytes": 4,
            "before": {"a": 1}, "after": {"b": ["2026-01-01"]}, "concludes_id": None, "mac_key": KEY.name,
        }  # fmt: skip
        (said,) = (await session.scalars(select(AuditPersonal).where(AuditPersonal.event_id == event_id))).all()
        assert (said.person_id, said.content) == (ada, {"address": "192.0.2.7", "justification": "why not"})
        assert said.content is not None
        assert said.salt is not None
        assert commitments == {ada.hex: Commitment(said.content, said.salt).digest.hex()}

    async def test_little_is_enough(self, session: WriteSession, clock: SimulatedClock) -> None:
        event_id = await record(session, WORKER, action=READ, at=clock.now(), new_id=new_id)
        row = await row_of(session, event_id)
        assert verify_row(KEY, row)
        assert (row["outcome"], row["resource_ids"], row["before"], row["client"]) == ("ALLOWED", [], None, "worker")

    async def test_it_costs_one_statement(self, database: Database, clock: SimulatedClock) -> None:
        async with database.transaction() as session:
            with statements(database) as sent:
                await record(session, WORKER, action=READ, at=clock.now(), new_id=new_id)
        assert [statement.split()[0] for statement in sent] == ["INSERT"]

    async def test_many_at_once_and_none(self, session: WriteSession, clock: SimulatedClock) -> None:
        caller = Actor(
            kind=ActorKind.USER, id=new_id(), name="ada", policy=WORKER.policy,
            request=RequestContext(address="192.0.2.7"),
        )  # fmt: skip
        await add_events(session, [])
        events = [compose_event(caller, action=READ, at=clock.now(), new_id=new_id) for _ in range(3)]
        await add_events(session, events)
        said = (await session.scalars(select(AuditPersonal).where(AuditPersonal.person_id == caller.id))).all()
        assert {row.event_id for row in said} == {event["id"] for event in events}

    async def test_it_goes_with_the_transaction(self, database: Database, clock: SimulatedClock) -> None:
        async with database.read() as reading:
            before = await count(reading)
        async with database.transaction() as session:
            await record(session, WORKER, action=READ, at=clock.now(), new_id=new_id)
            await session.rollback()
        async with database.read() as reading:
            assert await count(reading) == before

    async def test_a_session_without_the_key_records_nothing(self, database: Database, clock: SimulatedClock) -> None:
        async with Database(database.engine).transaction() as keyless:
            with pytest.raises(AssertionError, match="cannot record"):
                await record(keyless, WORKER, action=READ, at=clock.now(), new_id=new_id)

    @pytest.mark.parametrize("outcome", [Outcome.COMPLETED, Outcome.ABORTED])
    async def test_an_outcome_is_written_otherwise(
        self, session: WriteSession, clock: SimulatedClock, outcome: Outcome
    ) -> None:
        with pytest.raises(AssertionError, match="conclude"):
            await record(session, WORKER, action=READ, outcome=outcome, at=clock.now(), new_id=new_id)

    async def test_an_action_is_a_permission(self, session: WriteSession, clock: SimulatedClock) -> None:
        with pytest.raises(AssertionError, match="is no permission"):
            await record(session, WORKER, action="registry:dataset:feed", at=clock.now(), new_id=new_id)


class TestNoRecordNoAct:
    async def test_what_cannot_be_recorded_does_not_happen(
        self, fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock
    ) -> None:
        connection = await server.connect(database=await name_of(fresh_database))
        await connection.execute("REVOKE INSERT ON audit_events FROM guildhall_service")
        await connection.close()

        async def act() -> None:
            async with fresh_database.transaction() as session:
                await apply_teams(session, WORKER, [TeamSetting(name="quality")], at=clock.now(), new_id=new_id)

        with pytest.raises(DBAPIError, match="permission denied for table audit_events"):
            await act()
        async with fresh_database.read() as session:
            assert (await session.scalars(select(Team))).all() == []

    async def test_a_record_that_the_commit_would_refuse_takes_the_act_along(
        self, fresh_database: Database, clock: SimulatedClock
    ) -> None:
        twice = new_id()

        async def act() -> None:
            async with fresh_database.transaction() as session:
                await record(session, WORKER, action=READ, at=clock.now(), new_id=lambda: twice)
                await apply_teams(session, WORKER, [TeamSetting(name="quality")], at=clock.now(), new_id=lambda: twice)

        with pytest.raises(DBAPIError, match="duplicate key value violates"):
            await act()
        async with fresh_database.read() as session:
            assert (await session.scalars(select(Team))).all() == []
            assert await count(session) == 0


class TestAppendOnly:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit_events SET purpose = 'another'",
            "DELETE FROM audit_events",
            "TRUNCATE audit_events",
            "INSERT INTO audit_events TABLE audit_events ON CONFLICT (id, act_at) DO UPDATE SET purpose = 'another'",
            "ALTER TABLE audit_events DISABLE TRIGGER ALL",
            "DROP TABLE audit_events",
            "SELECT * FROM audit_events FOR UPDATE",
        ],
    )
    async def test_the_service_can_only_add(self, database: Database, clock: SimulatedClock, statement: str) -> None:
        async with database.transaction() as session:
            event_id = await record(session, WORKER, action=READ, purpose="quality", at=clock.now(), new_id=new_id)

        async def attempt() -> None:
            async with database.transaction() as session:
                await session.execute(text(statement))

        with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
            await attempt()
        async with database.read() as reading:
            assert verify_row(KEY, await row_of(reading, event_id))

    @pytest.mark.parametrize(
        "statement",
        ["UPDATE audit_events SET purpose = 'another'", "DELETE FROM audit_events", "TRUNCATE audit_events"],
    )
    async def test_even_the_owner_is_stopped(
        self, database: Database, server: EmbeddedServer, clock: SimulatedClock, statement: str
    ) -> None:
        async with database.transaction() as session:
            event_id = await record(session, WORKER, action=READ, at=clock.now(), new_id=new_id)
        connection = await server.connect(database=await name_of(database))
        with pytest.raises(Exception, match="rows of audit_events are a record"):
            await connection.execute(statement)
        await connection.close()
        async with database.read() as reading:
            assert verify_row(KEY, await row_of(reading, event_id))

    async def test_who_switches_the_trigger_off_is_found_out(
        self, fresh_database: Database, server: EmbeddedServer, clock: SimulatedClock
    ) -> None:
        async with fresh_database.transaction() as session:
            event_id = await record(session, WORKER, action=READ, purpose="quality", at=clock.now(), new_id=new_id)
        connection = await server.connect(database=await name_of(fresh_database))
        await connection.execute("ALTER TABLE audit_events DISABLE TRIGGER ALL")
        await connection.execute("UPDATE audit_events SET purpose = 'another'")
        await connection.close()
        async with fresh_database.read() as reading:
            row = await row_of(reading, event_id)
        assert row["purpose"] == "another"
        assert not verify_row(KEY, row)


class TestRecordRefusal:
    async def test_it_outlives_the_transaction_that_was_refused(
        self, database: Database, clock: SimulatedClock
    ) -> None:
        model, team = ResourceRef("Model", new_id()), new_id()
        error = PermissionRefused("No.", permission=READ, resources=[model], team_id=team, purpose="quality")
        event_id = await record_refusal(database, WORKER, error, at=clock.now(), new_id=new_id)
        async with database.read() as session:
            row = await row_of(session, event_id)
        assert verify_row(KEY, row)
        assert (row["outcome"], row["action"], row["reason_code"], row["reason_message"]) == (
            "REFUSED", READ, "PERMISSION_REFUSED", "No.",
        )  # fmt: skip
        assert (row["resource_ids"], row["resource_types"]) == ([model.id], ["Model"])
        assert (row["team_id"], row["purpose"]) == (team, "quality")

    async def test_other_refusals_can_be_kept_too(self, database: Database, clock: SimulatedClock) -> None:
        error = Refused("Ask the steward.", permission=READ)
        event_id = await record_refusal(database, WORKER, error, at=clock.now(), new_id=new_id)
        async with database.read() as session:
            assert (await row_of(session, event_id))["reason_code"] == "FORBIDDEN"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "é"]), inner, max_size=3),
    max_leaves=8,
)


@dataclass(frozen=True)
class Setting:
    name: str
    size: Decimal


class TestAsJson:
    @pytest.mark.parametrize(
        ("value", "want"),
        [
            (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
            (date(2026, 1, 1), "2026-01-01"),
            (1.5, "1.5"),
            (Decimal("1.50"), "1.50"),
            (Outcome.REFUSED, "REFUSED"),
            (True, True),
            ({3: (1, None)}, {"3": [1, None]}),
            pytest.param({"b", "a"}, ["a", "b"], id="a set, whose text differs from process to process"),
            (Setting("x", Decimal(2)), {"name": "x", "size": "2"}),
        ],
        ids=str,
    )
    def test_by_type(self, value: object, want: object) -> None:
        assert as_json(value) == want

    @pytest.mark.parametrize("value", [object(), b"bytes", Setting])
    def test_what_it_cannot_say_is_a_mistake_of_the_programmer(self, value: object) -> None:
        with pytest.raises(AssertionError, match="cannot hold"):
            as_json(value)

    @given(value=st.dictionaries(st.text("abc", max_size=2), json_values, max_size=3))
    async def test_what_was_changed_verifies_whatever_it_was(self, database: Database, value: dict[str, Any]) -> None:
        """Through the database and back: JSONB rewrites numbers and order, and the code must not mind."""
        async with database.transaction() as session:
            event_id = await record(session, WORKER, action=READ, after=value, at=MONDAY_MORNING, new_id=new_id)
            row = await row_of(session, event_id)
            await session.rollback()
        assert verify_row(KEY, row)
