"""No change without its record: every mutation is carried out, and its own transaction has written who did what."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from graphql import GraphQLFieldMap
from sqlalchemy import select, text

from guildhall.auth.actor import Actor, RequestContext, TokenUse
from guildhall.auth.policy import PolicySnapshot
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.roles import IMPLICIT_ROLES, ROLES
from guildhall.auth.subjects import ActorKind
from guildhall.auth.tables import User
from guildhall.clock import new_id
from guildhall.db.transaction import Database, WriteSession
from guildhall.graphql.context import Context
from guildhall.graphql.execution import Executor, Request
from guildhall.graphql.ids import encode_id, split_id
from guildhall.schema.root import composed_schema
from scheduler.clusters.installation import installation_id
from scheduler.clusters.probing import ClusterProber
from tests.guildhall.audit.every_change import CHANGES, Change, Known
from tests.guildhall.graphql.oracle.world import World, standing_still
from tests.people import make_user
from tests.scheduler.site import FakeProber

WORLD = {
    "AccessAlert": "SELECT id FROM access_alerts WHERE acknowledged_at IS NULL",
    "Package": "SELECT id FROM packages",
    "Job": "SELECT id FROM jobs WHERE state = 'SUCCEEDED'",
    "Session": "SELECT s.id FROM sessions s JOIN tokens t ON t.id = s.id WHERE t.revoked_at IS NULL",
    "Notification": (
        "SELECT n.id FROM notifications n JOIN users u ON u.id = n.user_id "
        "WHERE u.email = 'somebody-0@example.org' AND n.read_at IS NULL"
    ),
    "leaver": "SELECT id FROM users WHERE email = 'leaver@example.org'",
}
"""What the story and the estate around it have, by the name under which changes find its id."""
TYPES = {"leaver": "User"}
OWN_EVENTS = """
    SELECT coalesce(json_agg(json_build_object(
        'actor', actor_id, 'action', action, 'outcome', outcome, 'request', request_id, 'told', after IS NOT NULL,
        'about', (SELECT json_agg(json_build_array(a.type, a.id)) FROM unnest(resource_types, resource_ids) a(type, id))
    )), '[]')::text
    FROM audit_events WHERE xmin = pg_current_xact_id_if_assigned()::xid
"""


class Noting(Database):
    """The database; of each transaction that wrote, what it recorded is noted before it commits."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.engine, audit_key=database.session_info["audit_key"])
        self.written: list[list[Any]] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[WriteSession]:
        async with super().transaction() as session:
            yield session
            await session.flush()
            if await session.scalar(text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")):
                self.written.append(json.loads((await session.execute(text(OWN_EVENTS))).scalar_one()))


@dataclass
class Desk:
    """Where changes are asked for, by people who hold every role."""

    world: World
    database: Noting
    executor: Executor
    known: Known

    async def actor(self, who: str, request_id: str) -> Actor:
        async with self.database.read() as session:
            policy = PolicySnapshot(await load_rules(session))
            key = (await session.scalars(select(User.id).where(User.email == f"{who}@example.org"))).one()
        shown, request = TokenUse(new_id(), last_used_at=None), RequestContext(request_id)
        return Actor(kind=ActorKind.USER, id=key, name=who, policy=policy, request=request, token=shown)

    async def context(self, actor: Actor) -> Context:
        found = self.world.context(self.world.viewers[0])
        found.services.add(ClusterProber, FakeProber())  # type: ignore[type-abstract]  # a protocol
        settings = replace(
            self.world.settings, webhook_networks=(ip_network("127.0.0.0/8"),), jobs_url="http://192.0.2.7:8321"
        )
        return replace(found, database=self.database, actor_or_none=actor, settings=settings)

    async def carry_out(self, change: Change) -> str | None:
        """What is wrong with it, or nothing; what it wrote is in `database.written`."""
        name, given = change.mutation, change.given(self.known)
        made = f"{change.made} {{ id }}" if change.made else ""
        kind = _mutations()[name].args["input"].type
        document = f"mutation ($input: {kind}) {{ {name}(input: $input) {{ {made} errors {{ code field message }} }} }}"
        if name == "redeliver":  # nobody sends here, so it is said to have arrived
            async with self.database.transaction() as session:
                await session.execute(text("UPDATE deliveries SET state = 'DELIVERED', ended_at = created_at"))
        actor = await self.actor(change.who, name)
        self.database.written.clear()
        answer = (await self.executor.run(Request(document, {"input": given}), await self.context(actor))).body()
        if "errors" in answer:
            return f"{name}: {answer['errors']}"
        payload = answer["data"][name]
        if payload["errors"]:
            return f"{name}: {payload['errors']}"
        if change.made:
            self.known.ids[name] = payload[change.made]["id"]
        written = self.database.written
        if not written or not all(written):
            return f"{name} wrote without a record: {written}"
        expected = {(kind, key.hex) for kind, key in _named([given, payload]) if kind == change.about}
        for event in (event for events in written for event in events):
            about = {(kind, UUID(key).hex) for kind, key in event["about"] or []}
            right = (event["actor"], event["action"], event["outcome"], event["request"]) == (
                str(actor.id), change.action, "ALLOWED", name,
            )  # fmt: skip
            named = about & expected if expected else change.about in {kind for kind, _ in about}
            if right and (named if change.about else event["told"]):
                return None
        return f"{name} has not recorded {change.action} of {change.about} {expected}, but {written}"


def _mutations() -> GraphQLFieldMap:
    mutations = composed_schema().schema.mutation_type
    assert mutations is not None
    fields: GraphQLFieldMap = mutations.fields
    return fields


def _named(value: Any) -> list[tuple[str, UUID]]:
    """Every global id in an input and its answer."""
    if isinstance(value, dict):
        return _named(list(value.values()))
    if isinstance(value, list):
        return [each for entry in value for each in _named(entry)]
    found = split_id(value) if isinstance(value, str) else None
    return [] if found is None else [found]


@pytest.fixture(scope="module")
async def desk(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    everything = {role: [None] for role in ROLES if role not in IMPLICIT_ROLES}
    async with standing_still(database, Path(tmp_path_factory.mktemp("data")), seed=6) as world:
        async with database.transaction() as session:
            for name in ("root", "second"):
                await make_user(session, name, roles=everything)
            await make_user(session, "leaver")
        await installation_id(database, at=world.clock.now(), new_id=new_id)  # the house's name, and nobody's doing
        ids = {}
        async with database.read() as session:
            for name, statement in WORLD.items():
                key = await session.scalar(text(f"{statement} ORDER BY 1 DESC LIMIT 1"))
                assert key is not None, f"the world has no {name}"
                ids[name] = encode_id(TYPES.get(name, name), key)
        executor = Executor(composed_schema(), world.settings)
        yield Desk(world, Noting(database), executor, Known(world.clock.now(), ids))


class TestEveryMutation:
    def test_has_an_input_here(self) -> None:
        """A new mutation gets a line in `every_change.py`, which says what is recorded of it."""
        assert {change.mutation for change in CHANGES} == set(_mutations())

    async def test_leaves_its_record(self, desk: Desk) -> None:
        wrong = [found for change in CHANGES if (found := await desk.carry_out(change)) is not None]
        assert not wrong, "\n".join(wrong)
