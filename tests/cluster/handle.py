"""A cluster as tests hold it: how to reach it, how pods reach us, and how to disturb it."""

import asyncio
import contextlib
import json
import ssl
import tempfile
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from tests.cluster.configuration import LOOPBACK, NODE_ADDRESS
from tests.cluster.images import Images
from tests.cluster.joining import Joined
from tests.cluster.relay import Relay
from tests.cluster.standing import GPU, GPUS

_AT_ONCE = 16


def current_context(kubeconfig: Mapping[str, Any]) -> dict[str, Any]:
    """The same with one cluster, user and context: somebody's own file may name many."""

    def named(kind: str, name: str) -> list[dict[str, Any]]:
        return [each for each in kubeconfig[kind] if each["name"] == name]

    (chosen,) = named("contexts", kubeconfig["current-context"])
    clusters, users = named("clusters", chosen["context"]["cluster"]), named("users", chosen["context"]["user"])
    return {**kubeconfig, "clusters": clusters, "users": users, "contexts": [chosen]}


@dataclass(frozen=True)
class RealCluster:
    """Several test processes may use the same one at once: work in namespaces and on nodes of your own."""

    kubeconfig_path: Path
    joined: Joined | None
    """None for a cluster that somebody else runs; it can be used, but not disturbed."""
    images: Images = field(default_factory=Images)
    host_for_pods: str = NODE_ADDRESS
    """The address at which pods reach what `exposed` exposes."""

    @property
    def kubeconfig_text(self) -> str:
        """An administrator's kubeconfig as JSON, with everything inline and nothing but the current context."""
        return json.dumps(current_context(yaml.safe_load(self.kubeconfig_path.read_text(encoding="utf-8"))))

    def kubeconfig_through(self, relay: Relay) -> str:
        """The same, through a relay that was made with `relay()`."""
        content = json.loads(self.kubeconfig_text)
        content["clusters"][0]["cluster"]["server"] = f"https://{LOOPBACK}:{relay.port}"
        return json.dumps(content)

    def relay(self) -> Relay:
        """A relay before the API server, to be cut, stalled and refused; enter it as an async context manager."""
        server = urlsplit(json.loads(self.kubeconfig_text)["clusters"][0]["cluster"]["server"])
        assert server.hostname is not None
        return Relay((server.hostname, server.port or 443))

    def client(self) -> httpx.AsyncClient:
        """An administrator's plain HTTP client, independent of the code under test. The caller closes it."""
        content = json.loads(self.kubeconfig_text)
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        trusted = ssl.create_default_context(cadata=b64decode(cluster["certificate-authority-data"]).decode())
        if "token" in user:
            signed = {"authorization": f"Bearer {user['token']}"}
            return httpx.AsyncClient(base_url=cluster["server"], headers=signed, verify=trusted, timeout=30)
        with tempfile.NamedTemporaryFile() as pair:  # ssl reads a pair from a file alone
            pair.write(b64decode(user["client-certificate-data"]) + b64decode(user["client-key-data"]))
            pair.flush()
            trusted.load_cert_chain(pair.name)
        return httpx.AsyncClient(base_url=cluster["server"], verify=trusted, timeout=30)

    @contextlib.asynccontextmanager
    async def exposed(self, port: int) -> AsyncIterator[str]:
        """The base URL at which pods reach a server that listens on this machine's loopback at that port."""
        if self.joined is None:
            async with Relay((LOOPBACK, port), listen=(self.host_for_pods, 0)) as relay:
                yield f"http://{self.host_for_pods}:{relay.port}"
            return
        there = (await self.joined.ordered("expose", port=port, as_port=0))["port"]
        try:
            yield f"http://{self.host_for_pods}:{there}"
        finally:
            await self.joined.ordered("conceal", as_port=there)

    async def kill(self, component: str) -> None:
        """Kill -9: kube-apiserver, etcd, kube-controller-manager, kube-scheduler, kwok, containerd or kubelet."""
        await self._own.ordered("kill", component=component)

    async def start(self, component: str) -> None:
        """Start a killed component again; for API server and etcd, until the API server is ready."""
        await self._own.ordered("start", component=component)

    async def freeze(self, component: str) -> None:
        """SIGSTOP: it holds its connections and says nothing."""
        await self._own.ordered("freeze", component=component)

    async def thaw(self, component: str) -> None:
        """SIGCONT."""
        await self._own.ordered("thaw", component=component)

    async def compact(self) -> int:
        """Make etcd forget all revisions before the present one.

        An API server that goes on still has recent events in its watch cache; restart it for watches to meet a 410.
        """
        return int((await self._own.ordered("compact"))["revision"])

    @property
    def _own(self) -> Joined:
        assert self.joined is not None, "this cluster is not ours to disturb"
        return self.joined

    async def add_fake_nodes(
        self,
        names: Sequence[str],
        *,
        gpus: int = GPUS,
        labels: Mapping[str, str] | None = None,
        taints: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Nodes that kwok keeps: pods on them say that they run, and those of a Job succeed, at once or when they say.

        A container's variable FAKE_RUNS_FOR, such as `3s`, says for how long.

        They carry the taint kwok.x-k8s.io/node=fake:NoSchedule besides those asked for, so that only pods that
        tolerate it come to them.
        """
        async with self.client() as client:
            await _all([client.post("/api/v1/nodes", json=fake_node(name, gpus, labels, taints)) for name in names])

    async def remove_nodes(self, names: Sequence[str]) -> None:
        """Delete nodes, as an operator would, real or fake."""
        async with self.client() as client:
            await _all([client.delete(f"/api/v1/nodes/{name}") for name in names])


async def _all(requests: Sequence[Any]) -> None:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(request: Any) -> None:
        async with gate:
            answer = await request
        assert answer.is_success or answer.status_code == httpx.codes.NOT_FOUND, answer.text

    await asyncio.gather(*(one(request) for request in requests))


def fake_node(
    name: str, gpus: int, labels: Mapping[str, str] | None, taints: Sequence[Mapping[str, str]]
) -> Mapping[str, Any]:
    """The object that kwok takes for one of its nodes."""
    size = {"cpu": "96", "memory": "1Ti", "pods": "256", GPU: str(gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": name, **(labels or {})},
        },
        "spec": {"taints": [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}, *taints]},
        "status": {"capacity": size, "allocatable": size},
    }
