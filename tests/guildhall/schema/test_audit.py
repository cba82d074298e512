"""What auditors ask of the record, and what is erased from it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from guildhall.audit.record import record
from guildhall.audit.tables import POLICY_ACTIONS, AuditPersonal, Outcome
from guildhall.auth.actor import Actor, RequestContext, system_actor
from guildhall.auth.permissions import PERMISSIONS
from guildhall.auth.resources import ResourceRef
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import User
from guildhall.clock import SystemClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.transaction import Database
from guildhall.graphql.ids import encode_id
from registry.access.tables import AccessGrant
from tests.conftest import MONDAY_MORNING
from tests.guildhall.conftest import Asker
from tests.people import make_user

READ = "registry:dataset:read"
FIELDS = "nodes { action outcome justification address accessGrant { id } leafNumber erasedAt }"
WORKER = system_actor("worker")


async def person(database: Database, name: str) -> UUID:
    async with database.read() as session:
        return (await session.scalars(select(User.id).where(User.name == name))).one()


def caller(key: UUID) -> Actor:
    return Actor(
        kind=ActorKind.USER, id=key, name="", policy=WORKER.policy, request=RequestContext(address="192.0.2.7")
    )


async def read(database: Database, key: UUID, dataset: UUID, *, hours: int, **more: Any) -> None:
    async with database.transaction() as session:
        await record(
            session, caller(key), action=READ, resources=[ResourceRef("Dataset", dataset)], new_id=new_id,
            at=MONDAY_MORNING + timedelta(hours=hours), **more,
        )  # fmt: skip


class TestQuestions:
    async def test_who_read_this_between_two_moments(self, ask: Asker, database: Database) -> None:
        mia, dataset = await person(database, "Mia"), new_id()
        for hours in (0, 1, 2):
            await read(database, mia, dataset, hours=hours, justification=f"at {hours}")
        document = f"""query ($id: ID!, $since: DateTime, $until: DateTime) {{
            dataReads(first: 9, resourceId: $id, since: $since, until: $until) {{ {FIELDS} }} }}"""
        since, until = (MONDAY_MORNING + timedelta(hours=hours) for hours in (1, 2))
        key = encode_id("Dataset", dataset)
        found = await ask("otto", document, id=key, since=since.isoformat(), until=until.isoformat())
        assert found["data"]["dataReads"]["nodes"] == [
            {
                "action": READ, "outcome": "ALLOWED", "justification": "at 1", "address": "192.0.2.7",
                "accessGrant": None, "leafNumber": None, "erasedAt": None,
            }
        ]  # fmt: skip
        assert len((await ask("otto", document, id=key))["data"]["dataReads"]["nodes"]) == 3
        assert (await ask("mia", document, id=key))["errors"][0]["extensions"]["code"] == "FORBIDDEN"

    async def test_everything_that_somebody_did_by_their_jobs_as_well(self, ask: Asker, database: Database) -> None:
        async with database.transaction() as session:
            lea = await make_user(session, "lea")
        await read(database, lea, new_id(), hours=0)
        job = Actor(kind=ActorKind.JOB, id=new_id(), name="job", policy=WORKER.policy, on_behalf_of=lea)
        async with database.transaction() as session:
            await record(session, job, action="scheduler:job:report", at=MONDAY_MORNING, new_id=new_id)
        document = "query ($id: ID!) { actsOf(first: 9, actorId: $id) { nodes { action } } }"
        found = (await ask("otto", document, id=encode_id("User", lea)))["data"]["actsOf"]["nodes"]
        assert {act["action"] for act in found} == {READ, "scheduler:job:report"}
        found = (await ask("otto", document, id=encode_id("Job", job.id)))["data"]["actsOf"]["nodes"]
        assert [act["action"] for act in found] == ["scheduler:job:report"]

    async def test_reads_without_a_grant(self, ask: Asker, database: Database) -> None:
        mia = await person(database, "Mia")
        await read(database, mia, new_id(), hours=90, outcome=Outcome.REFUSED)
        await read(database, mia, new_id(), hours=91, access_grant_id=new_id())
        document = """query ($since: DateTime) {
            readsWithoutGrant(first: 9, since: $since) { nodes { outcome } } }"""
        since = (MONDAY_MORNING + timedelta(hours=90)).isoformat()
        found = await ask("otto", document, since=since)
        assert found["data"]["readsWithoutGrant"]["nodes"] == [{"outcome": "REFUSED"}]

    async def test_what_the_policy_said_then(self, ask: Asker, database: Database) -> None:
        before = SystemClock().now()
        async with database.transaction() as session:
            zoe = await make_user(session, "zoe", roles={"auditor": [None]})
        between = SystemClock().now()
        async with database.transaction() as session:
            await session.execute(text("DELETE FROM role_bindings WHERE subject_id = :zoe"), {"zoe": zoe})
        document = """query ($moment: DateTime!) {
            policyAt(first: 100, moment: $moment, filter: {kind: {eq: BINDING}}) { nodes { kind line } } }"""
        held = []
        for moment in (before, between, SystemClock().now()):
            answer = await ask("otto", document, moment=moment.isoformat())
            lines = [node["line"] for node in answer["data"]["policyAt"]["nodes"]]
            held.append([line["role"] for line in lines if line["subject_id"] == str(zoe)])
        assert held == [[], ["auditor"], []]
        refused = await ask("mia", document, moment=datetime(2020, 1, 1, tzinfo=UTC).isoformat())
        assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"

    async def test_changes_of_the_policy_and_unused_grants(self, ask: Asker, database: Database) -> None:
        mia = await person(database, "Mia")
        async with database.transaction() as session:
            await record(
                session, caller(mia), action="guildhall:role:bind", at=MONDAY_MORNING, new_id=new_id,
                resources=[ResourceRef("User", mia)],
            )  # fmt: skip
        document = "{ policyChanges(first: 9) { nodes { action } } unusedAccessGrants(first: 9) { nodes { id } } }"
        data = (await ask("otto", document))["data"]
        assert {"action": "guildhall:role:bind"} in data["policyChanges"]["nodes"]
        assert data["unusedAccessGrants"]["nodes"] == []


class TestAccessGrantUse:
    async def test_what_was_refused_is_no_read_and_what_has_left_still_is(
        self, ask: Asker, database: Database, server: EmbeddedServer
    ) -> None:
        async with database.transaction() as session:
            grant = AccessGrant(
                id=new_id(), basis="OWNERSHIP", beneficiary_user_id=await make_user(session, "uma"),
                justification="to look", valid_from=MONDAY_MORNING, created_at=MONDAY_MORNING,
                valid_to=MONDAY_MORNING + timedelta(days=90),
            )  # fmt: skip
            session.add(grant)
        document = """query ($id: ID!) { node(id: $id) { ... on AccessGrant {
            firstUsedAt lastUsedAt timesUsed } } }"""
        key, reader = encode_id("AccessGrant", grant.id), await person(database, "Mia")
        await read(database, reader, new_id(), hours=1, access_grant_id=grant.id, outcome=Outcome.REFUSED)
        assert (await ask("otto", document, id=key))["data"]["node"] == {
            "firstUsedAt": None, "lastUsedAt": None, "timesUsed": 0,
        }  # fmt: skip
        for hours in (2, 3):
            await read(database, reader, new_id(), hours=hours, access_grant_id=grant.id)
        first, last = (
            (MONDAY_MORNING + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:00:00.000000Z") for hours in (2, 3)
        )
        used = {"firstUsedAt": first, "lastUsedAt": last, "timesUsed": 2}
        assert (await ask("otto", document, id=key))["data"]["node"] == used
        connection = await server.connect(database=str(database.engine.url.database))
        for month, times in (("2026-01", 4), ("2026-02", 5)):
            begins = datetime.fromisoformat(f"{month}-05T00:00:00Z")
            await connection.execute(
                "INSERT INTO audit_archived_uses VALUES ($1, $2, $3, $4, $5)",
                grant.id, month, times, begins, begins + timedelta(days=1),
            )  # fmt: skip
        await connection.close()
        earlier = {"firstUsedAt": "2026-01-05T00:00:00.000000Z", "lastUsedAt": last, "timesUsed": 11}
        assert (await ask("otto", document, id=key))["data"]["node"] == earlier


class TestArchivedMonths:
    async def test_an_answer_says_which_months_it_lacks(
        self, ask: Asker, database: Database, server: EmbeddedServer
    ) -> None:
        document = """query ($id: ID!, $since: DateTime, $until: DateTime) {
            dataReads(first: 1, resourceId: $id, since: $since, until: $until) { archivedMonths nodes { id } }
            actsOf(actorId: $id, since: $since, until: $until) { archivedMonths }
            readsWithoutGrant(since: $since, until: $until) { archivedMonths }
            policyChanges(since: $since, until: $until) { archivedMonths }
            auditEvents { archivedMonths } unusedAccessGrants { archivedMonths } }"""
        key = encode_id("Dataset", new_id())
        assert (await ask("otto", document, id=key))["data"]["dataReads"] == {"archivedMonths": [], "nodes": []}
        connection = await server.connect(database=str(database.engine.url.database))
        for month in (2, 1, 3):
            begins = datetime(2025, month, 1, tzinfo=UTC)
            ends = datetime(2025, month + 1, 1, tzinfo=UTC)
            await connection.execute(
                "INSERT INTO audit_archives VALUES ($1, $2, $3, 1, 'x', $3, 'k', 'm')", f"2025-0{month}", begins, ends
            )
        await connection.close()
        between = {"since": "2025-02-01T00:00:00Z", "until": "2025-03-01T00:00:01Z"}
        data = (await ask("otto", document, id=key, **between))["data"]
        assert {name: answer["archivedMonths"] for name, answer in data.items()} == {
            "dataReads": ["2025-02", "2025-03"], "actsOf": ["2025-02", "2025-03"],
            "readsWithoutGrant": ["2025-02", "2025-03"], "policyChanges": ["2025-02", "2025-03"],
            "auditEvents": ["2025-01", "2025-02", "2025-03"], "unusedAccessGrants": ["2025-01", "2025-02", "2025-03"],
        }  # fmt: skip
        between = {"since": "2025-04-01T00:00:00Z"}
        assert (await ask("otto", document, id=key, **between))["data"]["dataReads"]["archivedMonths"] == []
        refused = await ask("mia", document, id=key)
        assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"


class TestErasePersonalValues:
    async def test_administrators_erase_and_the_event_stays(self, ask: Asker, database: Database) -> None:
        async with database.transaction() as session:
            ivy = await make_user(session, "ivy")
        await read(database, ivy, dataset := new_id(), hours=0, justification="for Ivy")
        document = """mutation ($id: ID!) { erasePersonalValues(input: {userId: $id}) { events errors { code } } }"""
        key = encode_id("User", ivy)
        assert (await ask("otto", document, id=key))["errors"][0]["extensions"]["code"] == "PERMISSION_REFUSED"
        async with database.read() as session:
            assert await session.scalar(select(AuditPersonal.erased_at).where(AuditPersonal.person_id == ivy)) is None
        assert (await ask("ada", document, id=key))["data"]["erasePersonalValues"] == {"events": 1, "errors": []}
        assert (await ask("ada", document, id=key))["data"]["erasePersonalValues"] == {"events": 0, "errors": []}
        question = f"query ($id: ID!) {{ dataReads(first: 9, resourceId: $id) {{ {FIELDS} }} }}"
        (shown,) = (await ask("otto", question, id=encode_id("Dataset", dataset)))["data"]["dataReads"]["nodes"]
        assert (shown["action"], shown["justification"], shown["address"]) == (READ, None, None)
        assert shown["erasedAt"] is not None


class TestPolicyActions:
    @pytest.mark.parametrize("action", sorted(PERMISSIONS))
    def test_whatever_changes_the_policy_is_among_them(self, action: str) -> None:
        """A new permission of these nouns changes who may what, and belongs on the list."""
        nouns = ("guildhall:role:", "guildhall:group:", "registry:restriction:")
        if action.startswith(nouns) and not action.endswith(":read"):
            assert action in POLICY_ACTIONS
