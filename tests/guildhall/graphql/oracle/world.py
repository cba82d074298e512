"""The story of the demo with random rows around it, held still, and a caller of every role who may look at it."""

import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from guildhall.audit.sealer import open_signers
from guildhall.audit.sealing import seal_once
from guildhall.auth.actor import Actor, JobClaims, RequestContext
from guildhall.auth.bindings import Binding
from guildhall.auth.permissions import PERMISSIONS
from guildhall.auth.policy import PolicySnapshot, RoleRules
from guildhall.auth.policy_reading import load_rules
from guildhall.auth.roles import IMPLICIT_ROLES, ROLES
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import ServiceAccount, Team, User
from guildhall.clock import Clock, SimulatedClock, new_id
from guildhall.db.kept_statements import KeptStatements, KeptTransaction
from guildhall.db.transaction import Database, ReadSession, WriteSession
from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.context import Context, Services
from guildhall.graphql.cursors import CursorSigner
from guildhall.graphql.ids import encode_id
from guildhall.schema.root import composed_schema
from guildhall.settings import Settings
from marketplace.tables import Programme
from registry.artifacts.tickets import UploadTickets
from registry.datasets.tables import Dataset
from registry.models.tables import Model
from registry.storage import ArtifactStore
from scheduler.clusters.tables import Pool
from scheduler.jobs.tables import Attempt, Job
from tests.documents.story import tell
from tests.documents.world import running_world
from tests.guildhall.graphql.oracle.fleet import Fleet
from tests.guildhall.graphql.oracle.generator import Known
from tests.guildhall.graphql.oracle.guarded import Guarded
from tests.guildhall.graphql.oracle.inbox import Inbox
from tests.guildhall.graphql.oracle.rights import Rights
from tests.guildhall.graphql.oracle.scatter import Scatter
from tests.guildhall.graphql.oracle.strewing import WORDS
from tests.people import make_service_account, make_user

IDS_OF_A_TYPE_MAX = 40
_OWN_EVENTS = """
    SELECT coalesce(json_agg(json_build_array(action, outcome, resource_types, resource_ids)), '[]')::text
    FROM audit_events WHERE xmin = pg_current_xact_id()::xid
"""


class Unchanged(Exception):
    """Ends a transaction that nothing is to be kept of."""


def _events(found: str) -> list[Any]:
    return sorted(
        (action, outcome, sorted(zip(types, ids, strict=True))) for action, outcome, types, ids in json.loads(found)
    )


class Still(Database):
    """The database, of which nothing is ever changed: what would be written is noted and rolled back."""

    def __init__(self, database: Database) -> None:
        super().__init__(database.engine, audit_key=database.session_info["audit_key"])
        self.recorded: list[Any] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[WriteSession]:
        async with WriteSession(self.engine, expire_on_commit=False, info=self.session_info) as session:
            yield session
            await session.flush()
            self.recorded += _events((await session.execute(text(_OWN_EVENTS))).scalar_one())
            await session.rollback()


class StillStatements(KeptStatements):
    """Statements on kept connections, which change nothing either; what they would record is noted, too."""

    def __init__(self, url: str, recorded: list[Any]) -> None:
        super().__init__(url, connections_max=2, statement_seconds=30)
        self._recorded = recorded

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[KeptTransaction]:
        with contextlib.suppress(Unchanged):
            async with super().transaction() as transaction:
                yield transaction
                row = await transaction.fetch(_OWN_EVENTS, [])
                assert row is not None, "an aggregate is one row"
                self._recorded += _events(row[0])
                raise Unchanged


@dataclass(frozen=True)
class Viewer:
    name: str
    actor: Actor


@dataclass(frozen=True)
class World:
    """The database held still, who looks, what is there, and the one moment of all requests."""

    database: Still
    statements: KeptStatements
    viewers: Sequence[Viewer]
    known: Known
    settings: Settings
    clock: Clock

    def context(self, viewer: Viewer) -> Context:
        """A request of the viewer's."""
        return Context(
            database=self.database,
            actor_or_none=viewer.actor,
            clock=self.clock,
            new_id=new_id,
            settings=self.settings,
            services=Services()
            .add(ArtifactStore, ArtifactStore.open(self.settings.artifacts_url))
            .add(UploadTickets, UploadTickets(b"t" * 32)),
            signer=CursorSigner(b"k" * 32),
            at=self.clock.now(),
            request_id="request-1",
        )


@asynccontextmanager
async def standing_still(database: Database, folder: Path, *, seed: int) -> AsyncIterator[World]:
    """Tell the story, stop the world, and strew the rest."""
    async with running_world(database, folder) as running:
        await tell(running)
        settings = running.settings
    async with database.read() as session:
        last = await session.scalar(select(Job.created_at).order_by(Job.created_at.desc()).limit(1))
    assert last is not None, "the story has jobs"
    at = last + timedelta(minutes=5)
    async with database.transaction() as session:
        await Scatter(session, seed, at).strew()
        people = await _people(session)
        await Guarded(session, seed, at).strew()
        await Fleet(session, seed, at).strew()
        await Rights(session, seed, at).strew(people)
        await Inbox(session, seed, at).strew()
    assert await seal_once(database, open_signers(settings), at=at) is not None, "nobody else seals"
    async with database.read() as session:
        viewers = await _viewers(session, people)
        known = await _known(session, composed_schema().catalogue, at)
    still = Still(database)
    statements = StillStatements(database.url, still.recorded)
    try:
        yield World(still, statements, viewers, known, settings, SimulatedClock(at))
    finally:
        await statements.close()


async def _people(session: WriteSession) -> dict[str, tuple[ActorKind, UUID]]:
    """Somebody for each role, in one team and organisation-wide; somebody without any; a program."""
    teams = {team.name: team.id for team in await session.scalars(select(Team))}
    people: dict[str, tuple[ActorKind, UUID]] = {}
    for role in sorted(set(ROLES) - IMPLICIT_ROLES):
        for place, team in (("here", teams["maintenance"]), ("everywhere", None)):
            name = f"{role}-{place}"
            people[name] = (ActorKind.USER, await make_user(session, name, roles={role: [team]}))
    people["member"] = (ActorKind.USER, await make_user(session, "member"))
    both = {"contributor": [teams["quality"]], "viewer": [teams["scattered-1"]]}
    people["of-two-teams"] = (ActorKind.USER, await make_user(session, "of-two-teams", roles=both))
    program = await make_service_account(session, "program", teams["maintenance"], roles=["contributor"])
    people["program"] = (ActorKind.SERVICE_ACCOUNT, program)
    steward = await session.scalar(select(User.id).where(User.email == "stella@example.org"))
    assert steward is not None, "the story has a steward"
    people["stella"] = (ActorKind.USER, steward)
    return people


async def _viewers(session: ReadSession, people: Mapping[str, tuple[ActorKind, UUID]]) -> list[Viewer]:
    rules = await load_rules(session)
    viewers = []
    for name, (kind, key) in people.items():
        team = None
        if kind is ActorKind.SERVICE_ACCOUNT:
            team = await session.scalar(select(ServiceAccount.team_id).where(ServiceAccount.id == key))
        actor = Actor(
            kind=kind,
            id=key,
            name=name,
            policy=PolicySnapshot(rules),
            request=RequestContext("request-1"),
            team_id=team,
        )
        viewers.append(Viewer(name, actor))
    barred = next(key for name, (_, key) in people.items() if name == "member")
    denied = RoleRules(allowed=frozenset(), denied=frozenset({"registry:model:discover", "guildhall:user:read"}))
    bindings = {**rules.bindings, Subject(ActorKind.USER, barred): (Binding("barred", None), Binding("viewer", None))}
    policy = PolicySnapshot(replace(rules, roles={**rules.roles, "barred": denied}, bindings=bindings))
    viewers.append(Viewer("barred", Actor(kind=ActorKind.USER, id=barred, name="barred", policy=policy)))
    attempt, job = (await session.execute(select(Attempt, Job).join(Job, Job.id == Attempt.job_id).limit(1))).one()
    claims = JobClaims(job.id, attempt.id, job.team_id, job.created_by)
    viewers.append(
        Viewer(
            "job",
            Actor(
                kind=ActorKind.JOB,
                id=job.id,
                name="job",
                policy=PolicySnapshot(rules),
                on_behalf_of=job.created_by,
                team_id=job.team_id,
                job=claims,
            ),
        )
    )
    return viewers


async def _known(session: ReadSession, catalogue: Catalogue, at: datetime) -> Known:
    """What documents may ask about: the newest ids of each type, names that belong together, values of filters."""
    ids: dict[str, list[str]] = {}
    for declared in catalogue.types.values():
        if declared.is_node and declared.table is not None:
            assert declared.key is not None, f"{declared.name} has a key"
            keys = await session.scalars(select(declared.key).select_from(declared.table).order_by(declared.key))
            ids[declared.name] = [encode_id(declared.name, key) for key in keys][-IDS_OF_A_TYPE_MAX:]

    async def calls(statement: Any, *names: str) -> list[Mapping[str, Any]]:
        return [dict(zip(names, row, strict=True)) for row in await session.execute(statement)]

    teams = await calls(select(Team.name).order_by(Team.id), "name")
    names = [call["name"] for call in teams]
    models = await calls(
        select(Team.name, Model.name).join(Model, Model.team_id == Team.id).order_by(Model.id), "team", "name"
    )
    datasets = await calls(
        select(Team.name, Dataset.name).join(Dataset, Dataset.team_id == Team.id).order_by(Dataset.id), "team", "name"
    )
    accounts = select(Team.name, ServiceAccount.name).join(ServiceAccount, ServiceAccount.team_id == Team.id)
    programmes = await calls(select(Programme.name).order_by(Programme.id), "name")
    pools = await calls(select(Pool.name).order_by(Pool.id), "name")
    moments = sorted(set(await session.scalars(select(Model.created_at))))
    tasks = sorted(set(await session.scalars(select(Model.task))))
    impacted = [
        key for name in ("DatasetVersion", "ModelVersion", "Dataset", "Model", "Job") for key in ids.get(name, ())
    ]
    return Known(
        ids=ids,
        calls={
            "Query.team": teams,
            "Query.user": await calls(select(User.email).order_by(User.id), "email"),
            "Query.serviceAccount": await calls(accounts, "team", "name"),
            "Query.model": models,
            "Query.dataset": datasets,
            "Query.programme": programmes,
            "Query.pool": pools,
            "Query.impact": [{"of": key} for key in impacted],
            "Query.dataReads": [{"resourceId": key} for key in ids.get("Dataset", ())],
            "Query.actsOf": [{"actorId": key} for key in ids.get("User", ())],
            "Query.explainAccess": _questions(ids),
            "Query.searchModels": [
                {"text": re.sub(r"\W+", " ", each)} for each in (*WORDS, "gau", "digit or weld", '"weld pump"')
            ],
            "ModelVersion.lineage": [{"first": 50}, {"first": 3}],
        },
        values={
            "String": names,
            "Int": [1, 2, 3, 20],
            "DateTime": [moment.isoformat() for moment in moments[:: max(1, len(moments) // 10)]],
            "Boolean": [True, False],
            "ModelFilter.name": [call["name"] for call in models],
            "ModelFilter.task": tasks,
            "ModelFilter.tag": ["glare", "GLARE", "daß"],
            "DatasetFilter.name": [call["name"] for call in datasets],
            "AllocationFilter.programme": [call["name"] for call in programmes],
            "AuditFilter.action": sorted(PERMISSIONS),
            "Query.explainAccess.actorId": [*ids.get("User", ()), *ids.get("ServiceAccount", ())],
            "Query.policyAt.moment": [at.isoformat()],
            **{f"{name}.viewerCan.permission": sorted(PERMISSIONS) for name in ids},
        },
    )


def _questions(ids: Mapping[str, Sequence[str]]) -> list[Mapping[str, Any]]:
    """What may be asked of `explainAccess`: whether a thing is there, and whether its data may be read."""
    permissions = {
        "Model": "registry:model:discover",
        "ModelVersion": "registry:model:read",
        "Dataset": "registry:dataset:read",
        "DatasetVersion": "registry:dataset:read",
    }
    return [
        {"permission": permission, "nodeId": key}
        for name, permission in permissions.items()
        for key in ids.get(name, ())
    ]
