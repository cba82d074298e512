"""What was admitted and not started: by its latest start it is void, and nothing stays held by it."""

from datetime import timedelta

from scheduler.clusters.fake import FakeRun
from scheduler.clusters.tables import SlotUse
from scheduler.jobs.tables import RunInterval
from tests.scheduler.yard import Yard


class TestLatestStart:
    async def test_what_the_cluster_could_not_take_in_time_is_void_and_never_launched(self, yard: Yard) -> None:
        yard.cluster.deaf_to = frozenset({"launch"})
        job_id = await yard.submit(yard.spec(start_by=yard.clock.now() + timedelta(seconds=600)))
        await yard.cycle()
        yard.cluster.away = True
        await yard.cycle(700, times=2)
        assert (await yard.job(job_id)).state == "ADMITTED"  # it may run there: nobody knows yet
        yard.cluster.away = False
        await yard.cycle(10, times=3)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("EXPIRED", "NOT_STARTED_IN_TIME")
        assert job.state_message == "could not be started by 2026-03-02 08:10 UTC"
        assert (job.captured, job.released) == (0, job.held)
        stops = [event for event in await yard.events("scheduler:job:settle") if event.after == {"state": "STOPPING"}]
        assert [(stop.resource_ids, stop.justification) for stop in stops] == [([job_id], job.state_message)]
        assert yard.cluster.launches == {}
        assert await yard.states(job_id) == ["QUEUED", "ADMITTED", "STOPPING", "EXPIRED"]
        await yard.assert_clean()

    async def test_what_still_waits_for_its_container_is_stopped_and_costs_nothing(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(start_seconds=900, run_seconds=60)
        job_id = await yard.submit(yard.spec(start_by=yard.clock.now() + timedelta(seconds=600)))
        await yard.cycle(1, times=2)
        assert (await yard.job(job_id)).state == "STARTING"
        await yard.cycle(600)
        await yard.cycle(20, times=3)
        job = await yard.job(job_id)
        assert (job.state, job.state_code, job.captured) == ("EXPIRED", "NOT_STARTED_IN_TIME", 0)
        assert await yard.rows(RunInterval) == []
        await yard.assert_clean()

    async def test_what_was_started_in_time_while_the_cluster_was_away_goes_on(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(start_seconds=30, run_seconds=900)
        yard.cluster.on_end = yard.succeed
        spec = yard.spec(walltime_seconds=1800, start_by=yard.clock.now() + timedelta(seconds=600))
        job_id = await yard.submit(spec)
        await yard.cycle(1)
        yard.cluster.away = True
        await yard.cycle(700)
        assert (await yard.job(job_id)).state == "STARTING"
        yard.cluster.away = False
        await yard.cycle(1)
        assert (await yard.job(job_id)).state == "RUNNING"
        await yard.cycle(300)
        job = await yard.job(job_id)
        assert job.state == "SUCCEEDED"
        assert job.captured == 500_000  # 900 seconds of 2 credits an hour
        await yard.assert_clean()


class TestClusterAway:
    async def test_a_cancelled_job_lets_go_of_all_once_the_cluster_is_back(self, yard: Yard) -> None:
        yard.cluster.deaf_to = frozenset({"launch"})
        job_id = await yard.submit()
        await yard.cycle()
        yard.cluster.away = True
        await yard.cancel(job_id)
        await yard.cycle(400, times=15)
        assert len(await yard.rows(SlotUse)) == 1  # it may run there: nobody knows
        yard.cluster.away = False
        await yard.cycle(20, times=3)
        job = await yard.job(job_id)
        assert (job.state, job.captured, job.released) == ("CANCELLED", 0, job.held)
        assert await yard.rows(SlotUse) == []
        await yard.assert_balanced()
