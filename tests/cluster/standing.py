"""A cluster that stands: brought up part by part, disturbed by tests, taken down to the last control group."""

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any

import httpx

from tests.cluster import configuration
from tests.cluster.binaries import Binaries
from tests.cluster.certificates import NODE, write_certificates
from tests.cluster.configuration import LOOPBACK, NODE_ADDRESS, SERVICE_ADDRESS, Layout, Ports
from tests.cluster.relay import Relay
from tests.cluster.supervised import Supervised
from tests.cluster.unavailable import ClusterUnavailable

READY_SECONDS_MAX = 180
GPUS = 8
GPU = "nvidia.com/gpu"
CONTROL_GROUPS = Path("/sys/fs/cgroup")
SERVICE_PORT = 443
_POLL_SECONDS = 0.05
_CONTROL = ("ctr", f"--address={configuration.CONTAINERD_SOCKET}", "--namespace=k8s.io")
_REMOVE_TRIES_MAX = 100
_PORTS = range(20_000, 32_000)  # below those that the kernel hands out, so that a restart finds its port free

COMPONENTS: Mapping[str, Callable[[Layout], Sequence[str]]] = {
    "etcd": configuration.etcd,
    "kube-apiserver": configuration.api_server,
    "kube-controller-manager": configuration.controller_manager,
    "kube-scheduler": configuration.scheduler,
    "kwok": configuration.kwok,
    "coredns": configuration.coredns,
    "containerd": configuration.containerd,
    "kubelet": configuration.kubelet,
}


class StandingCluster:
    """One cluster in one folder."""

    def __init__(self, state: Path, binaries: Binaries, *, real_node: bool) -> None:
        ports = Ports() if real_node else Ports(*free_ports(3))
        self.layout = Layout(state, binaries, ports, real_node)
        self.supervised = Supervised(state, control_group=self.layout.cgroup if real_node else None)
        self._relays: dict[int, Relay] = {}
        self._forwards: dict[tuple[str, int], Relay] = {}
        self._open = contextlib.AsyncExitStack()
        self._http: httpx.AsyncClient | None = None

    async def up(self, archives: Sequence[Path]) -> None:
        """Start everything and wait until a pod could run."""
        layout = self.layout
        write_certificates(
            layout.state / "certificates", [LOOPBACK, "localhost", NODE_ADDRESS, SERVICE_ADDRESS], NODE_ADDRESS
        )
        await self.supervised.open()
        api_port = layout.ports.api
        if layout.real_node:
            await self._make_network()
            relay = Relay((layout.address, layout.ports.api), connect_in=self.supervised.network)
            api_port = (await self._open.enter_async_context(relay)).port
        configuration.write_files(layout, api_port)
        self._http = await self._open.enter_async_context(self._client(api_port))
        await self.start("etcd")
        await self.start("kube-apiserver")
        if layout.real_node:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._start_control())
                both.create_task(self._start_node(archives))
            await self.forward(SERVICE_ADDRESS, SERVICE_PORT, layout.address, layout.ports.api)
            await self.start("coredns")
            await self._until("the node is ready", self._node_is_ready)
            await self.offer(GPU, GPUS)
        else:
            await self._start_control()
        await self._until("pods can be made", self._accounts_are_there)

    async def down(self) -> None:
        """End all processes, and with them mounts and network; then remove what lies in the machine's file systems."""
        await self._open.aclose()
        for relay in (*self._relays.values(), *self._forwards.values()):
            await relay.__aexit__()
        await self.supervised.close()
        remove_control_group(self.layout.cgroup)

    async def start(self, component: str) -> None:
        """Start a component; the API server is waited for."""
        argv = COMPONENTS[component](self.layout)
        await self.supervised.start(component, argv, dict(self.layout.environment))

    async def wait_ready(self) -> None:
        """Wait until the API server says that it is ready."""
        await self._until("the API server is ready", self._api_is_ready)

    async def freeze(self, component: str) -> None:
        """Stop a component in its tracks; its connections stay open and silent."""
        await self.supervised.signal(component, signal.SIGSTOP)

    async def thaw(self, component: str) -> None:
        """Let it go on."""
        await self.supervised.signal(component, signal.SIGCONT)

    async def expose(self, port: int, as_port: int) -> int:
        """Let pods reach a server on this machine's loopback at `NODE_ADDRESS`; answer with the port there."""
        network = self.supervised.network
        relay = Relay((LOOPBACK, port), listen=(NODE_ADDRESS, as_port), listen_in=network)
        await relay.__aenter__()
        self._relays[relay.port] = relay
        return relay.port

    async def conceal(self, as_port: int) -> None:
        """End what `expose` began."""
        relay = self._relays.pop(as_port, None)
        if relay is not None:
            await relay.__aexit__()

    async def forward(self, address: str, port: int, to_address: str, to_port: int) -> None:
        """Serve a Service's address in the cluster's network, as kube-proxy would, with this one pod behind it."""
        network = self.supervised.network
        earlier = self._forwards.pop((address, port), None)
        if earlier is not None:
            await earlier.__aexit__()
        await self.supervised.run("network", ["ip", "addr", "replace", f"{address}/32", "dev", configuration.BRIDGE])
        relay = Relay((to_address, to_port), listen=(address, port), listen_in=network, connect_in=network)
        await relay.__aenter__()
        self._forwards[address, port] = relay

    async def lead_in(self, address: str, port: int) -> int:
        """Let this machine reach an address of the cluster's network; answer with the port on loopback."""
        relay = Relay((address, port), connect_in=self.supervised.network)
        await relay.__aenter__()
        self._relays[relay.port] = relay
        return relay.port

    async def load(self, archive: Path) -> None:
        """Bring an image to the real node; one that is there already stays."""
        await self.supervised.run("import", [*_CONTROL, "images", "import", str(archive)])

    async def compact(self) -> int:
        """Make the store forget every revision before the present one, which is the answer."""
        etcd = Relay((LOOPBACK, self.layout.ports.etcd), connect_in=self.supervised.network)
        async with etcd, httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{etcd.port}/v3/kv") as store:
            found = await store.post("/range", json={"key": "AA==", "count_only": True})
            revision = int(found.raise_for_status().json()["header"]["revision"])
            (await store.post("/compaction", json={"revision": revision, "physical": True})).raise_for_status()
        return revision

    def _client(self, api_port: int) -> httpx.AsyncClient:
        trusted = ssl.create_default_context(cafile=str(self.layout.certificate("ca.crt")))
        trusted.load_cert_chain(self.layout.certificate("admin.crt"), self.layout.certificate("admin.key"))
        return httpx.AsyncClient(base_url=f"https://{LOOPBACK}:{api_port}", verify=trusted, timeout=5)

    async def _make_network(self) -> None:
        bridge = configuration.BRIDGE
        length = configuration.SUBNET.partition("/")[2]
        for arguments in (
            "link set lo up",
            f"link add {bridge} type bridge",
            f"addr add {NODE_ADDRESS}/{length} dev {bridge}",
            f"link set {bridge} up",
        ):
            await self.supervised.run("network", ["ip", *arguments.split()])

    async def _start_control(self) -> None:
        await self.wait_ready()
        for component in ("kube-controller-manager", "kube-scheduler", "kwok"):
            await self.start(component)

    async def _start_node(self, archives: Sequence[Path]) -> None:
        await self.start("containerd")
        await self._until("containerd answers", lambda: self._answers([*_CONTROL, "version"]))
        for archive in archives:
            await self.load(archive)
        await self.wait_ready()
        await self.start("kubelet")

    async def _answers(self, argv: Sequence[str]) -> bool:
        try:
            await self.supervised.run("probe", argv)
        except ClusterUnavailable:
            return False
        return True

    async def _api_is_ready(self) -> bool:
        return (await self._get("/readyz")) is not None

    async def _node_is_ready(self) -> bool:
        node = await self._get(f"/api/v1/nodes/{NODE}")
        conditions = json.loads(node)["status"].get("conditions", []) if node else []
        return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)

    async def _accounts_are_there(self) -> bool:
        return (await self._get("/api/v1/namespaces/default/serviceaccounts/default")) is not None

    async def _get(self, path: str) -> str | None:
        assert self._http is not None
        try:
            answer = await self._http.get(path)
        except httpx.TransportError:
            return None
        return answer.text if answer.status_code == httpx.codes.OK else None

    async def offer(self, resource: str, count: int) -> None:
        """Let the real node say that it has so many of an extended resource, as a device plugin would.

        The kubelet would copy the capacity into what can be allocated with its next report, seconds later.
        """
        assert self._http is not None
        name = resource.replace("/", "~1")
        patch: list[Any] = [
            {"op": "add", "path": f"/status/{where}/{name}", "value": str(count)}
            for where in ("capacity", "allocatable")
        ]
        answer = await self._http.patch(
            f"/api/v1/nodes/{NODE}/status",
            content=json.dumps(patch),
            headers={"Content-Type": "application/json-patch+json"},
        )
        answer.raise_for_status()

    async def _until(self, what: str, is_so: Callable[[], Awaitable[bool]]) -> None:
        ends_at = asyncio.get_running_loop().time() + READY_SECONDS_MAX
        while not await is_so():
            for component, code in self.supervised.codes.items():
                raise ClusterUnavailable(f"{component} ended with code {code}: {self._last_line(component)}")
            if asyncio.get_running_loop().time() > ends_at:
                raise ClusterUnavailable(f"{READY_SECONDS_MAX} seconds were not enough until {what}")
            await asyncio.sleep(_POLL_SECONDS)

    def _last_line(self, component: str) -> str:
        lines = self.layout.log(component).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def free_ports(count: int) -> Sequence[int]:
    """Ports of loopback that nobody listens on now."""
    found: list[int] = []
    for port in SystemRandom().sample(_PORTS, k=len(_PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise ClusterUnavailable(f"no port between {_PORTS.start} and {_PORTS.stop} is free")


def remove_control_group(name: str) -> None:
    """Remove the empty control groups that the pods of a cluster left, in every hierarchy."""
    for top in (CONTROL_GROUPS / name, *CONTROL_GROUPS.glob(f"*/{name}")):
        for _ in range(_REMOVE_TRIES_MAX):
            folders = [path for path in sorted(top.rglob("*"), reverse=True) if path.is_dir()] if top.is_dir() else []
            with contextlib.suppress(OSError):  # its last process is dying
                for folder in (*folders, top):
                    folder.rmdir()
            if not top.is_dir():
                break
            time.sleep(_POLL_SECONDS)


def remove_folder(state: Path) -> None:
    """Remove the folder of a cluster whose processes have ended."""
    shutil.rmtree(state, ignore_errors=True)
