"""The routes of the runner, from assignment to result, through the real application."""

import hashlib
import json
import math
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from guildhall.auth.tables import User
from guildhall.outbox.tables import OutboxRow
from registry.access.tables import AccessGrant
from registry.artifacts.tables import Artifact
from registry.datasets.tables import Classification, Dataset
from registry.lineage.tables import LineageEdge
from registry.models.tables import ModelMetric, ModelVersion
from scheduler.clusters.fake import FakeRun
from scheduler.clusters.runner_archive import runner_archive
from scheduler.http.bodies import BODY_BYTES_MAX
from scheduler.jobs.tables import AttemptReport, InputOpening, Job, JobEvent, JobMetric, JobOutput
from scheduler.runs import reporting
from scheduler.runs.logs import log_tail
from tests.scheduler.site import DIGITS, ENVIRONMENT, Runner, Site, line, report

MODEL = b"weights"


@pytest.fixture
async def job_id(site: Site) -> UUID:
    """A running job that reads the digits and makes a version of the gauge reader."""
    yard = site.yard
    await yard.grant()
    job_id = await yard.submit(yard.spec(inputs=(yard.digits(),), output=yard.output(), environment=(("EPOCHS", "3"),)))
    await yard.cycle()
    await yard.cycle(1)
    return job_id


def output(content: bytes = MODEL, **given: Any) -> dict[str, Any]:
    file = {"path": "model.bin", "sizeBytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return {"files": [file], "metrics": [], "parameters": {}, "card": {}, **given}


class TestArchive:
    async def test_is_the_runner_for_who_runs(self, site: Site, runner: Runner) -> None:
        answer = await site.client.get("/runner/v1/archive", headers=runner.headers)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
        assert answer.content == runner_archive()

    async def test_is_nobody_elses(self, site: Site, job_id: UUID, runner: Runner) -> None:
        person = Runner(site.client, site.tokens["anna"])
        answer = await person.client.get("/runner/v1/archive", headers=person.headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "PERMISSION_REFUSED")
        assert (await site.client.get("/runner/v1/archive")).status_code == 401
        await site.yard.cancel(job_id)
        await site.yard.cycle(20, times=2)
        assert (await site.client.get("/runner/v1/archive", headers=runner.headers)).status_code == 401


class TestAssignment:
    async def test_says_all_that_is_to_be_done(self, site: Site, job_id: UUID, runner: Runner) -> None:
        assignment = await runner.get("assignment")
        assert assignment["jobId"] == str(job_id)
        assert assignment["command"] == ["python", "train.py"]
        assert assignment["environment"] == {"EPOCHS": "3"}
        assert assignment["inputs"] == [
            {"index": 0, "kind": "DATASET_VERSION", "mountPath": "data", "purpose": "quality"}
        ]
        assert assignment["output"] == {"path": "model"}
        assert (assignment["attempt"], assignment["walltimeSeconds"]) == (1, 600)
        assert assignment["holdEndsAt"] == "2026-03-02T08:10:10+00:00"
        package = assignment["package"]
        assert (package["sizeBytes"], package["sha256"]) == (3, hashlib.sha256(DIGITS).hexdigest())
        assert (await runner.download(package["artifactUrl"])).content == DIGITS

    async def test_is_for_jobs_only(self, site: Site, runner: Runner) -> None:
        person = Runner(site.client, site.tokens["anna"])
        assert (await person.client.get("/runner/v1/assignment", headers=person.headers)).status_code == 403
        assert (await site.client.get("/runner/v1/assignment")).status_code == 401
        assert (await site.client.post("/runner/v1/assignment", headers=runner.headers)).status_code == 405


async def narrow_to(site: Site, column: str) -> None:
    """In place of the grant that there is, one for a column."""
    values = {"withdrawn_at": site.yard.clock.now(), "withdrawn_by": site.yard.people["anna"], "withdrawal_reason": "x"}
    async with site.yard.database.transaction() as session:
        await session.execute(update(AccessGrant).values(values))
    await site.yard.grant(columns=[column])


class TestInputs:
    async def test_are_served_and_each_read_is_recorded(self, site: Site, job_id: UUID, runner: Runner) -> None:
        (file,) = (await runner.post("inputs/0/open"))["files"]
        assert (file["path"], file["sizeBytes"]) == ("digits.csv", 3)
        assert (await runner.download(file["url"])).content == DIGITS
        started, completed = await site.yard.events("registry:dataset:read")
        assert {started.outcome, completed.outcome} == {"STARTED", "COMPLETED"}
        assert (started.actor_kind, started.actor_id, started.purpose) == ("JOB", job_id, "quality")
        assert started.on_behalf_of_id == site.yard.people["anna"]
        assert site.yard.dataset_id in started.resource_ids
        (opened,) = await site.yard.events("scheduler:job:report")
        assert opened.after == {"openedInput": 0}
        (row,) = await site.yard.rows(InputOpening)
        assert row.access_grant_id is not None

    async def test_read_by_another_right_later_each_stands_in_the_record(
        self, site: Site, job_id: UUID, runner: Runner
    ) -> None:
        await narrow_to(site, "abc")
        await runner.post("inputs/0/open")
        async with site.yard.database.transaction() as session:
            await session.execute(update(Dataset).values(classification="INTERNAL"))
            found = await session.scalars(select(Artifact.id).where(Artifact.owner_id == site.yard.dataset_version_id))
            url = f"/artifacts/{found.one()}"
        for _ in range(2):
            assert (await runner.download(url)).content == DIGITS
        openings = await site.yard.rows(InputOpening)
        assert {(row.index, row.access_grant_id is None) for row in openings} == {(0, False), (0, True)}
        assert len(openings) == 2
        assert (await site.yard.job(job_id)).state == "RUNNING"

    async def test_a_grant_that_was_withdrawn_is_refused_and_recorded(self, site: Site, runner: Runner) -> None:
        (file,) = (await runner.post("inputs/0/open"))["files"]
        now = site.yard.clock.now()
        async with site.yard.database.transaction() as session:
            await session.execute(
                update(AccessGrant).values(
                    withdrawn_at=now, withdrawn_by=site.yard.people["anna"], withdrawal_reason="over"
                )
            )
        status, code, message = await runner.refused("inputs/0/open")
        assert (status, code) == (403, "ACCESS_REFUSED")
        assert "was withdrawn" in message
        assert (await runner.download(file["url"])).status_code == 403
        refused = await site.yard.events("registry:dataset:read")
        assert [event.outcome for event in refused] == ["REFUSED", "REFUSED"]
        assert {event.purpose for event in refused} == {"quality"}

    async def test_of_a_narrowed_grant_only_the_part_is_told_and_staged(self, site: Site, runner: Runner) -> None:
        await narrow_to(site, "abc")
        content, digest = b"abc\n", hashlib.sha256(b"abc\n").hexdigest()
        (file,) = (await runner.post("inputs/0/open"))["files"]
        assert (file["sizeBytes"], file["sha256"]) == (len(content), digest)
        assert (await runner.download(file["url"])).content == content
        events = await site.yard.events("registry:dataset:read")
        assert [(event.after or {}).get("sha256") for event in events] == [digest, digest]

    async def test_a_file_that_cannot_be_narrowed_is_not_staged(self, site: Site, runner: Runner) -> None:
        await narrow_to(site, "salary")
        status, code, message = await runner.refused("inputs/0/open")
        assert (status, code) == (403, "ACCESS_REFUSED")
        assert "cannot be cut to them" in message
        (refused,) = await site.yard.events("registry:dataset:read")
        assert (refused.outcome, refused.purpose) == ("REFUSED", "quality")

    async def test_no_other_input_and_no_other_file(self, site: Site, runner: Runner) -> None:
        status, code, _ = await runner.refused("inputs/1/open")
        assert (status, code) == (404, "NOT_FOUND")
        other = await site.yard.add_dataset("other")
        (artifact,) = await site.yard.rows(Artifact, Artifact.owner_id == other)
        assert (await runner.download(f"/artifacts/{artifact.id}")).status_code == 403

    async def test_of_who_was_deactivated_are_read_no_more(self, site: Site, job_id: UUID, runner: Runner) -> None:
        (file,) = (await runner.post("inputs/0/open"))["files"]
        submitter, now = (await site.yard.job(job_id)).created_by, site.yard.clock.now()
        async with site.yard.database.transaction() as session:
            await session.execute(update(User).where(User.id == submitter).values(deactivated_at=now))
        assert (await runner.refused("inputs/0/open"))[:2] == (403, "ACCESS_REFUSED")
        answer = await runner.download(file["url"])
        assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "SUBMITTER_DEACTIVATED")
        assert "Anna, who submitted it, was deactivated" in answer.json()["error"]["message"]
        refused = await site.yard.events("registry:dataset:read")
        assert [(event.outcome, event.purpose) for event in refused] == [("REFUSED", "quality")] * 2
        assert await site.yard.count(InputOpening) == 1

    async def test_a_job_that_has_ended_reads_nothing_more(self, site: Site, runner: Runner) -> None:
        (file,) = (await runner.post("inputs/0/open"))["files"]
        await site.yard.cycle(400)
        assert (await runner.download(file["url"])).status_code == 401
        assert (await runner.send("inputs/0/open")).status_code == 401


class TestReports:
    async def test_are_kept_once_for_each_number(self, site: Site, job_id: UUID, runner: Runner) -> None:
        metric = {"name": "accuracy", "value": 0.9, "split": "test", "step": 3, "at": "2026-03-02T08:00:02+00:00"}
        body = report(
            1, logs=[line("one"), line("two", 2)], metrics=[metric], parameters={"depth": 4},
            progress={"fraction": 0.5, "message": "half"},
        )  # fmt: skip
        assert await runner.post("reports", body) == {"stop": False, "reason": None}
        await runner.post("reports", body)
        await runner.post("reports", report(2, logs=[line("three", 3)], parameters={"seed": 1}))
        assert len(await site.yard.rows(AttemptReport)) == 2
        (kept,) = await site.yard.rows(JobMetric)
        assert (kept.name, kept.value, kept.split, kept.step) == ("accuracy", 0.9, "test", 3)
        attempt = await site.yard.attempt(job_id)
        assert attempt.parameters == {"depth": 4, "seed": 1}
        assert attempt.progress == {"fraction": 0.5, "message": "half"}
        async with site.yard.database.read() as session:
            assert await session.scalar(select(log_tail(2)).where(Job.id == job_id)) == "two\nthree"

    @pytest.mark.parametrize("stated", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"])
    async def test_a_moment_that_cannot_be_is_that_of_the_report(self, site: Site, runner: Runner, stated: str) -> None:
        await runner.post("reports", report(1, metrics=[{"name": "accuracy", "value": 0.9, "at": stated}]))
        (kept,) = await site.yard.rows(JobMetric)
        assert kept.reported_at == site.yard.clock.now()

    async def test_tell_the_runner_to_stop(self, site: Site, job_id: UUID, runner: Runner) -> None:
        await site.yard.cancel(job_id)
        answer = await runner.post("reports", report(1))
        assert answer == {"stop": True, "reason": "cancelled by Anna: not needed"}

    async def test_odd_bytes_are_stored_as_text(self, site: Site, job_id: UUID, runner: Runner) -> None:
        lost = {"name": "loss", "value": math.nan}
        body = report(
            1, logs=[line("a\0b \ud800"), line("x" * 20_000, 2)], metrics=[lost], parameters={"a\0": "\ud800"}
        )
        content = json.dumps(body)
        response = await site.client.post("/runner/v1/reports", content=content, headers=runner.headers)
        assert response.status_code == 200, response.text
        assert (await site.yard.attempt(job_id)).parameters == {"a�": "?"}
        assert await site.yard.count(JobMetric) == 0
        (kept,) = await site.yard.rows(AttemptReport)
        assert kept.lines[0]["text"] == "a�b ?"
        assert len(kept.lines[1]["text"]) == reporting.LINE_CHARACTERS_MAX

    async def test_what_looks_like_a_token_is_not_kept(self, site: Site, runner: Runner) -> None:
        token = "ghj_" + "aB3" * 12
        lines = [line(f"using {token}!"), line("x" * (reporting.LINE_CHARACTERS_MAX - 9) + " " + token, 2)]
        await runner.post("reports", report(1, logs=[*lines, line("ghj_short", 3)]))
        (kept,) = await site.yard.rows(AttemptReport)
        assert kept.lines[0]["text"] == "using ghj_…(a token)!"
        assert kept.lines[1]["text"].endswith("x ghj_…(a ")
        assert kept.lines[2]["text"] == "ghj_short"

    async def test_a_log_has_an_end_and_says_so(
        self, site: Site, job_id: UUID, runner: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reporting, "LOG_BYTES_MAX", 10)
        await runner.post("reports", report(1, logs=[line("12345"), line("67890", 2), line("never", 3)]))
        await runner.post("reports", report(2, logs=[line("nor this", 4)]))
        async with site.yard.database.read() as session:
            tail = await session.scalar(select(log_tail(9)).where(Job.id == job_id))
        assert tail is not None
        assert tail.splitlines()[:2] == ["12345", "67890"]
        assert tail.splitlines()[2].startswith("[the log is full")
        assert len(tail.splitlines()) == 3

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (report(0), "INVALID_REPORT"),
            (report(1, metrics=[{"name": "", "value": 1}]), "INVALID_REPORT"),
            (report(1, metrics=[{"name": "a", "value": "x"}]), "INVALID_REPORT"),
            (report(1, metrics=[{"name": "a", "value": 1, "step": 2**40}]), "INVALID_REPORT"),
            (report(1, logs=[line("x")] * 1001), "INVALID_REPORT"),
            (report(1, progress={"fraction": None}), "INVALID_REPORT"),
            (report(1, parameters={"x": "y" * 70_000}), "INVALID_INPUT"),
            ({"sequence": "one"}, "BODY_INVALID"),
            ({}, "BODY_INVALID"),
        ],
    )
    async def test_of_a_wrong_shape_change_nothing(
        self, site: Site, runner: Runner, body: dict[str, Any], code: str
    ) -> None:
        status, refused, _ = await runner.refused("reports", body)
        assert (status, refused) == (400, code)
        assert await site.yard.count(AttemptReport) == 0
        assert await site.yard.count(JobMetric) == 0

    async def test_bodies_are_bounded(self, site: Site, runner: Runner) -> None:
        body = b'{"sequence": 1, "logs": [' + b" " * BODY_BYTES_MAX
        response = await site.client.post("/runner/v1/reports", content=body, headers=runner.headers)
        assert response.status_code == 413


class TestOutput:
    async def make(self, runner: Runner, content: bytes = MODEL) -> Any:
        answer = await runner.post("outputs", output())
        for upload in answer["uploads"]:
            await runner.upload(upload, content)
        return answer

    async def test_becomes_a_version_with_what_was_observed(self, site: Site, job_id: UUID, runner: Runner) -> None:
        yard = site.yard
        yard.cluster.on_end = yard.succeed
        await runner.post("inputs/0/open")
        await runner.post("started", ENVIRONMENT)
        await runner.post("started", ENVIRONMENT)
        first, last = ({"name": "accuracy", "value": value, "split": "test", "step": None} for value in (0.5, 0.97))
        await runner.post("reports", report(1, metrics=[first, last], parameters={"depth": 4}))
        answer = await self.make(runner)
        assert await runner.post("outputs/complete") == {"missing": []}
        assert await runner.post("outputs/complete") == {"missing": []}
        await runner.post("result", {"outcome": "SUCCEEDED", "exitCode": 0})
        await yard.cycle(400)
        job = await yard.job(job_id)
        assert job.state == "SUCCEEDED"
        (version,) = await yard.rows(ModelVersion)
        assert str(version.id) == answer["modelVersionId"]
        assert (version.status, version.number, version.parameters) == ("READY", 1, {"depth": 4})
        assert version.produced_by_job_id == job_id
        assert version.effective_classification == "CONFIDENTIAL"
        assert [(row.name, row.value, row.split) for row in await yard.rows(ModelMetric)] == [
            ("accuracy", 0.97, "test")
        ]
        edges = {(edge.kind, edge.basis) for edge in await yard.rows(LineageEdge)}
        assert edges == {(kind, "OBSERVED") for kind in ("TRAINED_ON", "BUILT_FROM", "RAN_IN", "PRODUCED_BY")}
        codes = [event.code for event in await yard.rows(JobEvent, JobEvent.job_id == job_id)]
        assert codes.count("COMMAND_STARTED") == codes.count("OUTPUT_REGISTERED") == 1
        assert await yard.rows(OutboxRow, OutboxRow.done_at.is_(None), OutboxRow.topic == "scheduler.launch") == []

    @pytest.mark.parametrize("opened_as", [Classification.CONFIDENTIAL, Classification.INTERNAL])
    async def test_grants_are_known_of_what_was_opened_under_one(
        self, site: Site, runner: Runner, opened_as: Classification
    ) -> None:
        """What was opened by role was read whole, though it is closed and granted when the output is announced."""
        yard = site.yard

        async def classify(classification: Classification) -> None:
            async with yard.database.transaction() as session:
                await session.execute(update(Dataset).values(classification=classification))

        (grant,) = await yard.rows(AccessGrant)
        await classify(opened_as)
        await runner.post("inputs/0/open")
        await classify(Classification.CONFIDENTIAL)
        await self.make(runner)
        (edge,) = await yard.rows(LineageEdge, LineageEdge.kind == "TRAINED_ON")
        assert edge.access_grant_ids == ([grant.id] if opened_as is Classification.CONFIDENTIAL else None)

    async def test_what_was_not_opened_is_not_in_the_lineage(self, site: Site, runner: Runner) -> None:
        await self.make(runner)
        assert "TRAINED_ON" not in {edge.kind for edge in await site.yard.rows(LineageEdge)}

    async def test_is_announced_once(self, site: Site, runner: Runner) -> None:
        first = await runner.post("outputs", output())
        second = await runner.post("outputs", output())
        assert first["modelVersionId"] == second["modelVersionId"]
        assert (await site.yard.count(ModelVersion), await site.yard.count(JobOutput)) == (1, 1)

    async def test_parts_that_arrived_are_told(self, site: Site, runner: Runner) -> None:
        await self.make(runner)
        (upload,) = (await runner.post("outputs", output()))["uploads"]
        assert upload["partsReceived"] == [1]

    async def test_other_bytes_than_announced_are_told_and_not_kept(
        self, site: Site, job_id: UUID, runner: Runner
    ) -> None:
        await self.make(runner, content=b"another")
        (missing,) = (await runner.post("outputs/complete"))["missing"]
        assert (missing["path"], missing["code"]) == ("model.bin", "DIGEST_MISMATCH")
        await site.yard.cycle(400)
        (version,) = await site.yard.rows(ModelVersion)
        assert (version.status, version.status_code) == ("ABANDONED", "JOB_ENDED")
        assert (await site.yard.job(job_id)).state == "FAILED"

    async def test_a_job_without_output_registers_none(self, site: Site) -> None:
        job_id = await site.yard.submit(site.yard.spec())
        await site.yard.cycle()
        runner = await site.runner(job_id)
        assert (await runner.refused("outputs", output()))[:2] == (409, "NO_OUTPUT")
        assert (await runner.refused("outputs/complete"))[:2] == (409, "NO_OUTPUT")
        assert await site.yard.count(ModelVersion) == 0


class TestResult:
    async def test_the_first_word_counts(self, site: Site, job_id: UUID, runner: Runner) -> None:
        first = {"outcome": "FAILED", "exitCode": 1, "signal": None, "code": "EXIT_CODE", "message": "ended with 1"}
        await runner.post("result", first)
        await runner.post("result", {"outcome": "SUCCEEDED", "exitCode": 0})
        assert (await site.yard.attempt(job_id)).result == first

    async def test_an_unknown_outcome_is_refused(self, site: Site, job_id: UUID, runner: Runner) -> None:
        assert (await runner.refused("result", {"outcome": "GREAT"}))[:2] == (400, "INVALID_REPORT")
        assert (await site.yard.attempt(job_id)).result is None

    async def test_the_runners_reason_is_told_where_the_platform_has_none(
        self, site: Site, job_id: UUID, runner: Runner
    ) -> None:
        site.yard.cluster.script = lambda _: FakeRun(run_seconds=300, exit_code=70)
        await runner.post("result", {"outcome": "FAILED", "code": "INPUT_REFUSED", "message": "no access"})
        await site.yard.cycle(400)
        job = await site.yard.job(job_id)
        assert (job.state, job.state_code, job.state_message) == ("FAILED", "INPUT_REFUSED", "no access")
