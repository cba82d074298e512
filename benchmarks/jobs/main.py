"""`make bench-jobs`: alternating rounds on one API server, and what the issue wants of their ratios."""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.jobs.bare import AT_ONCE, Bare, bare_client
from benchmarks.processes import cpu_seconds
from benchmarks.report import Figure, at_least, at_most, plain, report
from guildhall.clock import SystemClock, new_id
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.migrating import load_tables, migrate
from scheduler.clusters.executor import Launch, Placement, Toleration
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.credentials import ClusterCredentials
from scheduler.clusters.kubernetes.executor import KubernetesExecutor
from scheduler.clusters.kubernetes.manifests import job_manifest, token_manifest
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.pods import PodRules
from tests.cluster.configuration import RUNS_FOR
from tests.cluster.handle import RealCluster
from tests.cluster.joining import join
from tests.cluster.standing import GPU
from tests.e2e.faults.conftest import make_house
from tests.e2e.faults.house import House
from tests.e2e.faults.processes import running
from tests.e2e.fleet.house import (
    IMAGE,
    KWOK_TAINT,
    NODE_LABEL,
    SETTINGS,
    accepted,
    add_nodes,
    fleet_job,
    furnish,
    quotes,
)
from tests.e2e.fleet.house import until_counted as until_nodes_counted
from tests.e2e.fleet.workers import working
from tests.scheduler.clusters.kubernetes.faulty_proxy import FaultyProxy, faulty_proxy

FLEET = "bench"
TEAM = "works"
NODES = 50
GPUS = 8
UNLIMITED = 10_000
PACED_REQUESTS_PER_SECOND = 100
PACED_LAUNCHES = 150
SETTLED_SECONDS_MAX = 900
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Bench:
    """A cluster, an installation on it, and a client of the peer's."""

    cluster: RealCluster
    house: House
    bare: Bare
    api_pid: int
    database_pid: int

    async def creation(self, launches: int, rounds: int) -> Figure:
        """Launches a second: ours and the peer's take turns, and each waits until the other's Jobs are complete."""
        ours, peers = [], []
        for number in range(rounds):
            peers.append(launches / await self._create_bare(launches))
            ours.append(launches / await self._create_ours(launches))
            say(f"launches, round {number + 1} of {rounds}: {ours[-1]:.0f} a second, bare {peers[-1]:.0f}")
        rate, peer = statistics.median(ours), statistics.median(peers)
        return at_least(f"{launches} launches at once, a second", rate, peer, 0.65)

    async def completion(self, jobs: int, rounds: int, workers: int) -> list[Figure]:
        """Jobs a second from the first acceptance to the last settlement, against bare Jobs from POST to Complete."""
        ours, peers, waited, forgotten = [], [], [], []
        cpu: dict[str, list[float]] = {"worker": [], "API": [], "database": []}
        with working(self.house.site, workers) as hired:
            processes = [psutil.Process(pid) for pid in (hired.program.pid, self.api_pid, self.database_pid)]
            for number in range(rounds):
                peers.append(jobs / await self._complete_bare(jobs))
                say(f"jobs, round {number + 1} of {rounds}: bare {peers[-1]:.1f} a second; now quotes, then ours")
                quote_ids = await quotes(self.house, [fleet_job(number, gpus=1) for number in range(jobs)])
                began = time.perf_counter()
                spent = [cpu_seconds(process) for process in processes]
                await accepted(self.house, quote_ids)
                waited.append(jobs / (time.perf_counter() - began))
                await self._until_none("SELECT 1 FROM jobs WHERE settled_at IS NULL")
                ours.append(jobs / (time.perf_counter() - began))
                for name, process, before in zip(cpu, processes, spent, strict=True):
                    cpu[name].append(1000 * (cpu_seconds(process) - before) / jobs)
                say(f"jobs, round {number + 1} of {rounds}: ours {ours[-1]:.1f} a second")
                await self._until_none("SELECT 1 FROM attempts WHERE removed_at IS NULL")
                forgotten.append(jobs / (time.perf_counter() - began))
        rate, peer = statistics.median(ours), statistics.median(peers)
        return [
            at_least(f"{jobs} jobs accepted to settled, a second", rate, peer, 0.7),
            plain("  of which accepted, a second", statistics.median(waited)),
            plain("  accepted to forgotten by the cluster, a second", statistics.median(forgotten)),
            *(plain(f"  CPU ms a job, {name}", statistics.median(spent)) for name, spent in cpu.items()),
        ]

    async def pace(self) -> Figure:
        """The most requests that the server saw within any second, against what is configured."""
        with tempfile.TemporaryDirectory() as folder:
            async with faulty_proxy(self.cluster.kubeconfig_text, Path(folder)) as proxy:
                moments = _noted(proxy)
                async with _executor(proxy.kubeconfig, PACED_REQUESTS_PER_SECOND) as (executor, installation):
                    await _launched(executor, _launches(PACED_LAUNCHES, installation))
        most = max(sum(1 for other in moments if at <= other < at + 1) for at in moments)
        return at_most("most requests within a second, of those configured", most, PACED_REQUESTS_PER_SECOND, 1.0)

    async def _create_bare(self, count: int) -> float:
        installation = Installation(str(new_id()))
        version = await self.bare.version()
        await self._namespace(installation)
        took = await self.bare.post_all(installation.namespace(TEAM), _manifests(count, installation))
        await self.bare.completed(version, count, installation.selector)
        return took

    async def _create_ours(self, count: int) -> float:
        async with _executor(self.cluster.kubeconfig_text, UNLIMITED) as (executor, installation):
            first, *launches = _launches(count + 1, installation)
            version = await self.bare.version()
            await executor.launch(first)  # which makes the namespace
            began = time.perf_counter()
            await _launched(executor, launches)
            took = time.perf_counter() - began
            await self.bare.completed(version, count + 1, installation.selector)
        return took

    async def _complete_bare(self, count: int) -> float:
        installation = Installation(str(new_id()))
        version = await self.bare.version()
        await self._namespace(installation)
        jobs = [(job, None) for job, _ in _manifests(count, installation)]
        began = time.perf_counter()
        _, ended = await asyncio.gather(
            self.bare.post_all(installation.namespace(TEAM), jobs),
            self.bare.completed(version, count, installation.selector),
        )
        return ended - began

    async def _namespace(self, installation: Installation) -> None:
        await self.bare.post("/api/v1/namespaces", {"metadata": {"name": installation.namespace(TEAM)}})

    async def _until_none(self, left: str) -> None:
        ends_at = time.monotonic() + SETTLED_SECONDS_MAX
        while await asyncio.to_thread(self.house.book.rows, f"{left} LIMIT 1"):
            assert time.monotonic() < ends_at, f"not within {SETTLED_SECONDS_MAX} seconds: nothing in {left}"
            await asyncio.sleep(POLL_SECONDS)


def say(sentence: str) -> None:
    """A sign of life on stderr: the whole takes some eight minutes."""
    print(f"{time.strftime('%H:%M:%S')} {sentence}", file=sys.stderr, flush=True)


def _noted(proxy: FaultyProxy) -> list[float]:
    moments: list[float] = []

    async def note(_: object) -> None:
        moments.append(time.perf_counter())

    proxy.answer = note
    return moments


@asynccontextmanager
async def _executor(
    kubeconfig: str, requests_per_second: int
) -> AsyncIterator[tuple[KubernetesExecutor, Installation]]:
    installation = Installation(str(new_id()))
    credentials = ClusterCredentials(kubeconfig)
    api = KubernetesApi.connect(credentials, requests_per_second=requests_per_second, clock=time.monotonic)
    executor = KubernetesExecutor(api, installation, clock=SystemClock())
    try:
        yield executor, installation
    finally:
        await executor.close()


async def _launched(executor: KubernetesExecutor, launches: Sequence[Launch]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(launch: Launch) -> None:
        async with gate:
            await executor.launch(launch)

    await asyncio.gather(*(one(launch) for launch in launches))


def _launches(count: int, installation: Installation) -> list[Launch]:
    """As the scheduler makes them of `fleet_job`."""
    launch = Launch(
        name="gh",
        spec_hash="a" * 64,
        job_id=new_id(),
        attempt_id=new_id(),
        pool="fleet",
        accelerator_slots=1,
        slot_indexes=(),
        cpu=None,
        memory_bytes=None,
        walltime_seconds=600,
        environment={RUNS_FOR: "0s"},
        token="ghj_" + "x" * 43,
        api_url="http://127.0.0.1:9",
        grace_seconds=2,
        team=TEAM,
        disk_bytes=None,
        sensitive=False,
        image=IMAGE,
        accelerators_per_node=1,
        placement=Placement(
            node_selector={NODE_LABEL: FLEET},
            tolerations=(Toleration(key=KWOK_TAINT),),
            accelerator_resource=GPU,
        ),
    )
    names = [f"gh-{new_id().hex}-1-{installation.id[-6:]}" for _ in range(count)]
    return [replace(launch, name=name, job_id=new_id(), machines=(f"{FLEET}-1",)) for name in names]


def _manifests(count: int, installation: Installation) -> list[tuple[Any, Any]]:
    rules = PodRules()
    return [
        (
            {"apiVersion": "batch/v1", "kind": "Job", **job_manifest(installation, launch, rules)},
            {"apiVersion": "v1", "kind": "Secret", **token_manifest(installation, launch, "")},
        )
        for launch in _launches(count, installation)
    ]


async def main() -> None:
    """A cluster and an installation of their own, compared and reported."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--launches", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    load_tables()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="guildhall-bench-jobs-")))
        cluster = joined_cluster(stack)
        async with EmbeddedServer(folder / "postgres") as server, bare_client(cluster.kubeconfig_text) as bare:
            await migrate(server.owner_url)
            addresses = {
                **SETTINGS,
                "GUILDHALL_DATABASE_URL": server.service_url,
                "GUILDHALL_MIGRATION_DATABASE_URL": server.owner_url,
            }
            (folder / "site").mkdir()
            house = await asyncio.to_thread(make_house, folder / "site", addresses, stack)
            api = stack.enter_context(running(house.site, "api"))
            await add_nodes(cluster, FLEET, NODES, GPUS)
            furnish(house, cluster.kubeconfig_text, FLEET, requests_per_second=UNLIMITED)
            await asyncio.to_thread(until_nodes_counted, house, NODES * GPUS)
            assert server.pid is not None, "the database runs"
            bench = Bench(cluster, house, bare, api.pid, server.pid)
            figures = [
                await bench.creation(given.launches, given.rounds + 1),
                *await bench.completion(given.jobs, given.rounds, given.workers),
                await bench.pace(),
            ]
            stack.pop_all().close()
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    report("jobs", figures, notes=[f"{given.workers} worker(s), {NODES} nodes of {GPUS}; load at the end {load}"])


def joined_cluster(stack: ExitStack) -> RealCluster:
    """A control plane of this run's own."""
    joined = stack.enter_context(join(f"bench-{os.getpid():x}", real_node=False))
    return RealCluster(joined.kubeconfig, joined)


if __name__ == "__main__":
    asyncio.run(main())
