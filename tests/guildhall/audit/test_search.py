"""Whole acts, for those who may ask, about a data set and all its versions, and by an index."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.audit.outcomes import conclude
from guildhall.audit.record import record
from guildhall.audit.search import ACTS, is_about, visible_acts
from guildhall.audit.tables import Outcome
from guildhall.auth.actor import system_actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.kept_statements import PLANNED_ANEW
from guildhall.db.transaction import Database, WriteSession
from guildhall.errors import Unavailable
from tests.people import actor_of, make_team, make_user

WORKER = system_actor("worker")
READ = "registry:dataset:read"


MANY = """
    INSERT INTO audit_events (id, occurred_at, act_at, actor_kind, actor_id, action, permission_class, outcome,
        resource_types, resource_ids, mac_key, mac)
    SELECT gen_random_uuid(), at, at, 'USER', gen_random_uuid(),
        'registry:dataset:read', 'DATA_READ', 'ALLOWED', '{Dataset}', ARRAY[gen_random_uuid()], 'none', sha256('x')
    FROM generate_series(timestamptz '2026-01-01', '2026-01-01 01:23:19', interval '1 second') AS moment (at)
"""


async def found(session: AsyncSession, *clauses: ColumnElement[bool]) -> list[UUID]:
    statement = select(ACTS.c.id).where(*clauses).order_by(ACTS.c.occurred_at, ACTS.c.id)
    return list(await session.scalars(statement))


class TestActs:
    async def test_a_conclusion_is_merged_into_its_intent(self, session: WriteSession, clock: SimulatedClock) -> None:
        started = clock.now()
        event_id = await record(
            session, WORKER, action=READ, outcome=Outcome.STARTED, rows=1, at=started, new_id=new_id
        )
        reason = Unavailable("The reader went away.")
        await conclude(
            session, event_id, outcome=Outcome.ABORTED, bytes=7, reason=reason,
            at=clock.advance(seconds=2), new_id=new_id,
        )  # fmt: skip
        (row,) = (await session.execute(select(ACTS).where(ACTS.c.action == READ))).mappings().all()
        assert (row["id"], row["occurred_at"], row["concluded_at"]) == (event_id, started, clock.now())
        assert (row["outcome"], row["rows"], row["bytes"]) == ("ABORTED", 1, 7)
        assert (row["reason_code"], row["reason_message"]) == ("UNAVAILABLE", "The reader went away.")

    async def test_others_are_shown_as_they_are(self, session: WriteSession, clock: SimulatedClock) -> None:
        open_one = await record(session, WORKER, action=READ, outcome=Outcome.STARTED, at=clock.now(), new_id=new_id)
        plain = await record(session, WORKER, action=READ, bytes=3, at=clock.advance(seconds=1), new_id=new_id)
        rows = (await session.execute(select(ACTS).order_by(ACTS.c.occurred_at))).mappings().all()
        assert [(row["id"], row["outcome"], row["bytes"], row["concluded_at"]) for row in rows] == [
            (open_one, "STARTED", None, None),
            (plain, "ALLOWED", 3, None),
        ]


class TestPlans:
    def test_every_question_is_planned_for_its_values(self) -> None:
        assert PLANNED_ANEW in str(select(ACTS))


class TestIsAbout:
    async def test_a_data_set_covers_its_versions(self, session: WriteSession, clock: SimulatedClock) -> None:
        dataset, version, other = (ResourceRef(kind, new_id()) for kind in ("Dataset", "DatasetVersion", "Model"))
        reading = await record(
            session, WORKER, action=READ, resources=[version, dataset], at=clock.now(), new_id=new_id
        )
        registering = await record(
            session, WORKER, action="registry:dataset:register", resources=[dataset], at=clock.now(), new_id=new_id
        )
        await record(session, WORKER, action=READ, resources=[other], at=clock.now(), new_id=new_id)
        await record(session, WORKER, action=READ, at=clock.now(), new_id=new_id)
        assert await found(session, is_about(dataset.id)) == [reading, registering]
        assert await found(session, is_about(version.id)) == [reading]
        assert await found(session, is_about(dataset.id), ACTS.c.action == READ) == [reading]
        assert await found(session, is_about(new_id())) == []

    async def test_it_finds_one_among_many_by_the_index(self, fresh_database: Database, server: EmbeddedServer) -> None:
        async with fresh_database.read() as session:
            name = str((await session.scalars(select(func.current_database()))).one())
        owner = await server.connect(database=name)
        await owner.execute(MANY)
        await owner.execute("ANALYZE audit_events, audit_resources")
        await owner.close()
        statement = select(ACTS.c.id).where(is_about(new_id())).order_by(ACTS.c.occurred_at, ACTS.c.id).limit(20)
        async with fresh_database.read() as session:
            connection = await session.connection()
            compiled = statement.compile(dialect=connection.dialect)
            values = tuple(compiled.params[name] for name in compiled.positiontup or [])
            plan = "\n".join((await connection.exec_driver_sql(f"EXPLAIN {compiled}", values)).scalars())
        assert "Index Only Scan using audit_resources_default_pkey" in plan, plan
        assert "Seq Scan on audit_events_default" not in plan


class TestVisibleActs:
    async def test_by_caller(self, session: WriteSession, clock: SimulatedClock) -> None:
        mine, theirs = await make_team(session, "mine"), await make_team(session, "theirs")
        here = await record(session, WORKER, action=READ, team_id=mine, at=clock.now(), new_id=new_id)
        there = await record(
            session, WORKER, action=READ, team_id=theirs, at=clock.advance(timedelta(1)), new_id=new_id
        )
        nowhere = await record(session, WORKER, action=READ, at=clock.advance(timedelta(1)), new_id=new_id)
        auditor = await make_user(session, "auditor", roles={"auditor": [None]})
        team_auditor = await make_user(session, "team-auditor", roles={"auditor": [mine]})
        administrator = await make_user(session, "administrator", roles={"administrator": [None]})
        for user, want in ((auditor, [here, there, nowhere]), (team_auditor, [here]), (administrator, [])):
            assert await found(session, visible_acts(await actor_of(session, user))) == want
