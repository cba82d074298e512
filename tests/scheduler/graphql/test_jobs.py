"""Pools, quotes and jobs as callers of the API see them, through the real application."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from guildhall.graphql.ids import encode_id
from marketplace.tables import Hold, Quote
from registry.lessons.tables import Lesson
from scheduler.clusters.fake import FakeRun
from scheduler.jobs.tables import Job
from tests.scheduler.site import Site, line, report
from tests.scheduler.yard import Yard

POOLS = """
query { pools(first: 5) { totalCount nodes {
  name accelerator nodes wattsPerAccelerator walltimeSecondsMax
  cluster { name region kind pools { name } }
  capacity { total used waiting }
  rates { tier creditsPerHour hours { from to } validTo pool { name } }
} } }
"""
REQUEST = """
mutation($input: RequestQuoteInput!) { requestQuote(input: $input) {
  quote {
    id expiresAt startBy estimatedPrice hold predictedStart predictedEnergyKwh
    team { name } programme { name } job { id }
    segments { startsAt endsAt pool { name } creditsPerHour credits }
    eligiblePools { name }
    excludedPools { pool { name } reason { code message } }
    suggestions { kind message node { __typename id } }
  }
  errors { code field message }
} }
"""
ACCEPT = "mutation($input: AcceptQuoteInput!) { acceptQuote(input: $input) { job { id state } errors { code field } } }"
CANCEL = "mutation($input: CancelJobInput!) { cancelJob(input: $input) { job { id state } errors { code field } } }"
LESSON = """
mutation($input: RecordLessonInput!) { recordLesson(input: $input) {
  lesson { id summary subject { __typename id } evidence { job { id } } model { name } }
  errors { code field message }
} }
"""
PAGE = """
query($id: ID!, $lines: Int) { node(id: $id) { ... on Job {
  id name state stateReason { code message } predictedStart waitingUntil tier walltimeSeconds
  team { name } programme { name } pool { name } quote { id }
  submittedBy { __typename ... on User { email } }
  charge { held captured released settledAt }
  inputs { mountPath purpose source { __typename id } }
  attempts(first: 5) { nodes {
    number state exitCode exitReason { code message } pool { name }
    runIntervals { startedAt endedAt } progress { fraction message } parameters
    metrics(first: 5) { nodes { name value split step } }
  } }
  events(first: 50) { totalCount nodes { occurredAt state code message } }
  logTail(lines: $lines)
  outputs { completedAt modelVersion { id number producedBy { id } } }
} } }
"""
JOBS = """
query($filter: JobFilter, $first: Int!) { jobs(first: $first, filter: $filter) { totalCount nodes { id name state } } }
"""
TRANSFERS = """
query { team(name: "maintenance") { wallet { transfers(first: 20) { nodes { kind job { id name } } } } } }
"""


@pytest.fixture
async def site(yard: Yard) -> AsyncIterator[Site]:
    opened = await Site(yard).open()
    yield opened
    await opened.client.aclose()


def job_input(yard: Yard, **given: Any) -> dict[str, Any]:
    node = {"accelerator": "l4", "acceleratorCount": 1, **given.pop("perNode", {})}
    return {
        "name": "train",
        "command": ["python", "train.py"],
        "source": {"packageId": encode_id("Package", yard.package_id)},
        "perNode": node,
        "walltimeSeconds": 600,
        "tier": "STANDARD",
        **given,
    }


async def request(site: Site, *, who: str = "anna", **job: Any) -> Any:
    given = {"team": "maintenance", "programme": "zero", "job": job_input(site.yard, **job)}
    return (await site.ask(who, REQUEST, input=given))["requestQuote"]


async def submit(site: Site, **job: Any) -> str:
    quote = (await request(site, **job))["quote"]
    answer = (await site.ask("anna", ACCEPT, input={"quoteId": quote["id"]}))["acceptQuote"]
    assert answer["errors"] == []
    identity: str = answer["job"]["id"]
    return identity


def key_of(identity: str) -> UUID:
    return UUID(identity.rpartition("_")[2])


class TestPools:
    async def test_have_capacity_rates_and_a_cluster(self, site: Site) -> None:
        site.yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        await submit(site, perNode={"acceleratorCount": 2})
        await submit(site, perNode={"acceleratorCount": 1})
        await site.yard.cycle()
        big, small = (await site.ask("quinn", POOLS))["pools"]["nodes"]
        assert small["capacity"] == {"total": 2, "used": 2, "waiting": 1}
        assert big["capacity"] == {"total": 4, "used": 0, "waiting": 0}
        assert small["cluster"] == {
            "name": "here", "region": "eu", "kind": "KUBERNETES", "pools": [{"name": "big"}, {"name": "small"}],
        }  # fmt: skip
        assert {(rate["tier"], rate["creditsPerHour"]) for rate in small["rates"]} == {
            ("STANDARD", "2"), ("GUARANTEED", "6"),
        }  # fmt: skip
        assert {"from": "22:00", "to": "06:00"} in [rate["hours"] for rate in big["rates"]]


class TestQuotes:
    async def test_say_all_that_binds(self, site: Site) -> None:
        answer = await request(site, startBy="2026-03-02T20:00:00Z")
        quote = answer["quote"]
        assert answer["errors"] == []
        assert (quote["estimatedPrice"], quote["hold"]) == ("0.333333", "0.333333")
        assert quote["startBy"] == "2026-03-02T20:00:00.000000Z"
        assert quote["predictedEnergyKwh"] == 0.012
        assert quote["segments"] == [
            {
                "startsAt": "2026-03-02T08:00:00.000000Z", "endsAt": "2026-03-02T08:10:00.000000Z",
                "pool": {"name": "small"}, "creditsPerHour": "2", "credits": "0.333333",
            }
        ]  # fmt: skip
        assert quote["eligiblePools"] == [{"name": "small"}]
        assert quote["excludedPools"] == [
            {
                "pool": {"name": "big"},
                "reason": {"code": "ACCELERATOR_MISMATCH", "message": "Pool big has h100, not l4."},
            }
        ]
        assert (quote["suggestions"], quote["job"]) == ([], None)

    @pytest.mark.parametrize("extreme", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"])
    async def test_no_start_that_the_database_takes_for_infinity(self, site: Site, extreme: str) -> None:
        job = job_input(site.yard, startBy=extreme)
        given = {"team": "maintenance", "programme": "zero", "job": job}
        (error,) = (await site.answer("anna", REQUEST, input=given))["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        assert "A DateTime lies between the years 1970 and 9000 (UTC)" in error["message"]

    async def test_suggest_nodes(self, site: Site) -> None:
        await site.yard.publish_rival_model()
        model = encode_id("Model", site.yard.model_id)
        quote = (await request(site, output={"modelId": model, "path": "model"}))["quote"]
        assert [(each["kind"], each["node"]["__typename"]) for each in quote["suggestions"]] == [
            ("EXISTING_MODEL", "Model"), ("LESSON", "Lesson"),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("given", "code", "field"),
        [
            ({"source": {"packageId": "Package_nonsense"}}, "NOT_FOUND", "job.source.packageId"),
            ({"output": {"modelId": "Job_x", "path": "m"}}, "NOT_FOUND", "job.output.modelId"),
            ({"perNode": {"acceleratorCount": 99}}, "INVALID_INPUT", "job.perNode.acceleratorCount"),
            ({"environment": [{"name": "GUILDHALL_X", "value": ""}]}, "INVALID_INPUT", "job.environment[0].name"),
        ],
    )  # fmt: skip
    async def test_name_what_to_mend(self, site: Site, given: dict[str, Any], code: str, field: str) -> None:
        answer = await request(site, **given)
        assert [(error["code"], error["field"]) for error in answer["errors"]] == [(code, field)]
        assert answer["quote"] is None
        assert await site.yard.count(Quote) == 0

    async def test_that_cannot_be_paid_name_the_missing_sum(self, site: Site) -> None:
        async with site.yard.database.transaction() as session:
            await site.yard.drain(session, "maintenance", "zero", leave=0)
        (error,) = (await request(site))["errors"]
        assert (error["code"], error["field"]) == ("INSUFFICIENT_CREDITS", "job")
        assert error["message"].startswith("0.333333 credits are missing")

    async def test_without_access_are_refused_and_recorded(self, site: Site) -> None:
        version = encode_id("DatasetVersion", site.yard.dataset_version_id)
        job = job_input(
            site.yard,
            inputs=[{"source": {"datasetVersionId": version}, "mountPath": "data", "purpose": "quality"}],
        )
        given = {"team": "maintenance", "programme": "zero", "job": job}
        answer = await site.answer("anna", REQUEST, input=given)
        assert answer["errors"][0]["extensions"]["code"] == "ACCESS_REFUSED"
        (event,) = await site.yard.events("registry:dataset:read")
        assert (event.outcome, event.actor_id) == ("REFUSED", site.yard.people["anna"])
        assert await site.yard.count(Quote) == 0

    async def test_are_the_teams_own(self, site: Site) -> None:
        quote = (await request(site))["quote"]
        other = (await site.ask("quinn", "query($id: ID!) { node(id: $id) { id } }", id=quote["id"]))["node"]
        assert other is None
        answer = (await site.ask("quinn", ACCEPT, input={"quoteId": quote["id"]}))["acceptQuote"]
        assert [error["code"] for error in answer["errors"]] == ["NOT_FOUND"]
        assert await site.yard.count(Job) == 0


class TestAcceptance:
    async def test_the_same_key_from_a_hundred_callers_is_one_job(self, site: Site) -> None:
        quote = (await request(site))["quote"]
        given = {"quoteId": quote["id"], "idempotencyKey": "once"}
        answers = await asyncio.gather(*(site.ask("anna", ACCEPT, input=given) for _ in range(100)))
        assert len({answer["acceptQuote"]["job"]["id"] for answer in answers}) == 1
        assert (await site.yard.count(Job), await site.yard.count(Hold)) == (1, 1)

    async def test_the_same_key_with_another_quote_is_refused(self, site: Site) -> None:
        first, second = (await request(site))["quote"], (await request(site))["quote"]
        await site.ask("anna", ACCEPT, input={"quoteId": first["id"], "idempotencyKey": "once"})
        answer = await site.ask("anna", ACCEPT, input={"quoteId": second["id"], "idempotencyKey": "once"})
        assert [error["code"] for error in answer["acceptQuote"]["errors"]] == ["IDEMPOTENCY_KEY_REUSED"]
        assert await site.yard.count(Job) == 1

    async def test_only_who_may(self, site: Site) -> None:
        quote = (await request(site))["quote"]
        answer = await site.answer("vera", ACCEPT, input={"quoteId": quote["id"]})
        assert answer["errors"][0]["extensions"]["code"] == "PERMISSION_REFUSED"
        assert await site.yard.count(Job) == 0


class TestJobPage:
    async def test_of_a_waiting_job(self, site: Site) -> None:
        site.yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        await submit(site, name="first", perNode={"acceleratorCount": 2})
        identity = await submit(site, name="second")
        await site.yard.cycle()
        page = (await site.ask("anna", PAGE, id=identity))["node"]
        assert page["state"] == "QUEUED"
        assert page["stateReason"] == {
            "code": "WAITING_FOR_CAPACITY",
            "message": "waits for 1 of 1 accelerator of pool small until about 08:11 UTC, "
            "when job first ends at the latest",
        }
        assert page["waitingUntil"] == page["predictedStart"] == "2026-03-02T08:10:10.000000Z"
        assert page["pool"] is None
        assert page["charge"] == {"held": "0.333333", "captured": "0", "released": "0", "settledAt": None}
        assert page["logTail"] == ""

    async def test_of_a_job_that_made_a_version(self, site: Site) -> None:
        yard = site.yard
        await yard.grant()
        yard.cluster.script = lambda _: FakeRun(run_seconds=36)
        yard.cluster.on_end = yard.succeed
        version = encode_id("DatasetVersion", yard.dataset_version_id)
        identity = await submit(
            site,
            inputs=[{"source": {"datasetVersionId": version}, "mountPath": "data", "purpose": "quality"}],
            output={"modelId": encode_id("Model", yard.model_id), "path": "model"},
        )
        await yard.cycle()
        runner = await site.runner(key_of(identity))
        metric = {"name": "accuracy", "value": 0.5}
        await runner.post("reports", report(1, logs=[line("hello")], metrics=[metric], parameters={"depth": 4}))
        await runner.make_output()
        await yard.cycle(60)
        page = (await site.ask("anna", PAGE, id=identity, lines=5))["node"]
        assert (page["state"], page["stateReason"]["code"]) == ("SUCCEEDED", "SUCCEEDED")
        assert page["charge"]["held"] == "0"
        assert (page["charge"]["captured"], page["charge"]["released"]) == ("0.02", "0.313333")
        (attempt,) = page["attempts"]["nodes"]
        assert (attempt["state"], attempt["exitCode"], attempt["pool"]["name"]) == ("ENDED", 0, "small")
        assert len(attempt["runIntervals"]) == 1
        assert attempt["parameters"] == {"depth": 4}
        assert attempt["metrics"]["nodes"] == [{"name": "accuracy", "value": 0.5, "split": None, "step": None}]
        assert page["logTail"].splitlines()[-1] == "hello"
        (output,) = page["outputs"]
        assert output["modelVersion"]["number"] == 1
        assert output["modelVersion"]["producedBy"] == {"id": identity}
        assert page["inputs"][0]["source"] == {"__typename": "DatasetVersion", "id": version}
        assert page["submittedBy"] == {"__typename": "User", "email": "anna@example.org"}
        assert [event["state"] for event in page["events"]["nodes"]][-1] == "SUCCEEDED"
        transfers = (await site.ask("anna", TRANSFERS))["team"]["wallet"]["transfers"]["nodes"]
        assert {row["job"]["id"] for row in transfers if row["kind"] in {"HOLD", "CAPTURE"}} == {identity}

    async def test_is_the_teams_own(self, site: Site) -> None:
        identity = await submit(site)
        assert (await site.ask("quinn", PAGE, id=identity))["node"] is None
        assert (await site.answer("root", PAGE, id=identity))["data"]["node"]["id"] == identity

    @pytest.mark.parametrize("who", ["root", "vera"])
    async def test_shows_the_log_only_to_who_works_in_the_team(self, site: Site, who: str) -> None:
        identity = await submit(site)
        await site.yard.cycle()
        runner = await site.runner(key_of(identity))
        await runner.post("reports", report(1, logs=[line("a row of data")]))
        answer = await site.answer(who, PAGE, id=identity)
        assert (answer["data"]["node"]["id"], answer["data"]["node"]["logTail"]) == (identity, None)
        assert ("FORBIDDEN", ["node", "logTail"]) in [
            (error["extensions"]["code"], error["path"]) for error in answer["errors"]
        ]
        assert "a row of data" not in str(answer)

    async def test_the_tail_is_capped(self, site: Site) -> None:
        identity = await submit(site)
        await site.yard.cycle()
        runner = await site.runner(key_of(identity))
        for sequence in range(1, 4):
            lines = [line(f"{sequence}-{number}", number) for number in range(500)]
            await runner.post("reports", report(sequence, logs=lines))
        tail = (await site.ask("anna", PAGE, id=identity, lines=1_000_000))["node"]["logTail"].splitlines()
        assert (len(tail), tail[0], tail[-1]) == (1000, "2-0", "3-499")
        assert (await site.ask("anna", PAGE, id=identity, lines=-1))["node"]["logTail"] == ""


class TestJobs:
    async def test_are_filtered_by_team_and_state(self, site: Site) -> None:
        first = await submit(site, name="first")
        second = await submit(site, name="second")
        await site.ask("anna", CANCEL, input={"jobId": first, "reason": "not needed"})

        async def found(who: str, **given: Any) -> list[str]:
            return [row["id"] for row in (await site.ask(who, JOBS, first=10, filter=given))["jobs"]["nodes"]]

        assert await found("anna") == [second, first]
        assert await found("anna", state={"in": ["QUEUED"]}) == [second]
        assert await found("anna", team={"eq": "maintenance"}, state={"in": ["CANCELLED"]}) == [first]
        assert await found("anna", team={"eq": "quality"}) == []
        assert await found("quinn") == []

    async def test_ones_own_and_those_of_others(self, site: Site) -> None:
        first = await submit(site, name="first")
        second = await submit(site, name="second")
        async with site.yard.database.transaction() as session:
            hers = update(Job).where(Job.id == key_of(second)).values(created_by=site.yard.people["vera"])
            await session.execute(hers)
        mine = "query($mine: Boolean!) { jobs(first: 9, filter: {submittedByViewer: $mine}) { nodes { id } } }"

        async def found(who: str, *, own: bool) -> list[str]:
            return [row["id"] for row in (await site.ask(who, mine, mine=own))["jobs"]["nodes"]]

        assert (await found("anna", own=True), await found("anna", own=False)) == ([first], [second])
        assert (await found("vera", own=True), await found("vera", own=False)) == ([second], [first])
        assert (await found("quinn", own=True), await found("quinn", own=False)) == ([], [])


class TestOperations:
    async def test_cancel(self, site: Site) -> None:
        identity = await submit(site)
        nothing = (await site.ask("anna", CANCEL, input={"jobId": identity, "reason": ""}))["cancelJob"]
        assert [(error["code"], error["field"]) for error in nothing["errors"]] == [("REASON_MISSING", "reason")]
        answer = (await site.ask("anna", CANCEL, input={"jobId": identity, "reason": "wrong data"}))["cancelJob"]
        assert answer["job"] == {"id": identity, "state": "CANCELLED"}
        refused = await site.answer("vera", CANCEL, input={"jobId": identity, "reason": "because"})
        assert refused["errors"][0]["extensions"]["code"] == "PERMISSION_REFUSED"

    async def test_a_lesson_on_a_run_that_led_nowhere(self, site: Site) -> None:
        model = encode_id("Model", site.yard.model_id)
        identity = await submit(site, output={"modelId": model, "path": "model"})
        given = {"subjectId": identity, "summary": "needs more data", "outcome": "FAILED", "tags": ["data"]}
        lesson = (await site.ask("anna", LESSON, input=given))["recordLesson"]["lesson"]
        assert lesson["subject"] == {"__typename": "Job", "id": identity}
        assert lesson["evidence"] == {"job": {"id": identity}}
        assert lesson["model"] == {"name": "gauge-reader"}
        hidden = (await site.ask("quinn", LESSON, input=given))["recordLesson"]
        assert [(error["code"], error["field"]) for error in hidden["errors"]] == [("NOT_FOUND", "subjectId")]
        assert await site.yard.count(Lesson) == 1

    async def test_a_lesson_on_a_data_set(self, site: Site) -> None:
        subject = encode_id("Dataset", site.yard.dataset_id)
        given = {"subjectId": subject, "summary": "glare", "body": "…", "outcome": "MIXED"}
        answer = (await site.ask("quinn", LESSON, input=given))["recordLesson"]
        assert answer["errors"] == []
        assert answer["lesson"]["subject"]["__typename"] == "Dataset"

    async def test_the_predicted_start_moves_with_time(self, site: Site) -> None:
        site.yard.cluster.script = lambda _: FakeRun(run_seconds=60)
        site.yard.cluster.on_end = site.yard.succeed
        await submit(site, perNode={"acceleratorCount": 2})
        second = await submit(site, perNode={"acceleratorCount": 2})
        await site.yard.cycle()
        before = site.yard.clock.now() + timedelta(seconds=610)
        assert (await site.yard.job(key_of(second))).predicted_start == before
        await site.yard.cycle(61)
        assert (await site.ask("anna", PAGE, id=second))["node"]["state"] == "STARTING"
