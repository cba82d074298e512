"""Jobs from the queue to their settlement, in simulated time on a fake cluster and a real database."""

from datetime import timedelta
from typing import Any

import pytest

from guildhall.auth.authorize import PermissionRefused
from guildhall.auth.tables import Token
from guildhall.errors import NotFound
from guildhall.outbox.tables import OutboxRow
from marketplace.tables import HoldResolution, Tier
from scheduler.clusters.executor import LaunchRefused
from scheduler.clusters.fake import FakeRun
from scheduler.clusters.tables import SlotUse
from scheduler.jobs.cancelling import JobEnded, ReasonMissing
from scheduler.jobs.tables import AttemptReport, Job, JobEvent, RunInterval
from tests.scheduler.furnishing import CREDIT
from tests.scheduler.yard import Yard

RATE = 2 * CREDIT
"""Of a small accelerator-hour."""


async def start(yard: Yard, **given: Any) -> Any:
    """A job that runs."""
    job_id = await yard.submit(**given)
    await yard.cycle()
    await yard.cycle(1)
    assert (await yard.job(job_id)).state == "RUNNING"
    return job_id


class TestSuccess:
    async def test_a_job_runs_and_pays_for_its_interval(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(start_seconds=5, run_seconds=90)
        yard.cluster.on_end = yard.succeed
        job_id = await yard.submit()
        await yard.cycle()
        assert (await yard.job(job_id)).state == "STARTING"
        await yard.cycle(10)
        assert (await yard.job(job_id)).state == "RUNNING"
        await yard.cycle(100)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("SUCCEEDED", "SUCCEEDED")
        assert job.held == 333_333
        assert job.captured == RATE * 90 // 3600
        assert job.released == job.held - job.captured
        assert await yard.states(job_id) == ["QUEUED", "ADMITTED", "STARTING", "RUNNING", "SUCCEEDED"]
        (interval,) = await yard.rows(RunInterval)
        assert (interval.ended_at - interval.started_at).total_seconds() == 90
        await yard.assert_clean()

    async def test_what_the_runner_printed_is_kept(self, yard: Yard) -> None:
        yard.cluster.on_end = yard.succeed
        await start(yard)
        await yard.cycle(60)
        (report,) = await yard.rows(AttemptReport)
        assert [line["text"] for line in report.lines] == [f"runner of {name}" for name in yard.cluster.launches]
        assert (report.sequence, report.lines[0]["stream"]) == (0, "platform")

    async def test_a_short_run_is_seen_only_after_its_end(self, yard: Yard) -> None:
        yard.cluster.on_end = yard.succeed
        yard.cluster.script = lambda _: FakeRun(run_seconds=3)
        job_id = await yard.submit()
        await yard.cycle()
        await yard.cycle(60)
        job = await yard.job(job_id)
        assert job.state == "SUCCEEDED"
        assert job.captured == round(RATE * 3 / 3600)
        await yard.assert_clean()

    async def test_the_token_counts_until_the_end(self, yard: Yard) -> None:
        await start(yard)
        (token,) = await yard.rows(Token)
        assert token.revoked_at is None
        assert token.expires_at > yard.clock.now() + timedelta(seconds=600)
        await yard.cycle(60)
        (token,) = await yard.rows(Token)
        assert token.revoked_at == yard.clock.now()


class TestFailure:
    async def test_an_exit_code_is_told_and_the_interval_paid(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=36, exit_code=3)
        job_id = await yard.submit()
        await yard.cycle(0, times=1)
        await yard.cycle(40)
        job, attempt = await yard.job(job_id), await yard.attempt(job_id)
        assert (job.state, job.state_code, job.state_message) == ("FAILED", "EXIT_CODE", "it ended with exit code 3")
        assert (attempt.state, attempt.exit_code, attempt.exit_reason_code) == ("ENDED", 3, "EXIT_CODE")
        assert job.captured == RATE * 36 // 3600
        await yard.assert_clean()

    async def test_exit_code_0_without_a_result_is_no_success(self, yard: Yard) -> None:
        job_id = await start(yard)
        await yard.cycle(60)
        assert (await yard.job(job_id)).state_code == "RESULT_MISSING"

    async def test_success_without_the_output_is_no_success(self, yard: Yard) -> None:
        yard.cluster.on_end = yard.succeed
        job_id = await start(yard, spec=yard.spec(output=yard.output()))
        await yard.cycle(60)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("FAILED", "OUTPUT_MISSING")

    async def test_a_refused_launch_costs_nothing(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(refusal=LaunchRefused("NO_SUCH_IMAGE", "there is no such image"))
        job_id = await yard.submit()
        await yard.cycle()
        await yard.cycle(1)
        job = await yard.job(job_id)
        assert (job.state, job.state_code, job.captured) == ("FAILED", "NO_SUCH_IMAGE", 0)
        (resolution,) = await yard.rows(HoldResolution)
        assert resolution.phase == "VOIDED"
        await yard.assert_clean()

    async def test_a_lost_node_is_paid_until_it_was_last_seen(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=500, lost_after_seconds=100)
        job_id = await start(yard)
        await yard.cycle(150)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("FAILED", "NODE_LOST")
        assert job.captured == RATE * 100 // 3600 + (1 if RATE * 100 % 3600 * 2 > 3600 else 0)
        await yard.assert_clean()

    async def test_what_was_deleted_by_hand_is_paid_until_it_was_last_seen(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        job_id = await start(yard)
        await yard.cycle(35)
        (name,) = yard.cluster.names()
        yard.cluster.forget(name)
        await yard.cycle(60)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("FAILED", "LOST")
        assert job.captured == RATE * 36 // 3600
        await yard.assert_clean()

    async def test_a_cluster_that_is_away_is_asked_again(self, yard: Yard) -> None:
        yard.cluster.on_end = yard.succeed
        yard.cluster.deaf_to = frozenset({"launch"})
        job_id = await yard.submit()
        await yard.cycle()
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("ADMITTED", "LAUNCH_DELAYED")
        yard.cluster.deaf_to = frozenset()
        await yard.cycle(5)
        assert (await yard.job(job_id)).state == "STARTING"
        await yard.cycle(100)
        assert (await yard.job(job_id)).state == "SUCCEEDED"
        await yard.assert_clean()

    async def test_a_cluster_that_answers_but_takes_no_launch_is_given_up_on(self, yard: Yard) -> None:
        job_id = await yard.submit()
        yard.cluster.deaf_to = frozenset({"launch"})
        await yard.cycle(400, times=13)
        assert (await yard.job(job_id)).state == "STOPPING"
        yard.cluster.deaf_to = frozenset()
        await yard.cycle(60)
        job = await yard.job(job_id)
        assert (job.state, job.state_code, job.captured) == ("FAILED", "LAUNCH_FAILED", 0)
        assert await yard.rows(SlotUse) == []
        assert await yard.rows(OutboxRow, OutboxRow.given_up_at.is_(None), OutboxRow.topic == "scheduler.launch") == []
        await yard.assert_balanced()


class TestWalltime:
    async def test_a_job_over_its_walltime_is_stopped_and_pays_for_what_it_used(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=5000, stop_seconds=4)
        job_id = await start(yard, spec=yard.spec(walltime_seconds=100, accelerator="h100"))
        await yard.cycle(99)
        assert (await yard.job(job_id)).state == "STOPPING"
        told = (await yard.events("scheduler:job:settle"))[-1]
        assert (told.actor_kind, told.resource_ids, told.after) == ("SYSTEM", [job_id], {"state": "STOPPING"})
        assert told.justification == "its walltime of 100 seconds is over"
        await yard.cycle(10)
        job = await yard.job(job_id)
        assert (job.state, job.state_code) == ("TIMED_OUT", "WALLTIME_REACHED")
        (interval,) = await yard.rows(RunInterval)
        assert (interval.ended_at - interval.started_at).total_seconds() == 104
        assert job.captured == job.held == round(10 * CREDIT * 100 / 3600)  # never more than the hold
        await yard.assert_clean()

    async def test_a_stop_that_the_cluster_did_not_act_on_is_repeated(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=5000, stop_seconds=4)
        job_id = await start(yard, spec=yard.spec(walltime_seconds=100))
        yard.cluster.away = True
        await yard.cycle(100)
        assert (await yard.attempt(job_id)).stopped_at is None
        yard.cluster.away = False
        await yard.cycle(10)
        await yard.cycle(10)
        assert (await yard.job(job_id)).state == "TIMED_OUT"
        await yard.assert_clean()


class TestCancel:
    async def test_a_waiting_job_ends_at_once_and_costs_nothing(self, yard: Yard) -> None:
        job_id = await yard.submit()
        await yard.cancel(job_id)
        job = await yard.job(job_id)
        assert (job.state, job.state_message) == ("CANCELLED", "cancelled by Anna: not needed")
        assert (job.captured, job.released) == (0, job.held)
        await yard.cycle()
        assert yard.cluster.launches == {}
        await yard.assert_clean()

    async def test_a_running_job_pays_for_its_interval(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=500, stop_seconds=2)
        job_id = await start(yard)
        yard.clock.advance(seconds=33)
        await yard.cancel(job_id)
        assert (await yard.job(job_id)).state == "STOPPING"
        await yard.cycle()
        await yard.cycle(5)
        job = await yard.job(job_id)
        assert (job.state, job.captured) == ("CANCELLED", RATE * 36 // 3600)
        await yard.assert_clean()

    async def test_a_job_that_ended_well_before_the_stop_reached_it_has_succeeded(self, yard: Yard) -> None:
        yard.cluster.on_end = yard.succeed
        job_id = await start(yard)
        yard.clock.advance(seconds=70)
        await yard.cancel(job_id)
        await yard.cycle()
        assert (await yard.job(job_id)).state == "SUCCEEDED"

    async def test_an_admitted_job_is_never_launched(self, yard: Yard) -> None:
        yard.cluster.deaf_to = frozenset({"launch"})
        job_id = await yard.submit()
        await yard.cycle()
        assert (await yard.job(job_id)).state == "ADMITTED"
        await yard.cancel(job_id)
        yard.cluster.deaf_to = frozenset()
        await yard.cycle(5)
        await yard.cycle(5)
        job = await yard.job(job_id)
        assert (job.state, job.captured) == ("CANCELLED", 0)
        assert yard.cluster.launches == {}
        await yard.assert_clean()

    async def test_cancelling_twice_changes_nothing_more(self, yard: Yard) -> None:
        job_id = await yard.submit()
        await yard.cancel(job_id)
        events = await yard.count(JobEvent)
        assert await yard.cancel(job_id) == job_id
        assert await yard.count(JobEvent) == events

    async def test_an_ended_job_stays_as_it_ended(self, yard: Yard) -> None:
        yard.cluster.on_end = yard.succeed
        job_id = await start(yard)
        await yard.cycle(100)
        with pytest.raises(JobEnded):
            await yard.cancel(job_id)
        assert (await yard.job(job_id)).state == "SUCCEEDED"

    async def test_only_who_may_and_only_for_a_reason(self, yard: Yard) -> None:
        job_id = await yard.submit()
        with pytest.raises(PermissionRefused):
            await yard.cancel(job_id, by="vera")
        with pytest.raises(NotFound):
            await yard.cancel(job_id, by="quinn")
        with pytest.raises(ReasonMissing):
            await yard.cancel(job_id, reason="  ")
        assert (await yard.job(job_id)).state == "QUEUED"
        assert await yard.count(HoldResolution) == 0


class TestMoney:
    async def test_a_run_over_a_rate_boundary_pays_each_part_at_its_rate(self, yard: Yard) -> None:
        yard.clock.advance(hours := timedelta(hours=13, minutes=50))  # 21:50, the night begins at 22:00
        assert hours
        yard.cluster.script = lambda _: FakeRun(run_seconds=1200)
        yard.cluster.on_end = yard.succeed
        job_id = await yard.submit(yard.spec(accelerator="h100", walltime_seconds=1800))
        await yard.cycle()
        await yard.cycle(1300)
        job = await yard.job(job_id)
        assert job.captured == round((10 * 600 + 4 * 600) * CREDIT / 3600)

    async def test_a_dearer_tier_costs_what_the_quote_said(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=60)
        yard.cluster.on_end = yard.succeed
        job_id = await yard.submit(yard.spec(tier=Tier.GUARANTEED))
        await yard.cycle()
        await yard.cycle(100)
        assert (await yard.job(job_id)).captured == 6 * CREDIT * 60 // 3600

    async def test_each_act_is_in_the_audit_record(self, yard: Yard) -> None:
        yard.cluster.on_end = yard.succeed
        job_id = await start(yard)
        await yard.cycle(100)
        settled = [event.after for event in await yard.events("scheduler:job:settle")]
        assert [(after or {})["state"] for after in settled] == ["ADMITTED", "SUCCEEDED"]
        (submitted,) = await yard.events("scheduler:job:submit")
        assert job_id in submitted.resource_ids
        assert submitted.actor_id == yard.people["anna"]

    async def test_jobs_keep_their_own_book(self, yard: Yard) -> None:
        yard.cluster.on_end = yard.succeed
        for number in range(3):
            await yard.submit(yard.spec(f"job-{number}"))
        await yard.cycle()
        await yard.cycle(100)
        await yard.cycle(100)
        assert {job.state for job in await yard.rows(Job)} == {"SUCCEEDED"}
        await yard.assert_clean()
