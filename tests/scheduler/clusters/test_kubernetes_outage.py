"""The API server goes away while a job runs: nothing is believed meanwhile, nothing is lost, its end is seen after."""

import asyncio

import pytest

from scheduler.clusters.executor import ClusterAway, Phase
from tests.scheduler.clusters.benches import CANCELLED, KubernetesBench, until


async def until_away(bench: KubernetesBench) -> None:
    """Until lists say that the cluster is away, rather than what was last known of it."""
    while True:
        try:
            await bench.executor.observe()
        except ClusterAway:
            return
        await asyncio.sleep(0.05)


async def until_back(bench: KubernetesBench) -> None:
    """Until lists are believed again."""
    while True:
        try:
            await bench.executor.observe()
        except ClusterAway:
            await asyncio.sleep(0.05)
        else:
            return


async def test_an_outage_is_told_and_survived(kubernetes_bench: KubernetesBench) -> None:
    bench = kubernetes_bench
    async with bench.cluster.relay() as relay:
        before = bench.executor
        bench.executor = bench.restarted(bench.cluster.kubeconfig_through(relay))
        try:
            bench.place("import time; time.sleep(4)")
            await bench.executor.launch(bench.launch)
            running = await until(bench.executor, bench.launch.name, Phase.RUNNING)
            relay.refuse()
            relay.cut()
            await until_away(bench)
            for question in (
                bench.executor.knows(bench.launch.name),
                bench.executor.launch(bench.launch),
                bench.executor.stop(bench.launch.name, grace_seconds=0, reason=CANCELLED),
                bench.executor.remove("gh-unknown-1"),
            ):
                with pytest.raises(ClusterAway):
                    await question
            relay.restore()
            await until_back(bench)
            seen = await until(bench.executor, bench.launch.name, Phase.ENDED)
        finally:
            bench.executor = before
    assert (seen.exit_code, seen.reason) == (0, None)
    assert [run.source_uid for run in seen.runs] == [run.source_uid for run in running.runs]
