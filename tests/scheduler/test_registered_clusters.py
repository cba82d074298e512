"""Two real API servers, registered through the API and served by real workers; one of them is lost and comes back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

from guildhall.app import create_app
from guildhall.clock import SystemClock
from scheduler.clusters.executor import Toleration
from scheduler.clusters.fake import FakeCluster
from scheduler.clusters.kubernetes.opening import kubernetes_connect
from scheduler.clusters.pool_settings import PoolSetting
from scheduler.clusters.tables import Cluster, Pool
from scheduler.worker import run_worker
from tests.cluster.handle import RealCluster
from tests.scheduler.graphql.test_clusters import JOBS_URL, document
from tests.scheduler.site import Site
from tests.scheduler.test_configuration import apply
from tests.scheduler.yard import IMAGE, Yard

PATIENCE_SECONDS = 60
KWOK = Toleration(key="kwok.x-k8s.io/node")


@pytest.fixture
async def site(yard: Yard) -> AsyncIterator[Site]:
    """On the machine's clock, with the prober that the product has."""
    yard.clock = SystemClock()  # type: ignore[assignment]  # the yard only asks it for the time
    yard.settings = replace(
        yard.settings, jobs_url=JOBS_URL, worker_poll_milliseconds=100, worker_patience_milliseconds=500
    )
    await yard.refresh_prices_and_credits()
    site = await Site(yard).open()
    await site.client.aclose()
    site.app = create_app(yard.settings, yard.database, yard.clock)
    site.client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=site.app),  # type: ignore[arg-type]  # as the site's own
        base_url=yard.settings.public_url,
    )
    yield site
    await site.client.aclose()


@asynccontextmanager
async def working(yard: Yard, *, workers: int = 1) -> AsyncIterator[None]:
    stop = asyncio.Event()
    clock = SystemClock()
    tasks = [
        asyncio.create_task(
            run_worker(
                yard.database,
                yard.settings,
                clock,
                {"here": FakeCluster(clock)},
                stop,
                connect=kubernetes_connect(clock),
            )
        )
        for _ in range(workers)
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_SECONDS)


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await reached():
            await asyncio.sleep(0.1)


async def register(site: Site, name: str, kubeconfig: str) -> Any:
    given = {"name": name, "region": "eu", "kubeconfig": kubeconfig}
    answer = (await site.ask("root", document("registerCluster"), input=given))["registerCluster"]
    assert answer["errors"] == []
    return answer["cluster"]


async def state_of(site: Site, name: str) -> str:
    (cluster,) = await site.yard.rows(Cluster, Cluster.name == name)
    return str(cluster.state)


async def slots_of(site: Site, name: str) -> int:
    (pool,) = await site.yard.rows(Pool, Pool.name == name)
    return int(pool.slots)


class TestTwoClusters:
    async def test_each_counts_its_own_nodes_and_one_that_is_lost_stops_only_itself(
        self, site: Site, control_plane: RealCluster, own_control_plane: RealCluster
    ) -> None:
        yard = site.yard
        await control_plane.add_fake_nodes(["registered-1"], gpus=8, labels={"kind": "registered"})
        await own_control_plane.add_fake_nodes(["registered-2", "registered-3"], gpus=4, labels={"kind": "registered"})
        async with own_control_plane.relay() as relay:
            await register(site, "first", control_plane.kubeconfig_text)
            second = await register(site, "second", own_control_plane.kubeconfig_through(relay))
            for name, cluster, kind in (("one", "first", "k1"), ("two", "second", "k2")):
                await apply(
                    yard,
                    PoolSetting(
                        name=name, cluster=cluster, accelerator=kind, node_selector={"kind": "registered"},
                        tolerations=(KWOK,), image=IMAGE,
                    ),
                )  # fmt: skip
            async with yard.database.transaction() as session:
                await yard.reprice(session, factor=1, pools=["small", "big", "one", "two"])
            async with working(yard, workers=2):

                async def counted() -> bool:
                    return (await slots_of(site, "one"), await slots_of(site, "two")) == (8, 8)

                await until(counted)
                jobs = [await yard.submit(yard.spec(kind, accelerator=kind)) for kind in ("k1", "k2")]

                async def launched() -> bool:
                    states = {(await yard.job(job_id)).state for job_id in jobs}
                    return states.isdisjoint({"QUEUED", "ADMITTED"})

                await until(launched)
                assert {(await yard.attempt(job_id)).machines[0][:10] for job_id in jobs} == {"registered"}

                relay.refuse()

                async def lost() -> bool:
                    return await state_of(site, "second") == "UNREACHABLE"

                await until(lost)
                assert await state_of(site, "first") == "READY"
                another = await yard.submit(yard.spec("another", accelerator="k1"))

                async def goes_on() -> bool:
                    return (await yard.job(another)).state not in {"QUEUED", "ADMITTED"}

                await until(goes_on)
                # The credentials that lead past the broken way: the same cluster, so that its jobs stay its jobs.
                given = {"clusterId": second["id"], "kubeconfig": own_control_plane.kubeconfig_text}
                answer = await site.ask("root", document("updateClusterCredentials"), input=given)
                assert answer["updateClusterCredentials"]["errors"] == []
                relay.cut()

                async def back() -> bool:
                    return await state_of(site, "second") == "READY" and await slots_of(site, "two") == 8

                await until(back)
        await control_plane.remove_nodes(["registered-1"])

    async def test_another_clusters_credentials_are_refused(
        self, site: Site, control_plane: RealCluster, own_control_plane: RealCluster
    ) -> None:
        cluster = await register(site, "first", control_plane.kubeconfig_text)
        given = {"clusterId": cluster["id"], "kubeconfig": own_control_plane.kubeconfig_text}
        answer = await site.ask("root", document("updateClusterCredentials"), input=given)
        assert [error["code"] for error in answer["updateClusterCredentials"]["errors"]] == ["ANOTHER_CLUSTER"]
        twice = {"name": "again", "region": "eu", "kubeconfig": control_plane.kubeconfig_text}
        answer = await site.ask("root", document("registerCluster"), input=twice)
        assert [error["code"] for error in answer["registerCluster"]["errors"]] == ["CLUSTER_REGISTERED_TWICE"]


class TestUnusableCredentials:
    async def test_a_worker_without_the_key_says_so(self, site: Site, control_plane: RealCluster) -> None:
        await register(site, "first", control_plane.kubeconfig_text)
        site.yard.settings.credentials_key_file.write_text("00" * 32 + "\n")
        async with working(site.yard):

            async def refusing() -> bool:
                return await state_of(site, "first") == "REFUSING"

            await until(refusing)
        (cluster,) = await site.yard.rows(Cluster, Cluster.name == "first")
        assert "GUILDHALL_CREDENTIALS_KEY_FILE does not hold" in cluster.state_message
