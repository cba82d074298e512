"""What jobs run on and leave behind: clusters, machines, pools, prices, waiting and running jobs, environments."""

from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import select

from guildhall.auth.tables import ServiceAccount
from guildhall.clock import new_id
from marketplace.ledger import place_hold, refund, return_credits, send_credits
from marketplace.tables import Allocation, HoldResolution, Period, PriceList, Quote, Rate, Tier
from registry.artifacts.tables import Package
from registry.datasets.tables import DatasetVersion
from registry.lineage.tables import EdgeBasis, EdgeKind, Environment, LineageEdge, NodeKind
from registry.models.tables import ModelVersion
from scheduler.clusters.tables import Cluster, ClusterKind, ClusterState, MachineRow, Pool, SlotUse
from scheduler.jobs.states import AttemptState, JobState
from scheduler.jobs.tables import Attempt, AttemptReport, Job, JobEvent, JobInput, JobMetric, RunInterval
from tests.guildhall.graphql.oracle.strewing import Strewing

HELD = 1_000_000
HOUR = timedelta(hours=1)


class Fleet(Strewing):
    """Rows beside those of the story's pool and jobs."""

    async def strew(self) -> None:
        """All of it; the caller commits."""
        await self._meet()
        pools = [pool for state in ClusterState for pool in await self._cluster(state)]
        await self._prices(pools)
        story = (await self._session.scalars(select(Job).where(Job.state == JobState.SUCCEEDED.value))).first()
        assert story is not None, "the story has a job that ended well"
        await self._credits(story)
        waiting = {"state": "QUEUED", "state_code": "NO_CAPACITY", "waiting_until": self._at + HOUR, "pool_id": None}
        await self._job(story, {**waiting, "predicted_start": self._at + HOUR})
        running = await self._job(story, {"state": "RUNNING", "pool_id": pools[0], "started_at": self._at - HOUR})
        await self._attempt(running, pools[0])
        await self._sources(story)

    async def _cluster(self, state: ClusterState) -> list[UUID]:
        draw, name = self._random, state.value.lower()
        away = state is not ClusterState.READY
        cluster = Cluster(
            id=new_id(),
            name=f"scattered-{name}",
            region="eu-local",
            carbon_grams_per_kwh=draw.choice((None, 300)),
            kind=ClusterKind.KUBERNETES.value,
            created_at=self._moment(),
            state=state.value,
            state_code="TOLD" if away else None,
            state_message=self._text() if away else None,
            version=draw.choice((None, "v1.37.1")),
            jobs_lost_after_seconds=draw.choice((None, 600)),
            observed_at=draw.choice((None, self._moment())),
            seen_at=draw.choice((None, self._moment())),
        )
        pools = [self._pool(cluster, name, number) for number in range(2)]
        machines = [self._machine(cluster, number, [pool.id for pool in pools]) for number in range(3)]
        await self._add(cluster)
        await self._add(*pools, *machines)
        return [pool.id for pool in pools]

    def _pool(self, cluster: Cluster, name: str, number: int) -> Pool:
        return Pool(
            id=new_id(),
            cluster_id=cluster.id,
            name=f"scattered-{name}-{number}",
            accelerator="sim-h200",
            slots=16 * number,
            nodes=2 * number,
            slots_per_node=8,
            watts_per_accelerator=700,
            walltime_seconds_max=86_400,
            accelerator_resource=self._random.choice((None, "nvidia.com/gpu")),
            node_selector=self._random.choice(({}, {"zone": "a", "accelerator": "h200"})),
            tolerations=[],
            image=self._random.choice((None, "registry.example/image:1")),
            created_at=self._moment(),
        )

    def _machine(self, cluster: Cluster, number: int, pools: list[UUID]) -> MachineRow:
        schedulable = self._random.random() < 0.6
        return MachineRow(
            id=new_id(),
            cluster_id=cluster.id,
            name=f"node-{number}",
            labels={},
            taints=[],
            schedulable=schedulable,
            reason=None if schedulable else self._text(),
            accelerators=self._random.choice(({}, {"nvidia.com/gpu": 8, "amd.com/gpu": 4})),
            foreign_accelerators=self._random.choice(({}, {"nvidia.com/gpu": 2})),
            cpu_millis=96_000,
            memory_bytes=2**40,
            pool_ids=pools,
        )

    async def _prices(self, pools: list[UUID]) -> None:
        """With hours of the week, over midnight too; an older list has ended."""
        begins = self._at - timedelta(days=9)
        for name, ends in (("scattered-now", None), ("scattered-then", self._at - timedelta(days=1))):
            listed = PriceList(id=new_id(), name=name, valid_from=begins, valid_to=ends, created_at=begins)
            await self._add(listed)
            for pool in pools:
                for position, hours in enumerate(((None, None, None), ([1, 7], 1320, 360), ([3], 0, 1440))):
                    rate = Rate(
                        id=new_id(),
                        price_list_id=listed.id,
                        pool_id=pool,
                        tier=self._random.choice(list(Tier)).value,
                        position=position,
                        days=hours[0],
                        from_minute=hours[1],
                        to_minute=hours[2],
                        credits_per_hour=self._random.choice((0, 1, 36_000_000)),
                        valid_from=begins,
                        valid_to=ends,
                    )
                    await self._add(rate)

    async def _credits(self, job: Job) -> None:
        """Transfers of the kinds that the story has none of; a period that is over."""
        begins = self._at - timedelta(days=90)
        await self._add(Period(id=new_id(), name="then", starts_at=begins, ends_at=self._at, created_at=begins))
        of_team = select(Allocation.id).where(Allocation.team_id == job.team_id)
        allocation = (await self._session.scalars(of_team)).one()
        other = next(team for team in self._teams if team != job.team_id)
        await return_credits(
            self._session,
            allocation_id=allocation,
            credits=HELD,
            reason=self._text(),
            at=self._at,
            key="oracle: return",
        )
        await send_credits(
            self._session,
            allocation_id=allocation,
            to_team_id=other,
            credits=HELD,
            reason=self._text(),
            at=self._at,
            key="oracle: send",
        )
        captured = select(HoldResolution.captured).where(HoldResolution.hold_id == job.hold_id)
        if await self._session.scalar(captured):
            await refund(
                self._session, hold_id=job.hold_id, credits=1, reason=self._text(), at=self._at, key="oracle: refund"
            )

    async def _job(self, story: Job, changed: dict[str, Any]) -> UUID:
        """The story's job again, with a quote and a hold of its own, as it is before its end."""
        nothing = {"job_id": None, "accepted_at": None}
        quote = await self._again(Quote, story.quote_id, nothing)
        hold, state = new_id(), changed["state"]
        await place_hold(
            self._session,
            hold_id=hold,
            team_id=story.team_id,
            programme_id=story.programme_id,
            credits=HELD,
            job_id=None,
            at=self._at,
            expires_at=self._at + 24 * HOUR,
            key=f"oracle: {state}",
        )
        program = await self._session.scalar(select(ServiceAccount.id))
        unended = dict.fromkeys(("waiting_until", "started_at", "ended_at", "settled_at", "predicted_start"))
        made = await self._again(
            Job,
            story.id,
            {
                **unended,
                "quote_id": quote,
                "hold_id": hold,
                "launch_outbox_id": new_id(),
                "name": state.lower(),
                "state_message": self._text(),
                "held": HELD,
                "captured": 0,
                "released": 0,
                "created_by_kind": "SERVICE_ACCOUNT",
                "created_by": program,
                **changed,
            },
        )
        version = await self._session.scalar(select(ModelVersion.id).order_by(ModelVersion.id))
        await self._add(
            JobInput(
                job_id=made, index=0, kind="MODEL_VERSION", source_id=version, mount_path="base", purpose="testing"
            ),
            JobEvent(
                id=new_id(),
                job_id=made,
                occurred_at=self._at,
                from_state=None,
                state=state,
                code="TOLD",
                message=self._text(),
            ),
        )
        return made

    async def _attempt(self, job: UUID, pool: UUID) -> None:
        """One that was lost, and one that runs."""
        for number in (1, 2):
            lost = number == 1
            attempt = Attempt(
                id=new_id(),
                job_id=job,
                number=number,
                name=f"scattered-{number}",
                pool_id=pool,
                slot_indexes=[number],
                machines=["node-0"],
                spec_hash="0",
                state=(AttemptState.LOST if lost else AttemptState.RUNNING).value,
                created_at=self._moment(),
                started_at=self._at - HOUR,
                ended_at=self._at if lost else None,
                exit_code=137 if lost else None,
                exit_reason_code="LOST" if lost else None,
                exit_reason_message=self._text() if lost else None,
                parameters=None if lost else {"epochs": 3, "☃": [None, 1.5]},
                progress=None if lost else {"fraction": 0.25, "message": self._text()},
            )
            await self._add(attempt)
            lines = [{"at": self._at.isoformat(), "stream": "stdout", "text": self._text()} for _ in range(3)]
            await self._add(
                AttemptReport(attempt_id=attempt.id, sequence=1, received_at=self._at, lines=lines),
                RunInterval(
                    id=new_id(),
                    attempt_id=attempt.id,
                    source_uid=f"scattered-{number}",
                    started_at=self._at - HOUR,
                    ended_at=self._at if lost else None,
                ),
                *(
                    JobMetric(
                        id=new_id(),
                        attempt_id=attempt.id,
                        sequence=step,
                        name="loss",
                        value=1 / (1 + step),
                        split=self._random.choice((None, "heldout")),
                        step=step,
                        reported_at=self._moment(),
                    )
                    for step in range(3)
                ),
                *([] if lost else [SlotUse(pool_id=pool, slot=number, attempt_id=attempt.id)]),
            )

    async def _sources(self, story: Job) -> None:
        """Edges of every kind, from versions that are not sources of anything yet."""
        packages = {"python": "3.11.9", "platform": "linux", "packages": {"numpy": "2.1", "naïve": "0"}}
        digest = sha256(self._text().encode()).hexdigest()
        environment = Environment(id=new_id(), digest=digest, description=packages, created_at=self._moment())
        await self._add(environment)
        package = await self._session.scalar(select(Package.id))
        models = list(await self._session.scalars(select(ModelVersion.id).order_by(ModelVersion.id.desc()).limit(4)))
        data = list(await self._session.scalars(select(DatasetVersion.id).order_by(DatasetVersion.id.desc()).limit(2)))
        edges = [
            (kind, made_kind, made, source_kind, source)
            for made_kind, made in (
                *((NodeKind.MODEL_VERSION, key) for key in models),
                (NodeKind.DATASET_VERSION, data[0]),
            )
            for kind, source_kind, source in (
                (EdgeKind.RAN_IN, NodeKind.ENVIRONMENT, environment.id),
                (EdgeKind.BUILT_FROM, NodeKind.PACKAGE, package),
                (EdgeKind.PRODUCED_BY, NodeKind.JOB, story.id),
            )
        ]
        edges.append((EdgeKind.DERIVED_FROM, NodeKind.DATASET_VERSION, data[0], NodeKind.DATASET_VERSION, data[1]))
        for kind, made_kind, made, source_kind, source in edges:
            edge = LineageEdge(
                id=new_id(),
                kind=kind.value,
                from_kind=made_kind.value,
                from_id=made,
                to_kind=source_kind.value,
                to_id=source,
                basis=self._random.choice(list(EdgeBasis)).value,
                job_id=story.id,
                created_at=self._moment(),
            )
            await self._add(edge)
