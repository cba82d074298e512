"""Clusters that do not answer, or refuse: they admit nothing and say so, lose nothing, and delay no other."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from guildhall.errors import InvalidInput
from marketplace.tables import Quote
from scheduler.clusters.executor import ClusterRefuses, Observation
from scheduler.clusters.fake import FakeCluster, FakeRun
from scheduler.clusters.pool_settings import PoolSetting
from scheduler.clusters.tables import Cluster, Pool, SlotUse
from scheduler.cycle import run_cycle
from scheduler.jobs.tables import JobEvent
from tests.scheduler.test_configuration import apply
from tests.scheduler.yard import Yard


class Refusing(FakeCluster):
    """Its token has expired."""

    async def observe(self) -> list[Observation]:
        raise ClusterRefuses("it does not accept these credentials.\nmore")


class Hanging(FakeCluster):
    """Takes every question and answers none."""

    async def observe(self) -> list[Observation]:
        await asyncio.Event().wait()
        raise AssertionError


async def with_another_cluster(yard: Yard, *, accelerator: str) -> FakeCluster:
    """Pool spare at cluster there, which at the same price comes after the pools of here."""
    await apply(yard, PoolSetting(name="spare", cluster="there", region="eu", accelerator=accelerator, slots=1))
    async with yard.database.transaction() as session:
        await yard.reprice(session, factor=1, pools=["small", "big", "spare"])
    return FakeCluster(yard.clock, script=lambda _: FakeRun(run_seconds=500))


async def cluster(yard: Yard, name: str = "here") -> Any:
    (row,) = await yard.rows(Cluster, Cluster.name == name)
    return row


def die_once_admitted(point: str) -> None:
    """A worker that ends between an admission and its launch."""
    if point == "admit.committed":
        raise ConnectionError


class TestAdmission:
    async def test_stops_and_says_so(self, yard: Yard) -> None:
        await yard.cycle()
        job_id = await yard.submit()
        yard.cluster.away = True
        await yard.cycle(1)
        here = await cluster(yard)
        assert (here.state, here.state_code) == ("UNREACHABLE", "CLUSTER_UNREACHABLE")
        assert here.state_message == "it has not answered since 2026-03-02 08:00 UTC: connection refused"
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("QUEUED", "CLUSTER_UNREACHABLE")
        assert job.state_message == (
            "nothing starts at cluster here for now: it has not answered since 2026-03-02 08:00 UTC: connection refused"
        )
        yard.cluster.away = False
        await yard.cycle(1)
        here = await cluster(yard)
        assert (here.state, here.state_code, here.seen_at) == ("READY", None, yard.clock.now())
        assert (await yard.job(job_id)).state == "STARTING"

    async def test_stops_where_we_are_refused(self, yard: Yard) -> None:
        job_id = await yard.submit()
        yard.cluster = Refusing(yard.clock)
        await yard.cycle(1)
        here = await cluster(yard)
        assert (here.state, here.state_code) == ("REFUSING", "CLUSTER_REFUSES")
        assert here.state_message == "it refuses us: it does not accept these credentials"
        assert (await yard.job(job_id)).state_code == "CLUSTER_UNREACHABLE"

    async def test_goes_where_a_cluster_answers(self, yard: Yard) -> None:
        """A job that may run at either starts at the other; one that was given to the first stays there."""
        other = await with_another_cluster(yard, accelerator="l4")
        both = yard.context(executors={"here": yard.cluster, "there": other})
        yard.cluster.script = lambda _: FakeRun(start_seconds=5_000)
        first = await yard.submit()
        await run_cycle(both)
        second = await yard.submit()
        yard.cluster.away = True
        yard.clock.advance(seconds=1)
        await run_cycle(both)
        assert [launch.job_id for launch in yard.cluster.launches.values()] == [first]
        assert [launch.job_id for launch in other.launches.values()] == [second]
        assert (await yard.job(first)).state == "STARTING"


class TestWhatWasGivenToIt:
    async def test_is_neither_lost_nor_moved(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=5_000)
        running = await yard.submit(yard.spec(walltime_seconds=7_000))
        await yard.cycle(1, times=2)
        yard.cluster.deaf_to = frozenset({"launch"})
        admitted = await yard.submit()
        await yard.cycle(1)
        yard.cluster.away = True
        await yard.cycle(1_200, times=3)
        assert (await yard.job(running)).state == "RUNNING"
        job = await yard.job(admitted)
        assert (job.state, job.state_code) == ("ADMITTED", "CLUSTER_UNREACHABLE")
        told = [event.code for event in await yard.rows(JobEvent, JobEvent.job_id == admitted)]
        assert told == ["QUEUED", "ADMITTED", "LAUNCH_DELAYED", "CLUSTER_UNREACHABLE"]
        yard.cluster.away, yard.cluster.deaf_to = False, frozenset()
        await yard.cycle(5, times=2)
        assert (await yard.job(running)).state == "RUNNING"
        assert (await yard.job(admitted)).state in {"STARTING", "RUNNING"}

    @pytest.mark.parametrize("end", ["cancel", "expire"])
    async def test_ends_at_once_where_nobody_has_begun_its_launch(self, yard: Yard, end: str) -> None:
        """Admitted, and then the cluster was away before it was asked: it cannot have the job."""
        await yard.cycle()
        job_id = await yard.submit()
        with pytest.raises(ConnectionError):
            await run_cycle(yard.context(reach=die_once_admitted))
        yard.cluster.away = True
        await yard.cycle(1)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("ADMITTED", "CLUSTER_UNREACHABLE")
        if end == "cancel":
            await yard.cancel(job_id)
        else:
            await yard.cycle(25 * 3600)
        job = await yard.job(job_id)
        assert job.state == ("CANCELLED" if end == "cancel" else "EXPIRED")
        assert (job.captured, job.released) == (0, job.held)
        assert await yard.rows(SlotUse) == []
        attempt = await yard.attempt(job_id)
        assert (attempt.state, attempt.removed_at) == ("REFUSED", yard.clock.now())
        await yard.assert_balanced()
        yard.cluster.away = False
        await yard.cycle(5, times=2)
        assert yard.cluster.launches == {}

    async def test_is_stopped_where_a_launch_may_have_come_through(self, yard: Yard) -> None:
        yard.cluster.deaf_to = frozenset({"launch"})
        job_id = await yard.submit()
        await yard.cycle(1, times=2)
        yard.cluster.away = True
        await yard.cycle(1)
        await yard.cancel(job_id)
        await yard.cycle(1)
        job = await yard.job(job_id)
        assert (job.state, job.settled_at) == ("STOPPING", None)
        yard.cluster.away, yard.cluster.deaf_to = False, frozenset()
        await yard.cycle(5, times=3)
        job = await yard.job(job_id)
        assert (job.state, job.captured, job.released) == ("CANCELLED", 0, job.held)

    async def test_counts_as_lost_where_the_rule_says_after_how_long(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=50_000)
        job_id = await yard.submit(yard.spec(walltime_seconds=7_000))
        await yard.cycle(1, times=2)
        async with yard.database.transaction() as session:
            await session.execute(update(Cluster).values(jobs_lost_after_seconds=600))
        yard.cluster.away = True
        await yard.cycle(500)
        assert (await yard.job(job_id)).state == "RUNNING"
        await yard.cycle(101, times=2)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("FAILED", "CLUSTER_LOST")
        assert job.state_message == "its cluster here has not answered for 600 seconds"
        assert job.captured == round(2_000_000 / 3600)  # until it was last seen, a second after its start
        assert await yard.rows(SlotUse) == []
        assert yard.cluster.names() != set()
        yard.cluster.away = False
        await yard.cycle(5, times=2)
        await yard.assert_clean()  # what ran on there was ended, and nothing more was charged


class TestOthers:
    async def test_are_not_delayed_by_one_that_hangs(self, yard: Yard) -> None:
        """The first cluster never answers; the second goes on, cycle after cycle, while the first is waited for."""
        hanging = Hanging(yard.clock)
        other = await with_another_cluster(yard, accelerator="b200")
        yard.settings = replace(yard.settings, worker_patience_milliseconds=20, cluster_answer_seconds=600)
        context = yard.context(executors={"here": hanging, "there": other})
        job_id = await yard.submit(yard.spec(accelerator="b200"))
        for _ in range(20):
            yard.clock.advance(seconds=1)
            await run_cycle(context)
        assert (await yard.job(job_id)).state == "RUNNING"
        assert context.lanes.busy() == 1
        await context.lanes.close()

    async def test_one_that_hangs_is_away_after_its_time(self, yard: Yard) -> None:
        yard.cluster = Hanging(yard.clock)
        yard.settings = replace(yard.settings, cluster_answer_seconds=1)
        await yard.cycle()
        here = await cluster(yard)
        assert (here.state, here.state_message) == (
            "UNREACHABLE",
            "it has not answered: it did not answer within 1 seconds",
        )


class TestQuotes:
    async def test_leave_its_pools_out(self, yard: Yard) -> None:
        yard.cluster.away = True
        await yard.cycle()
        with pytest.raises(InvalidInput) as caught:
            await yard.quote()
        assert [(problem.code, problem.message) for problem in caught.value.problems] == [
            (
                "CLUSTER_UNREACHABLE",
                "No pool can run this job. small: waits for its cluster here: it has not answered: connection refused.",
            )
        ]
        assert await yard.count(Quote) == 0
        assert [pool.slots for pool in await yard.rows(Pool, Pool.name == "small")] == [2]
        yard.cluster.away = False
        await yard.cycle(1)
        assert (await yard.quote()).start_by == yard.clock.now() + timedelta(hours=24)
