"""Clusters to try an executor on: this machine, and a real Kubernetes. Programs of the tests are the runners.

A pod fetches its runner from our API; here a small server stands in its place and gives out the test's program.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol
from uuid import UUID

import pytest

from guildhall.clock import SystemClock, new_id
from scheduler.clusters import local as local_module
from scheduler.clusters.executor import Executor, Launch, Observation, Phase, Placement, Reason
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.credentials import ClusterCredentials
from scheduler.clusters.kubernetes.executor import KubernetesExecutor
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.pods import PodRules
from scheduler.clusters.kubernetes.waiting import StartLimits
from scheduler.clusters.local import LocalExecutor
from tests.cluster.handle import RealCluster

CANCELLED = Reason("CANCELLED", "cancelled by ada@example.org")
POLL_SECONDS = 0.05
SECONDS_MAX = 120.0
REQUESTS_PER_SECOND = 100


def launch_of(name: str, **given: object) -> Launch:
    """A launch of little size."""
    job_id = UUID("019d0000-0000-7000-8000-000000000001")
    launch = Launch(
        name=name,
        spec_hash="a" * 64,
        job_id=job_id,
        attempt_id=job_id,
        pool="bench",
        accelerator_slots=2,
        slot_indexes=(0, 1),
        cpu=None,
        memory_bytes=None,
        walltime_seconds=600,
        environment={"FROM_LAUNCH": "yes"},
        token="ghj_secret",
        api_url="http://127.0.0.1:9",
        grace_seconds=1,
        team="maintenance",
        disk_bytes=None,
        sensitive=False,
        accelerators_per_node=2,
    )
    return replace(launch, **given)  # type: ignore[arg-type]


class Bench(Protocol):
    """A cluster with an executor on it."""

    executor: Executor
    launch: Launch

    def place(self, program: str) -> None:
        """Put a program in the runner's place, for launches from now on."""

    def restarted(self) -> Executor:
        """Another executor on the same cluster, as a worker has after it was restarted."""


async def until(executor: Executor, name: str, *phases: Phase) -> Observation:
    """What is observed of a launch, once it is in one of the phases."""
    ends_at = time.monotonic() + SECONDS_MAX
    while True:
        found = [seen for seen in await executor.observe() if seen.name == name]
        if found and found[0].phase in phases:
            return found[0]
        assert time.monotonic() < ends_at, found
        await asyncio.sleep(POLL_SECONDS)


async def printed(executor: Executor, name: str) -> list[str]:
    """The lines that the launch's runner has printed so far."""
    return [line.text for line in await executor.logs(name, after=0, limit=10_000)]


async def until_printed(executor: Executor, name: str, text: str) -> None:
    """Wait until the runner has printed a line."""
    ends_at = time.monotonic() + SECONDS_MAX
    while text not in await printed(executor, name):
        assert time.monotonic() < ends_at, f"{text!r} was not printed"
        await asyncio.sleep(POLL_SECONDS)


async def cleared(executor: Executor, name: str) -> None:
    """End a launch and have it forgotten."""
    if await executor.knows(name):
        await executor.stop(name, grace_seconds=0, reason=CANCELLED)
        await until(executor, name, Phase.ENDED, Phase.LOST)
        await executor.remove(name)
    # The local executor buries its children as it looks.
    await executor.observe()


@dataclass
class LocalBench:
    """This machine."""

    folder: Path
    patch: pytest.MonkeyPatch
    isolated: bool
    launch: Launch = field(default_factory=lambda: launch_of(f"gh-{new_id().hex}-1"))

    def __post_init__(self) -> None:
        self.executor: Executor = self.restarted()

    def place(self, program: str) -> None:
        self.patch.setattr(local_module, "runner_archive", program.encode)

    def restarted(self) -> Executor:
        executor = LocalExecutor(self.folder / "jobs", hidden_folders=[self.folder], new_id=new_id)
        executor.isolated = self.isolated
        return executor


@asynccontextmanager
async def opened_local_bench(folder: Path, patch: pytest.MonkeyPatch, *, isolated: bool) -> AsyncIterator[LocalBench]:
    """A bench that leaves nothing behind; coverage follows its supervisors."""
    for name, value in os.environ.items():
        if name.startswith("COVERAGE"):
            patch.setitem(local_module.SUPERVISOR_ENVIRONMENT, name, value)
    bench = LocalBench(folder, patch, isolated)
    yield bench
    await cleared(bench.executor, bench.launch.name)


class ProgramServer:
    """Gives out a program under /runner/v1/archive, or waits with it while it is held back."""

    def __init__(self) -> None:
        self.program = b""
        self.tokens: list[str] = []
        self.refuses = False
        self.given = threading.Event()
        self.given.set()
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                served.tokens.append(self.headers["Authorization"])
                served.given.wait()
                if served.refuses:
                    self.send_error(403)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(served.program)))
                self.end_headers()
                self.wfile.write(served.program)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port

    @contextmanager
    def serving(self) -> Iterator["ProgramServer"]:
        """Serve as long as the block."""
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.given.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


@dataclass
class KubernetesBench:
    """A real cluster, in namespaces of this bench's own."""

    cluster: RealCluster
    programs: ProgramServer
    api_url: str
    installation: Installation = field(default_factory=lambda: Installation(str(new_id())))
    rules: PodRules = field(default_factory=lambda: PodRules(node_silent_seconds=5))
    limits: StartLimits = field(default_factory=StartLimits)
    opened: list[KubernetesExecutor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.executor: Executor = self.restarted()
        self.launch = self.new_launch()

    def new_launch(self, **given: object) -> Launch:
        """A launch under a name that no other has."""
        values = {"image": self.cluster.images.python, "cpu": 0.05, "memory_bytes": 64 << 20, **given}
        placement = Placement(accelerator_resource="nvidia.com/gpu")
        return launch_of(f"gh-{new_id().hex}-1", api_url=self.api_url, placement=placement, **values)

    def place(self, program: str) -> None:
        self.programs.program = program.encode()
        self.programs.refuses = False

    def restarted(self, kubeconfig: str | None = None) -> KubernetesExecutor:
        """Another executor, with a connection and a copy of its own."""
        credentials = ClusterCredentials(kubeconfig or self.cluster.kubeconfig_text)
        api = KubernetesApi.connect(credentials, requests_per_second=REQUESTS_PER_SECOND, clock=time.monotonic)
        executor = KubernetesExecutor(api, self.installation, clock=SystemClock(), rules=self.rules, limits=self.limits)
        self.opened.append(executor)
        return executor

    @property
    def namespace(self) -> str:
        """Where its launches run."""
        return self.installation.namespace(self.launch.team)

    async def objects(self, kind: str, *, core: bool = True) -> list[dict[str, object]]:
        """What the API server has of a kind in our namespace, asked without our own code."""
        base = "/api/v1" if core else "/apis/batch/v1"
        async with self.cluster.client() as client:
            answer = await client.get(f"{base}/namespaces/{self.namespace}/{kind}")
        found: list[dict[str, object]] = answer.raise_for_status().json()["items"]
        return found


@asynccontextmanager
async def opened_bench(
    cluster: RealCluster, make: Callable[..., KubernetesBench] = KubernetesBench
) -> AsyncIterator[KubernetesBench]:
    """A bench whose namespace goes with it."""
    with ProgramServer().serving() as programs:
        async with cluster.exposed(programs.port) as url:
            bench = make(cluster, programs, url)
            try:
                yield bench
            finally:
                await _tidy(bench)


async def _tidy(bench: KubernetesBench) -> None:
    last = bench.restarted()
    for seen in await last.observe():
        await cleared(last, seen.name)
    for executor in bench.opened:
        await executor.close()
    async with bench.cluster.client() as client:
        await client.delete(f"/api/v1/namespaces/{bench.namespace}")
