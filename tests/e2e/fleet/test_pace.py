"""Two workers, each a process, ask a cluster no more often than is configured: counted by the API server itself."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from guildhall.db.embedded import EmbeddedServer
from tests.cluster.configuration import AUDIT_LOG
from tests.cluster.handle import RealCluster
from tests.conftest import cloned_database
from tests.e2e.faults.conftest import addresses, make_house
from tests.e2e.faults.house import House
from tests.e2e.faults.processes import running, until
from tests.e2e.fleet.house import SETTINGS, accepted, add_nodes, fleet_job, furnish, quotes, until_counted
from tests.e2e.fleet.workers import working

FLEET = "paced"
REQUESTS_PER_SECOND = 30
JOBS = 25
SECONDS_MAX = 400


@pytest.fixture(scope="module")
async def house(
    server: EmbeddedServer, own_control_plane: RealCluster, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """An API without workers, and the cluster registered."""
    async with cloned_database(server) as cloned:
        with ExitStack() as stack:
            # A launch must not take longer than its lease at this pace.
            lease = {"GUILDHALL_WORKER_LEASE_SECONDS": "60"}
            settings = {**addresses(server, cloned.url), **SETTINGS, **lease}
            house = await asyncio.to_thread(make_house, tmp_path_factory.mktemp("paced"), settings, stack)
            stack.enter_context(running(house.site, "api"))
            await asyncio.to_thread(
                lambda: furnish(
                    house, own_control_plane.kubeconfig_text, FLEET, requests_per_second=REQUESTS_PER_SECOND
                )
            )
            yield house


def requests_received(cluster: RealCluster) -> list[datetime]:
    """When the API server received what our workers asked, in its own words."""
    log: Path = cluster.kubeconfig_path.with_name(AUDIT_LOG)
    events = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    received = [event["requestReceivedTimestamp"] for event in events if event["userAgent"] == "guildhall"]
    return sorted(datetime.fromisoformat(each) for each in received)


class TestPace:
    async def test_two_workers_together_ask_no_more_often_than_configured(
        self, house: House, own_control_plane: RealCluster
    ) -> None:
        await add_nodes(own_control_plane, FLEET, 10, 8)
        await asyncio.to_thread(until_counted, house, 80)
        await accepted(house, await quotes(house, [fleet_job(number, gpus=1) for number in range(JOBS)]))
        before = len(requests_received(own_control_plane))
        left = "SELECT 1 FROM attempts WHERE removed_at IS NULL UNION SELECT 1 FROM jobs WHERE settled_at IS NULL"

        def work() -> None:
            with working(house.site, 2):
                until(lambda: not house.book.rows(left), "all is settled and forgotten", seconds=SECONDS_MAX)

        await asyncio.to_thread(work)
        moments = requests_received(own_control_plane)[before:]
        within = [sum(at <= other < at + timedelta(seconds=1) for other in moments) for at in moments]
        assert len(moments) > JOBS * 4
        assert REQUESTS_PER_SECOND / 3 < max(within) <= REQUESTS_PER_SECOND
