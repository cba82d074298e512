"""What a job meets from end to end, on this machine and in pods of a cluster: one suite for both.

What executors promise by themselves is in `tests/scheduler/clusters/test_executors.py`, and workers die in
`test_worker_killed.py`. Here the runner and the API have their part in it.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from guildhall.graphql.ids import decode_id
from tests.cluster.handle import RealCluster
from tests.e2e.faults.conftest import place_on
from tests.e2e.faults.house import House
from tests.e2e.faults.processes import kill, running, until
from tests.e2e.faults.test_scripts import CASES

PATIENCE_SECONDS = 240
AWAY_SECONDS = 60
"""The issue's own minute: longer than the runner's longest pause between two tries, and than what a lease lasts."""
LINES = 40
ENDS = ("succeeds", "exits 1", "is killed", "writes no output", "is over its walltime")
LOG = """
query Log($id: ID!) { node(id: $id) { ... on Job { logTail(lines: 1000) } } }
"""


@dataclass
class Works:
    """An installation with an API, a worker, and a job that was cancelled before that worker lived."""

    house: House
    api: "subprocess.Popen[bytes]"
    cancelled_id: str


@pytest.fixture(scope="module")
def works(
    ground_database: dict[str, str], ground: RealCluster | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Works]:
    with ExitStack() as stack:
        house = place_on(ground, tmp_path_factory.mktemp("works"), ground_database, stack)
        api = stack.enter_context(running(house.site, "api"))
        house.furnish()
        if ground is not None:
            with running(house.site, "worker"):
                counted = "SELECT 1 FROM pools WHERE slots > 0"
                until(lambda: house.book.rows(counted), "the nodes are counted", seconds=PATIENCE_SECONDS)
        cancelled_id = house.submit("succeed")
        house.change("ada", "CancelJob", jobId=cancelled_id, reason="nobody has begun it")
        stack.enter_context(running(house.site, "worker"))
        yield Works(house, api, cancelled_id)


def lines_of(house: House, job_id: str) -> list[str]:
    """What the script has said, as far as it arrived."""
    log: str = house.people["ada"].execute(LOG, {"id": job_id})["node"]["logTail"]
    return [line for line in log.splitlines() if line.startswith("line ")]


def versions_of(house: House, job_id: str) -> list[str]:
    key = decode_id(job_id, "Job")
    made = house.book.rows(f"SELECT status FROM model_versions WHERE produced_by_job_id = '{key}'")
    return [row["status"] for row in made]


def assert_over(house: House, job_id: str) -> None:
    house.assert_charged_once(job_id)
    house.assert_nothing_left(job_id)
    house.assert_books_balance()


class TestEnds:
    def test_are_told_and_paid_alike(self, works: Works) -> None:
        house = works.house
        job_ids = {name: house.submit(*CASES[name].act, **CASES[name].more) for name in ENDS}
        pages = {name: house.wait_for(job_id, seconds=PATIENCE_SECONDS) for name, job_id in job_ids.items()}
        reasons = {name: page["stateReason"] for name, page in pages.items()}
        assert {name: (page["state"], reasons[name]["code"]) for name, page in pages.items()} == {
            name: (CASES[name].state, CASES[name].code) for name in ENDS
        }
        for name, job_id in job_ids.items():
            case = CASES[name]
            (attempt,) = pages[name]["attempts"]["nodes"]
            assert reasons[name]["message"].startswith(case.message)
            assert case.exit_code in {None, attempt["exitCode"]}
            assert len(attempt["runIntervals"]) == 1
            assert versions_of(house, job_id) == list(case.versions)
            assert_over(house, job_id)


class TestCancelled:
    def test_before_it_starts(self, works: Works) -> None:
        page = works.house.page(works.cancelled_id)
        assert (page["state"], page["charge"]["captured"], page["attempts"]["nodes"]) == ("CANCELLED", "0", [])
        assert versions_of(works.house, works.cancelled_id) == []
        assert_over(works.house, works.cancelled_id)


class TestApiGone:
    def test_for_a_minute_and_nothing_is_lost(self, works: Works) -> None:
        house = works.house
        job_id = house.submit("count", str(LINES), walltimeSeconds=1200)
        until(lambda: "line 3" in lines_of(house, job_id), "the script speaks", seconds=PATIENCE_SECONDS)
        kill(works.api)
        time.sleep(AWAY_SECONDS)
        works.api = house.clients.enter_context(running(house.site, "api"))
        page = house.wait_for(job_id, "SUCCEEDED", seconds=PATIENCE_SECONDS)
        assert lines_of(house, job_id) == [f"line {number}" for number in range(1, LINES + 1)]
        (attempt,) = page["attempts"]["nodes"]
        assert (attempt["exitCode"], len(attempt["runIntervals"])) == (0, 1)
        assert versions_of(house, job_id) == ["READY"]
        assert_over(house, job_id)
