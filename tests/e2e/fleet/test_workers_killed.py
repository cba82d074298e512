"""Jobs over nodes of 8 accelerators, with two workers of which one is killed with -9 every few seconds.

400 of them over 50 nodes in the long lane, where it takes minutes; a fifth of that each time.
Whether anything was given out twice is read from what the API server itself has written down.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from uuid import UUID

import pytest

from guildhall.db.embedded import EmbeddedServer
from guildhall.graphql.ids import decode_id
from tests.cluster.handle import RealCluster
from tests.conftest import cloned_database
from tests.e2e.faults.conftest import addresses, make_house
from tests.e2e.faults.house import MICRO, RATE, House
from tests.e2e.faults.processes import running, tail, until
from tests.e2e.fleet.house import SETTINGS, accepted, add_nodes, fleet_job, furnish, quotes, until_counted
from tests.e2e.fleet.record import Record, recorded
from tests.e2e.fleet.workers import working

FLEET = "killing-field"
SIZES = [pytest.param(10, 80, id="80"), pytest.param(50, 400, id="400", marks=pytest.mark.long)]
GPUS = 8
WORKERS = 2
KILL_EVERY_SECONDS = 5
KILLS_MAX = 120
"""Ten minutes of it: on a machine on which that is not enough, nothing would be."""
CLEARED_SECONDS_MAX = 120
POLL_SECONDS = 0.5


@pytest.fixture
async def fleet_database(server: EmbeddedServer) -> AsyncIterator[dict[str, str]]:
    async with cloned_database(server) as cloned:
        yield addresses(server, cloned.url)


@pytest.fixture
def house(
    fleet_database: dict[str, str], own_control_plane: RealCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """An API without workers, and the cluster registered."""
    with ExitStack() as stack:
        settings = {**fleet_database, **SETTINGS, "GUILDHALL_WORKER_POLL_MILLISECONDS": "250"}
        house = make_house(tmp_path_factory.mktemp("fleet"), settings, stack)
        stack.enter_context(running(house.site, "api"))
        furnish(house, own_control_plane.kubeconfig_text, FLEET, requests_per_second=500)
        yield house


def mixed_jobs(count: int) -> list[dict[str, object]]:
    """Jobs of all sizes, one in twenty over several nodes; together about five times what there is."""
    dice = random.Random(4)
    jobs = []
    for number in range(count):
        nodes = dice.randint(2, 3) if number % 20 == 0 else 1
        jobs.append(fleet_job(number, gpus=dice.randint(1, GPUS), nodes=nodes, runs_for=f"{dice.randint(3, 8)}s"))
    return jobs


async def kill_until_settled(house: House) -> int:
    """Let two workers work, one of them always young; the number of deaths."""
    left = "SELECT count(*) AS value FROM jobs WHERE settled_at IS NULL"
    with working(house.site, WORKERS) as workers:
        for kills in range(KILLS_MAX):
            ends_at = time.monotonic() + KILL_EVERY_SECONDS
            while time.monotonic() < ends_at:
                if await asyncio.to_thread(house.book.value, left) == 0:
                    await asyncio.to_thread(until_removed, house)
                    return kills
                await asyncio.sleep(POLL_SECONDS)
            await asyncio.to_thread(workers.replace_eldest)
    raise AssertionError(f"after {KILLS_MAX} deaths not all are settled:\n{tail(house.site)}")


def until_removed(house: House) -> None:
    kept = "SELECT 1 FROM attempts WHERE removed_at IS NULL"
    until(lambda: not house.book.rows(kept), "the cluster has forgotten all", seconds=CLEARED_SECONDS_MAX)


class TestWorkersKilled:
    @pytest.mark.parametrize(("nodes", "jobs"), SIZES)
    async def test_nothing_is_given_out_twice_and_every_job_ends_and_is_charged_once(
        self, house: House, own_control_plane: RealCluster, nodes: int, jobs: int
    ) -> None:
        names = await add_nodes(own_control_plane, FLEET, nodes, GPUS)
        await asyncio.to_thread(until_counted, house, nodes * GPUS)
        job_ids = await accepted(house, await quotes(house, mixed_jobs(jobs)))
        async with recorded(own_control_plane, "app.kubernetes.io/managed-by=guildhall") as record:
            kills = await kill_until_settled(house)
        assert kills > 0
        keys = {str(decode_id(job_id, "Job")) for job_id in job_ids}
        assert len(keys) == jobs

        peak, by_node = record.peaks()
        assert by_node.keys() <= set(names)
        assert max(by_node.values()) <= GPUS
        assert GPUS * nodes / 4 <= peak <= GPUS * nodes

        assert {key: len(uids) for key, uids in record.objects_of_jobs().items()} == dict.fromkeys(keys, 1)
        rows = {row["id"]: row for row in house.book.rows("SELECT id, spec FROM jobs")}
        pods = {key: row["spec"]["nodes"] for key, row in rows.items()}
        assert {key: len(uids) for key, uids in record.pods_of_jobs().items()} == pods

        assert_ended(house, jobs)
        assert_charged_once(house, record, jobs)
        house.assert_books_balance()
        await own_control_plane.remove_nodes(names)


def assert_ended(house: House, count: int) -> None:
    ends = house.book.rows("SELECT state, state_code, count(*) AS number FROM jobs GROUP BY state, state_code")
    # Nobody runs there, so nobody tells a result: it is the platform that has seen them end.
    assert ends == [{"state": "FAILED", "state_code": "RESULT_MISSING", "number": count}]
    told = "SELECT job_id FROM job_events WHERE state = 'FAILED' AND from_state <> 'FAILED'"
    assert len({row["job_id"] for row in house.book.rows(told)}) == len(house.book.rows(told)) == count
    assert house.book.rows("SELECT 1 FROM attempts WHERE number > 1") == []
    assert house.book.rows("SELECT 1 FROM slot_uses") == []


def assert_charged_once(house: House, record: Record, count: int) -> None:
    """Each hold resolved once, and each job paid once for exactly what the platform said that its containers ran."""
    jobs = {UUID(row["id"]): row for row in house.book.rows("SELECT id, captured, hold_id, slots, spec FROM jobs")}
    resolved = house.book.rows("SELECT hold_id FROM hold_resolutions")
    assert sorted(row["hold_id"] for row in resolved) == sorted(job["hold_id"] for job in jobs.values())
    captures = house.book.rows("SELECT job_id, credits FROM transfers WHERE kind = 'CAPTURE'")
    paid = {UUID(row["job_id"]): row["credits"] for row in captures}
    assert len(paid) == len(captures)
    seconds: dict[UUID, list[Decimal]] = {key: [] for key in jobs}
    lives = record.lives()
    runs = house.book.rows(
        "SELECT job_id, source_uid, run_intervals.started_at, run_intervals.ended_at FROM run_intervals "
        "JOIN attempts ON attempts.id = run_intervals.attempt_id"
    )
    assert {row["source_uid"] for row in runs} == lives.keys()
    for row in runs:
        began, ended = (datetime.fromisoformat(row[name]) for name in ("started_at", "ended_at"))
        told = [{datetime.fromisoformat(text) for text in texts} for texts in lives[row["source_uid"]]]
        assert began in told[0]
        assert {ended} == told[1]
        seconds[UUID(row["job_id"])].append(Decimal((ended - began).total_seconds()))
    for key, job in jobs.items():
        assert len(seconds[key]) == job["spec"]["nodes"]
        price = sum(seconds[key]) * job["slots"] / job["spec"]["nodes"] * RATE * MICRO / 3600
        assert job["captured"] == paid.get(key, 0) == int(price.quantize(Decimal(1), ROUND_HALF_EVEN))
    assert len(paid) > count / 5  # kwok, when late, tells a start anew just before the end
