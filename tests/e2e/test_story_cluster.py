"""The same story with its jobs in pods of a real Kubernetes: all that holds on one machine holds there."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO

import pytest
from rich.console import Console

from demo.__main__ import tell
from demo.world import World
from guildhall.graphql.ids import decode_id
from tests.cluster.demonstration import platform_of, reachable
from tests.cluster.handle import RealCluster
from tests.e2e.test_story import (  # noqa: F401 -- collected again, here about this `told`
    TestLimits,
    TestPublishing,
    TestQuote,
    TestRecord,
    TestReuse,
    TestTraining,
)

CLEARED_SECONDS_MAX = 120


@pytest.fixture(scope="module")
def told(cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world after the story of the demo, told on the cluster."""
    if cluster.joined is None:
        pytest.skip("the story needs an image and resources that only a cluster of our own has")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        variables = stack.enter_context(reachable(cluster.joined))
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setenv("GUILDHALL_DATA_DIR", str(tmp_path_factory.mktemp("guildhall")))
        platform = platform_of(cluster.joined, lambda _: None)
        yield tell(stack, Console(file=StringIO(), width=120), platform=platform)


class TestPlatform:
    def test_is_registered_with_what_its_nodes_have(self, told: World) -> None:
        registered = told.facts["cluster"]
        assert (registered["state"], registered["version"]) == ("READY", "v1.37.1")
        (node,) = [node for node in registered["nodes"]["nodes"] if node["name"] == "node-1"]
        offered = {each["resource"]: each["allocatable"] for each in node["accelerators"]}
        assert offered["guildhall.example/sim-a10"] == offered["guildhall.example/sim-h100"] == 2

    async def test_ran_every_job_in_one_container_of_its_own(self, told: World, cluster: RealCluster) -> None:
        async with cluster.client() as http:
            events = (await http.get("/api/v1/events?fieldSelector=reason=Started")).json()["items"]
        involved = [event["involvedObject"] for event in events]
        started = [each["name"] for each in involved if each.get("fieldPath") == "spec.containers{main}"]
        facts = told.facts
        jobs = [facts["train_job"], facts["quality_job"], facts["overdue"]["job"], facts["cancelled"]["job"]]
        for job in (*jobs, *facts["in_line"]):
            launch = f"gh-{decode_id(job['id'], 'Job').hex}-1-"
            assert [name.startswith(launch) for name in started].count(True) == 1, (job["name"], started)

    async def test_leaves_no_object_of_a_settled_job(self, told: World, cluster: RealCluster) -> None:
        async with cluster.client() as http, asyncio.timeout(CLEARED_SECONDS_MAX):
            namespaces = (await http.get("/api/v1/namespaces")).json()["items"]
            ours = [each["metadata"]["name"] for each in namespaces if of_story(each["metadata"]["name"])]
            assert len(ours) == 2
            for space in ours:
                for path in (f"/apis/batch/v1/namespaces/{space}/jobs", f"/api/v1/namespaces/{space}/pods"):
                    while (await http.get(path)).json()["items"]:
                        await asyncio.sleep(0.2)


def of_story(namespace: str) -> bool:
    return namespace.startswith("guildhall-") and namespace.endswith(("-maintenance", "-quality"))
