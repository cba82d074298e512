"""Following a job: from its beginning to its end, from a cursor on, and only for who may."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from guildhall.graphql.ids import encode_id
from scheduler.cycle import run_cycle
from tests.scheduler.site import Runner, Site, line, report
from tests.scheduler.test_faults import Killed, Killer
from tests.streaming import events, served

CHANGES = """
subscription($id: ID!, $after: String) { jobChanges(id: $id, after: $after) {
  cursor state stateReason { code message } metric { name value step } logLine { at stream text }
} }
"""
STATES = "subscription($id: ID!, $after: String) { jobChanges(id: $id, after: $after) { cursor state } }"


@pytest.fixture
async def url(site: Site) -> AsyncIterator[str]:
    async with served(site.yard.database, site.yard.settings, site.yard.clock) as address:
        yield address


def node(job_id: UUID) -> dict[str, str]:
    return {"id": encode_id("Job", job_id)}


def told(change: dict[str, Any]) -> str:
    """What a change is about, in a word."""
    if change["logLine"] is not None:
        return str(change["logLine"]["text"])
    if change["metric"] is not None:
        return f"{change['metric']['name']}={change['metric']['value']}"
    return str(change["state"])


async def finish(site: Site, runner: Runner) -> None:
    """The command has succeeded, and the platform says so."""
    await runner.post("result", {"outcome": "SUCCEEDED", "exitCode": 0})
    await site.yard.cycle(400)
    await site.yard.cycle(1)


async def printed(site: Site, job_id: UUID) -> str:
    """What the platform keeps of the runner's own words, once it lets go of an attempt."""
    return f"runner of {(await site.yard.attempt(job_id)).name}"


def codes(payload: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in payload["errors"]]


class TestFollowing:
    async def test_shows_state_lines_and_metrics_as_they_come_and_ends(
        self, site: Site, job_id: UUID, runner: Runner, url: str
    ) -> None:
        await runner.post("reports", report(1, logs=[line("one")]))
        async with events(url, site.tokens["anna"], CHANGES, node(job_id)) as stream:
            assert stream.response.headers["content-type"] == "text/event-stream; charset=utf-8"
            first = await stream.data()
            assert (first["state"], first["stateReason"]["code"]) == ("RUNNING", "STARTED")
            assert (first["logLine"], first["metric"]) == (None, None)
            assert (await stream.data())["logLine"] == {
                "at": "2026-03-02T08:00:01.000000Z", "stream": "stdout", "text": "one",
            }  # fmt: skip
            metrics = [{"name": "loss", "value": 0.5, "step": 1}, {"name": "loss", "value": 0.25, "step": 2}]
            await runner.post("reports", report(2, logs=[line("two"), line("three", 2)], metrics=metrics))
            changes = [await stream.data() for _ in range(4)]
            assert [told(change) for change in changes] == ["two", "three", "loss=0.5", "loss=0.25"]
            assert changes[2]["metric"] == {"name": "loss", "value": 0.5, "step": 1}
            await runner.post("result", {"outcome": "SUCCEEDED", "exitCode": 0})
            site.yard.clock.advance(seconds=400)
            # Further on in that cycle the platform lets go of it, and whoever looks after that sees its lines first.
            with pytest.raises(Killed):
                await run_cycle(site.yard.context(reach=Killer("settle.committed")))
            assert told(await stream.data()) == "SUCCEEDED"
            await site.yard.cycle(1)
            last = [told(payload["data"]["jobChanges"]) for payload in await stream.rest()]
            assert last == [await printed(site, job_id)]
            assert await stream.block() == {}

    async def test_of_a_job_that_has_ended_all_is_shown_at_once(
        self, site: Site, job_id: UUID, runner: Runner, url: str
    ) -> None:
        await runner.post("reports", report(1, logs=[line(f"line {number}", number) for number in range(1, 901)]))
        await runner.post("reports", report(2, metrics=[{"name": "loss", "value": 0.5}]))
        await finish(site, runner)
        async with events(url, site.tokens["anna"], CHANGES, node(job_id)) as stream:
            changes = [told(payload["data"]["jobChanges"]) for payload in await stream.rest()]
        lines = [f"line {number}" for number in range(1, 901)]
        assert changes == [*lines, "loss=0.5", await printed(site, job_id), "SUCCEEDED"]

    async def test_goes_on_after_any_cursor_and_repeats_nothing(
        self, site: Site, job_id: UUID, runner: Runner, url: str
    ) -> None:
        metric = {"name": "loss", "value": 0.5}
        await runner.post("reports", report(1, logs=[line("one"), line("two", 2)], metrics=[metric]))
        await runner.post("reports", report(2, logs=[line("three")]))
        await finish(site, runner)
        async with events(url, site.tokens["anna"], CHANGES, node(job_id)) as stream:
            whole = [payload["data"]["jobChanges"] for payload in await stream.rest()]
        kept = await printed(site, job_id)
        assert [told(change) for change in whole] == ["one", "two", "loss=0.5", "three", kept, "SUCCEEDED"]
        for place, change in enumerate(whole):
            variables = {**node(job_id), "after": change["cursor"]}
            async with events(url, site.tokens["anna"], CHANGES, variables) as stream:
                rest = [payload["data"]["jobChanges"] for payload in await stream.rest()]
            assert [told(each) for each in rest] == [told(each) for each in whole[place + 1 :]]

    async def test_reads_no_lines_that_are_not_selected(
        self, site: Site, job_id: UUID, runner: Runner, url: str
    ) -> None:
        await runner.post("reports", report(1, logs=[line("one")], metrics=[{"name": "loss", "value": 0.5}]))
        await finish(site, runner)
        async with events(url, site.tokens["anna"], STATES, node(job_id)) as stream:
            assert [payload["data"]["jobChanges"]["state"] for payload in await stream.rest()] == ["SUCCEEDED"]


class TestWhoMay:
    async def test_another_team_finds_no_such_job(self, site: Site, job_id: UUID, url: str) -> None:
        async with events(url, site.tokens["quinn"], CHANGES, node(job_id)) as stream:
            (refusal,) = await stream.rest()
        assert codes(refusal) == ["NOT_FOUND"]
        assert "data" not in refusal

    async def test_a_viewer_sees_states_and_is_told_that_lines_are_not_for_them(
        self, site: Site, job_id: UUID, runner: Runner, url: str
    ) -> None:
        await runner.post("reports", report(1, logs=[line("secret")]))
        await finish(site, runner)
        async with events(url, site.tokens["vera"], CHANGES, node(job_id)) as stream:
            (last,) = await stream.rest()
        assert last["data"]["jobChanges"]["state"] == "SUCCEEDED"
        assert codes(last) == ["FORBIDDEN"]
        assert "secret" not in str(last)

    @pytest.mark.parametrize("given", ["Job_0123", "Model_00000000000000000000000000000001", ""])
    async def test_what_is_no_job_is_not_found(self, site: Site, url: str, given: str) -> None:
        async with events(url, site.tokens["anna"], CHANGES, {"id": given}) as stream:
            (refusal,) = await stream.rest()
        assert codes(refusal) == ["NOT_FOUND"]

    async def test_a_cursor_belongs_to_one_job_and_one_caller(
        self, site: Site, job_id: UUID, runner: Runner, url: str
    ) -> None:
        other = await site.yard.submit()
        async with events(url, site.tokens["anna"], CHANGES, node(job_id)) as stream:
            cursor = (await stream.data())["cursor"]
        for who, job, given in (
            ("vera", job_id, cursor), ("anna", other, cursor), ("anna", job_id, cursor[:-2]), ("anna", job_id, "x"),
        ):  # fmt: skip
            async with events(url, site.tokens[who], CHANGES, {**node(job), "after": given}) as stream:
                (refusal,) = await stream.rest()
            assert codes(refusal) == ["INVALID_CURSOR"]
