"""What waits says why and until when; what does not start in time is void."""

from datetime import timedelta

from scheduler.clusters.fake import FakeRun
from scheduler.jobs.tables import JobEvent, RunInterval
from tests.scheduler.yard import Yard


class TestWaiting:
    async def test_of_two_that_do_not_fit_together_one_waits_and_says_why_and_until_when(self, yard: Yard) -> None:
        first = await yard.submit(yard.spec("first", accelerator_count=2))
        second = await yard.submit(yard.spec("second", accelerator_count=2))
        await yard.cycle()
        job = await yard.job(second)
        until = yard.clock.now() + timedelta(seconds=610)
        assert (job.state, job.state_code) == ("QUEUED", "WAITING_FOR_CAPACITY")
        assert job.state_message == (
            "waits for 2 of 2 accelerators of pool small until about 08:11 UTC, when job first ends at the latest"
        )
        assert job.waiting_until == job.predicted_start == until
        yard.cluster.on_end = yard.succeed
        await yard.cycle(61)
        assert (await yard.job(first)).state == "SUCCEEDED"
        job = await yard.job(second)
        assert (job.state, job.waiting_until) == ("STARTING", None)
        assert await yard.states(second) == ["QUEUED", "ADMITTED", "STARTING"]

    async def test_the_class_of_the_programme_goes_first(self, yard: Yard) -> None:
        later = await yard.submit(yard.spec("later", accelerator_count=2), programme="later")
        zero = await yard.submit(yard.spec("zero", accelerator_count=2), programme="zero")
        await yard.cycle()
        assert (await yard.job(zero)).state == "STARTING"
        assert (await yard.job(later)).state == "QUEUED"

    async def test_an_unchanged_reason_is_not_written_again(self, yard: Yard) -> None:
        await yard.submit(yard.spec("first", accelerator_count=2))
        second = await yard.submit(yard.spec("second", accelerator_count=2))
        await yard.cycle(times=2)
        before = len(await yard.rows(JobEvent, JobEvent.job_id == second))
        await yard.cycle(1, times=5)
        assert len(await yard.rows(JobEvent, JobEvent.job_id == second)) == before == 2

    async def test_what_did_not_start_in_time_is_void(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=3000)
        await yard.submit(yard.spec("first", accelerator_count=2, walltime_seconds=3600))
        start_by = yard.clock.now() + timedelta(seconds=1200)
        second = await yard.submit(yard.spec("second", accelerator_count=2, start_by=start_by))
        await yard.cycle()
        assert (await yard.job(second)).state_message.endswith(
            "; that is after its latest start, so that it may expire"
        )
        await yard.cycle(1200)
        job = await yard.job(second)
        assert (job.state, job.state_code) == ("EXPIRED", "NOT_STARTED_IN_TIME")
        assert (job.captured, job.released) == (0, job.held)
        yard.cluster.on_end = yard.succeed
        await yard.cycle(2000)
        await yard.assert_clean()

    async def test_who_lost_access_waits_and_goes_on_once_it_is_back(self, yard: Yard) -> None:
        await yard.grant(days=1 / 24)
        spec = yard.spec("reader", inputs=(yard.digits(),))
        job_id = await yard.submit(spec)
        yard.clock.advance(seconds=7200)
        await yard.cycle()
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("QUEUED", "ACCESS_ENDED")
        assert "Your access grant ended at 2026-03-02 09:00 UTC" in job.state_message
        assert "requestAccess" in job.state_message
        assert yard.cluster.launches == {}
        await yard.cycle(1)
        assert (await yard.job(job_id)).state_code == "ACCESS_ENDED"
        await yard.grant()
        await yard.cycle(1)
        assert (await yard.job(job_id)).state == "STARTING"

    async def test_a_refusal_at_admission_is_recorded_once(self, yard: Yard) -> None:
        await yard.grant(days=1 / 24)
        job_id = await yard.submit(yard.spec("reader", inputs=(yard.digits(),)))
        yard.clock.advance(seconds=7200)
        await yard.cycle(1, times=3)
        (event,) = await yard.events("registry:dataset:read")
        assert (event.outcome, event.purpose, event.reason_code) == ("REFUSED", "quality", "ACCESS_REFUSED")
        assert (event.actor_kind, event.on_behalf_of_id) == ("SYSTEM", yard.people["anna"])
        assert {yard.dataset_id, yard.dataset_version_id, job_id} == set(event.resource_ids)

    async def test_other_jobs_pass_one_that_lost_access(self, yard: Yard) -> None:
        await yard.grant(days=1 / 24)
        await yard.submit(yard.spec("reader", accelerator_count=2, inputs=(yard.digits(),)))
        other = await yard.submit(yard.spec("other", accelerator_count=2))
        yard.clock.advance(seconds=7200)
        await yard.cycle(1, times=2)
        assert (await yard.job(other)).state == "STARTING"


class TestLatestStart:
    async def test_a_container_that_started_too_late_is_void_whatever_it_did(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(start_seconds=700, run_seconds=500, stop_seconds=1)
        job_id = await yard.submit(yard.spec(start_by=yard.clock.now() + timedelta(seconds=600)))
        await yard.cycle()
        await yard.cycle(900)
        await yard.cycle(5)
        job = await yard.job(job_id)
        assert (job.state, job.captured) == ("EXPIRED", 0)
        assert len(await yard.rows(RunInterval)) == 1
        await yard.assert_clean()

    async def test_is_met_by_a_start_that_was_seen_late(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(start_seconds=599, run_seconds=500)
        yard.cluster.on_end = yard.succeed
        job_id = await yard.submit(yard.spec(start_by=yard.clock.now() + timedelta(seconds=600)))
        await yard.cycle()
        await yard.cycle(900)
        assert (await yard.job(job_id)).state == "RUNNING"
        await yard.cycle(300)
        assert (await yard.job(job_id)).state == "SUCCEEDED"
        await yard.assert_clean()
