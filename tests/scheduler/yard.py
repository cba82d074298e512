"""A yard for the scheduler's tests: an organisation with pools, prices, credits and data, in a database that commits.

Maintenance: Anna (maintainer), Vera (viewer). Quality: Quinn (maintainer). Root is the administrator, Alla the
allocator. Programme "zero" is of class A, "later" of class C; both teams have credits for both. Pool "small" has 2
accelerators, "big" has 4 of another kind and a cheaper night. All happens on a simulated clock and a fake cluster.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor, JobClaims
from guildhall.auth.bindings import Binding
from guildhall.auth.policy import PolicyRules, PolicySnapshot, RoleRules
from guildhall.auth.roles import ROLES
from guildhall.auth.subjects import ActorKind, Subject
from guildhall.auth.tables import Team, Token, User
from guildhall.clock import SimulatedClock, new_id
from guildhall.db.transaction import Database
from guildhall.inbox.telling import TOPIC
from guildhall.outbox.tables import OutboxRow
from guildhall.settings import Settings
from marketplace.configuration import ProgrammeSetting, apply_programmes
from marketplace.identity import check_ledger
from marketplace.price_configuration import HoursSetting, PriceListSetting, RateSetting, apply_price_lists
from marketplace.tables import Balance, HoldResolution, Quote, StrategicClass, Tier
from marketplace.wallets import allocate_credits
from registry.access.tables import AccessGrant, AccessGrantResource
from registry.artifacts.tables import Artifact, Package
from registry.datasets.tables import Dataset, DatasetVersion
from registry.models.registering import register_model
from registry.models.tables import ModelVersion, RiskTier
from registry.purposes.tables import Purpose
from scheduler.clusters.executor import Launch, Machine
from scheduler.clusters.fake import FakeCluster
from scheduler.clusters.pool_settings import PoolSetting
from scheduler.clusters.tables import Cluster, ClusterKind, Pool, SlotUse
from scheduler.configuration import apply_pools, pools_by_name
from scheduler.context import SchedulerContext, pass_by
from scheduler.cycle import run_cycle
from scheduler.jobs.cancelling import cancel_job
from scheduler.jobs.spec import InputKind, InputSpec, JobSpec, NodeSpec, OutputSpec
from scheduler.jobs.tables import Attempt, Job, JobEvent, RunInterval
from scheduler.machines import store_machines
from scheduler.quoting.accepting import accept_quote
from scheduler.quoting.requesting import request_quote
from tests.scheduler.furnishing import CREDIT, Furnishing

PEOPLE = {
    "anna": ("maintenance", "maintainer"),
    "vera": ("maintenance", "viewer"),
    "quinn": ("quality", "maintainer"),
    "root": (None, "administrator"),
    "alla": (None, "allocator"),
}
WEEKDAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
IMAGE = "registry.example.org/python:3.11"
POOLS = (
    PoolSetting(
        name="small", cluster="here", accelerator="l4", node_selector={"pool": "small"}, image=IMAGE,
        watts_per_accelerator=72, walltime_seconds_max=8 * 3600,
    ),
    PoolSetting(
        name="big", cluster="here", accelerator="h100", node_selector={"pool": "big"}, image=IMAGE,
        watts_per_accelerator=700, walltime_seconds_max=8 * 3600,
    ),
)  # fmt: skip
GPU = "nvidia.com/gpu"


def machine(pool: str, slots: int, number: int = 1, **given: Any) -> Machine:
    """One of the machines of a pool of the yard."""
    values: dict[str, Any] = {
        "name": f"{pool}-{number}", "labels": {"pool": pool}, "accelerators": {GPU: slots}, "cpu_millis": 64_000,
        "memory_bytes": 256 << 30, **given,
    }  # fmt: skip
    return Machine(**values)


MACHINES = (machine("small", 2), machine("big", 4))


def unhurried(settings: Settings) -> Settings:
    """A short grace for jobs, and no limit that a loaded machine could reach in real time."""
    return replace(
        settings, runner_grace_seconds=10, worker_patience_milliseconds=60_000, cluster_answer_seconds=600,
        graphql_working_max=200, graphql_seconds_max=600,
    )  # fmt: skip


class Yard(Furnishing):
    """The organisation of one test. Credits of a small accelerator-hour: 2 by day and night; big: 10, by night 4."""

    def __init__(self, database: Database, clock: SimulatedClock, settings: Settings) -> None:
        self.database = database
        self.clock = clock
        self.settings = unhurried(replace(settings, database_url=database.url))
        self.cluster = FakeCluster(clock, inventory=list(MACHINES))
        self.teams = {"maintenance": new_id(), "quality": new_id()}
        self.people = {name: new_id() for name in PEOPLE}
        self.package_id = new_id()
        self.dataset_id = new_id()
        self.dataset_version_id = new_id()
        self.model_id = new_id()
        roles = {name: RoleRules(frozenset(permissions), frozenset()) for name, permissions in ROLES.items()}
        bindings = {
            Subject(ActorKind.USER, self.people[name]): (Binding(role, None if team is None else self.teams[team]),)
            for name, (team, role) in PEOPLE.items()
        }
        teams = {key: name for name, key in self.teams.items()}
        self.policy = PolicySnapshot(PolicyRules(version=1, roles=roles, bindings=bindings, teams=teams))

    def copy(self, database: Database, clock: SimulatedClock, settings: Settings) -> "Yard":
        """The same organisation, with the same ids, in a clone of its database."""
        twin = copy.copy(self)
        twin.database, twin.clock = database, clock
        twin.cluster = FakeCluster(clock, inventory=list(MACHINES))
        twin.settings = unhurried(settings)
        return twin

    async def build(self, *, pools: Sequence[PoolSetting] = POOLS, credits: int = 10_000 * CREDIT) -> "Yard":
        at = self.clock.now()
        async with self.database.transaction() as session:
            await session.execute(
                insert(Team),
                [
                    {"id": key, "name": name, "title": name.title(), "created_at": at}
                    for name, key in self.teams.items()
                ],
            )
            await session.execute(
                insert(User),
                [
                    {"id": key, "name": name.title(), "email": f"{name}@example.org", "created_at": at}
                    for name, key in self.people.items()
                ],
            )
            programmes = [
                ProgrammeSetting("zero", "Zero defects", StrategicClass.A),
                ProgrammeSetting("later", "Later", StrategicClass.C),
            ]
            alla = self.actor("alla")
            await apply_programmes(session, alla, programmes, at=at, new_id=new_id)
            cluster_id = new_id()
            session.add(
                Cluster(
                    id=cluster_id,
                    name="here",
                    region="eu",
                    kind=ClusterKind.KUBERNETES.value,
                    created_at=at,
                    machines_at=at,
                )
            )
            await session.flush()
            await apply_pools(session, self.actor("root"), pools, at=at, new_id=new_id)
            await store_machines(session, cluster_id, MACHINES, new_id=new_id)
            prices = PriceListSetting(
                "prices", datetime(2020, 1, 1, tzinfo=UTC), list(_rates([pool.name for pool in pools]))
            )
            known = await pools_by_name(session)
            await apply_price_lists(session, alla, [prices], pools=known, at=at, new_id=new_id)
        for team in self.teams:
            for programme in ("zero", "later"):
                await self.allocate(team, programme, credits)
        await self._build_data()
        return self

    async def allocate(self, team: str, programme: str, credits: int, *, days: int = 90) -> UUID:
        async with self.database.transaction() as session:
            return await allocate_credits(
                session, self.actor("alla"), team=team, programme=programme, credits=credits,
                valid_from=self.clock.now(), valid_to=self.clock.now() + timedelta(days=days), reason="a test",
                at=self.clock.now(), new_id=new_id,
            )  # fmt: skip

    async def _build_data(self) -> None:
        at = self.clock.now()
        digest = sha256(b"abc").hexdigest()
        made = {"created_at": at, "created_by": self.people["anna"]}
        async with self.database.transaction() as session:
            await session.execute(insert(Purpose).values(name="quality", description="Better gauges.", created_at=at))
            await session.execute(
                insert(Package).values(
                    id=self.package_id, team_id=self.teams["maintenance"], sha256=digest, size_bytes=3, state="READY",
                    ready_at=at, **made,
                )
            )  # fmt: skip
            await session.execute(
                insert(Dataset).values(
                    id=self.dataset_id, team_id=self.teams["maintenance"], name="gauge-digits", description="Dials.",
                    visibility="ORGANISATION", classification="CONFIDENTIAL", licence="CC-BY-4.0",
                    legal_basis="contract", permitted_purposes=["quality"], regions=["eu"], **made,
                )
            )  # fmt: skip
            await session.execute(
                insert(DatasetVersion).values(
                    id=self.dataset_version_id, dataset_id=self.dataset_id, number=1, state="READY", columns=[],
                    rows=1797, ready_at=at, **made,
                )
            )  # fmt: skip
            for kind, owner, path in (
                ("PACKAGE", self.package_id, "package.tar.gz"),
                ("DATASET_VERSION", self.dataset_version_id, "digits.csv"),
            ):
                await session.execute(
                    insert(Artifact).values(
                        id=new_id(), owner_kind=kind, owner_id=owner, path=path, size_bytes=3, sha256=digest,
                        media_type="text/csv", state="STORED", created_at=at, stored_at=at,
                    )
                )  # fmt: skip
            self.model_id = await register_model(
                session, self.actor("anna"), team="maintenance", name="gauge-reader", task="image-classification",
                description="Reads gauges.", risk_tier=RiskTier.LOW, at=at, new_id=new_id,
            )  # fmt: skip

    async def grant(self, *, team: str = "maintenance", days: float = 30, **given: Any) -> UUID:
        """Access to the data set for a team; without a purpose the owning team's own."""
        grant_id, at = new_id(), self.clock.now()
        async with self.database.transaction() as session:
            await session.execute(
                insert(AccessGrant).values(
                    id=grant_id, basis="OWNERSHIP", beneficiary_team_id=self.teams[team], justification="a test",
                    valid_from=at, valid_to=at + timedelta(days=days), created_at=at, **given,
                )
            )  # fmt: skip
            await session.execute(
                insert(AccessGrantResource).values(
                    grant_id=grant_id, resource_kind="DATASET", resource_id=self.dataset_id
                )
            )
        return grant_id

    def actor(self, name: str) -> Actor:
        return Actor(kind=ActorKind.USER, id=self.people[name], name=name.title(), policy=self.policy)

    def job_actor(self, job: Job, attempt: Attempt) -> Actor:
        claims = JobClaims(job_id=job.id, attempt_id=attempt.id, team_id=job.team_id, submitted_by=job.created_by)
        return Actor(
            kind=ActorKind.JOB, id=job.id, name="job", policy=self.policy, on_behalf_of=job.created_by,
            team_id=job.team_id, job=claims,
        )  # fmt: skip

    def spec(self, name: str = "train", **given: Any) -> JobSpec:
        """One small accelerator for ten minutes, without inputs and output."""
        node: dict[str, Any] = {"accelerator": "l4", "accelerator_count": 1}
        for field in ("accelerator", "accelerator_count", "cpu", "memory_bytes"):
            if field in given:
                node[field] = given.pop(field)
        values: dict[str, Any] = {
            "name": name,
            "command": ("python", "train.py"),
            "package_id": self.package_id,
            "image": None,
            "inputs": (),
            "output": None,
            "nodes": 1,
            "walltime_seconds": 600,
            "tier": Tier.STANDARD,
            "start_by": self.clock.now() + timedelta(hours=24),
            "environment": (),
            **given,
        }
        return JobSpec(per_node=NodeSpec(**node), **values)

    @staticmethod
    def spec_without_package(spec: JobSpec) -> JobSpec:
        """As another team would ask for it, which cannot run Maintenance's package."""
        return replace(spec, package_id=None, image="registry.example.org/train:1")

    def digits(self, **given: Any) -> InputSpec:
        values = {"source_id": self.dataset_version_id, "mount_path": "data", "purpose": "quality", **given}
        return InputSpec(kind=InputKind.DATASET_VERSION, **values)

    def output(self) -> OutputSpec:
        return OutputSpec(model_id=self.model_id, path="model")

    async def quote(
        self,
        spec: JobSpec | None = None,
        *,
        by: str = "anna",
        team: str = "maintenance",
        programme: str = "zero",
        **given: Any,
    ) -> Quote:
        async with self.database.transaction() as session:
            quote_id = await request_quote(
                session, self.actor(by), team=team, programme=programme, job=spec or self.spec(),
                valid_seconds=900, grace_seconds=10, at=self.clock.now(), new_id=new_id, **given,
            )  # fmt: skip
        async with self.database.read() as session:
            return (await session.scalars(select(Quote).where(Quote.id == quote_id))).one()

    async def accept(self, quote_id: UUID, *, by: str = "anna") -> UUID:
        async with self.database.transaction() as session:
            return await accept_quote(session, self.actor(by), quote_id=quote_id, at=self.clock.now(), new_id=new_id)

    async def submit(self, spec: JobSpec | None = None, **given: Any) -> UUID:
        quote = await self.quote(spec, **given)
        return await self.accept(quote.id, by=given.get("by", "anna"))

    async def cancel(self, job_id: UUID, *, by: str = "anna", reason: str = "not needed") -> UUID:
        async with self.database.transaction() as session:
            return await cancel_job(
                session, self.actor(by), job_id=job_id, reason=reason, at=self.clock.now(), new_id=new_id
            )

    def context(self, owner: str = "worker-1", **given: Any) -> SchedulerContext:
        values: dict[str, Any] = {"reach": pass_by, "executors": {"here": self.cluster}, **given}
        return SchedulerContext(
            database=self.database, settings=self.settings, clock=self.clock, new_id=new_id, owner=owner, **values
        )

    async def cycle(self, seconds: float = 0, *, times: int = 1) -> None:
        """Let time pass, then run a cycle; so many times."""
        for _ in range(times):
            self.clock.advance(seconds=seconds)
            await run_cycle(self.context())

    async def succeed(self, launch: Launch, exit_code: int) -> None:
        """As a runner that tells its result."""
        outcome = "SUCCEEDED" if exit_code == 0 else "FAILED"
        result = {"outcome": outcome, "exitCode": exit_code, "signal": None, "code": "", "message": ""}
        async with self.database.transaction() as session:
            await session.execute(update(Attempt).where(Attempt.id == launch.attempt_id).values(result=result))

    async def job(self, job_id: UUID) -> Job:
        async with self.database.read() as session:
            return (await session.scalars(select(Job).where(Job.id == job_id))).one()

    async def attempt(self, job_id: UUID) -> Attempt:
        async with self.database.read() as session:
            return (await session.scalars(select(Attempt).where(Attempt.job_id == job_id))).one()

    async def states(self, job_id: UUID) -> list[str]:
        """The states that the job went through, as its events say."""
        async with self.database.read() as session:
            statement = select(JobEvent.state).where(JobEvent.job_id == job_id).order_by(JobEvent.id)
            rows = list(await session.scalars(statement))
        return [state for index, state in enumerate(rows) if index == 0 or rows[index - 1] != state]

    async def rows(self, table: type[Any], *where: Any) -> list[Any]:
        async with self.database.read() as session:
            return list(await session.scalars(select(table).where(*where)))

    async def count(self, table: type[Any]) -> int:
        async with self.database.read() as session:
            return int(await session.scalar(select(func.count()).select_from(table)) or 0)

    async def events(self, action: str) -> list[AuditEvent]:
        return await self.rows(AuditEvent, AuditEvent.action == action)

    async def assert_clean(self) -> None:
        """Nothing is left behind: no slot, no hold, no process, no token that counts, no launch that waits."""
        assert await self.count(SlotUse) == 0
        assert self.cluster.names() == set()
        assert await self.rows(Token, Token.revoked_at.is_(None)) == []
        assert await self.rows(OutboxRow, OutboxRow.done_at.is_(None), OutboxRow.topic != TOPIC) == []
        jobs = await self.rows(Job)
        resolved = {row.hold_id for row in await self.rows(HoldResolution)}
        assert {job.hold_id for job in jobs} == resolved
        assert all(job.captured + job.released == job.held for job in jobs)
        assert sum(row.held for row in await self.rows(Balance)) == 0
        assert await self.rows(RunInterval, RunInterval.ended_at.is_(None)) == []
        await self.assert_balanced()

    async def assert_balanced(self) -> None:
        async with self.database.read() as session:
            check = await check_ledger(session)
        assert check.balances, check

    async def pool_id(self, name: str) -> UUID:
        found: UUID = next(row.id for row in await self.rows(Pool, Pool.name == name))
        return found

    async def versions(self) -> list[ModelVersion]:
        return await self.rows(ModelVersion)


def _rates(pools: Sequence[str]) -> list[RateSetting]:
    night = HoursSetting(WEEKDAYS, "22:00", "06:00")
    rates = []
    for pool in pools:
        dear = 10 if pool == "big" else 2
        rates += [
            RateSetting(pool, Tier.STANDARD, dear * CREDIT),
            RateSetting(pool, Tier.GUARANTEED, 3 * dear * CREDIT),
        ]
        if pool == "big":
            rates.append(RateSetting(pool, Tier.STANDARD, 4 * CREDIT, night))
    return rates
