"""An installation of the chart on a test cluster, with what that cluster lacks: a registry, volumes, Services.

The image is loaded into the node, volumes are folders of it, and a Service's address leads to its one pod.
"""

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from kubernetes import client, config, stream

from tests.cluster.certificates import NODE
from tests.cluster.handle import RealCluster
from tests.cluster.joining import Joined
from tests.cluster.server_image import server_archive
from tools.chart_checks import CHART

NAMESPACE = "chart"
RELEASE = "guildhall"
STORAGE = "folders-of-the-node"
VOLUMES = ("guildhall-trial-artifacts", "database-guildhall-trial-database-0")
API_ADDRESS, API_PORT = "10.96.0.201", 8321
DATABASE_ADDRESS, DATABASE_PORT = "10.96.0.202", 5432
INSTALL_SECONDS_MAX = 300
EXECUTE_SECONDS_MAX = 120
POLL_SECONDS = 0.5
SERVED: Mapping[str, tuple[str, int]] = {
    "api": (API_ADDRESS, API_PORT),
    "trial-database": (DATABASE_ADDRESS, DATABASE_PORT),
}


@dataclass
class Installation:
    """The release `guildhall` in the namespace `chart`, which enforces the restricted Pod Security Standard."""

    cluster: RealCluster
    helm: Path
    folder: Path
    url: str = ""
    served: dict[str, str] = field(default_factory=dict)

    @property
    def joined(self) -> Joined:
        assert self.cluster.joined is not None, "only a cluster of our own can be prepared like this"
        return self.cluster.joined

    async def install(self) -> str:
        """Prepare the cluster and install; what Helm said at the end."""
        image = await asyncio.to_thread(server_archive, self.folder / "server.tar", "test", lambda _: None)
        await self.joined.ordered("load", archive=str(self.folder / "server.tar"))
        (self.folder / "server.tar").unlink()
        await self._make_namespace()
        await self._make_volumes()
        port = (await self.joined.ordered("lead_in", address=API_ADDRESS, port=API_PORT))["port"]
        self.url = f"http://127.0.0.1:{port}"
        values = self.folder / "values.yaml"
        values.write_text(yaml.safe_dump(_values(image, self.url)), encoding="utf-8")
        serving = asyncio.create_task(self._serve())
        try:
            told = await asyncio.to_thread(
                self.run_helm,
                *("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", str(values)),
                *("--wait", "--wait-for-jobs", "--timeout", f"{INSTALL_SECONDS_MAX}s"),
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{await self.state()}") from None
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        return told

    def run_helm(self, *arguments: str) -> str:
        """Helm against this cluster, with folders of its own."""
        homes = dict.fromkeys(("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"), str(self.folder / "helm"))
        done = subprocess.run(
            [str(self.helm), *arguments, "--kubeconfig", str(self.cluster.kubeconfig_path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **homes},
        )
        assert done.returncode == 0, f"helm {arguments[0]}: {done.stderr}"
        return done.stdout

    async def pods(self) -> dict[str, dict[str, Any]]:
        """The pods of the release by their part."""
        async with self.cluster.client() as http:
            found = (await http.get(f"/api/v1/namespaces/{NAMESPACE}/pods")).raise_for_status().json()["items"]
        return {each["metadata"]["labels"]["app.kubernetes.io/component"]: each for each in found}

    async def execute(self, part: str, *command: str) -> str:
        """Run a command in the container of a part, as `kubectl exec` does."""
        pod = (await self.pods())[part]["metadata"]["name"]
        return await asyncio.to_thread(self._execute, pod, part, list(command))

    async def state(self) -> str:
        """What the pods say, for the message of a failed test."""
        told = []
        async with self.cluster.client() as http:
            for part, pod in (await self.pods()).items():
                name = pod["metadata"]["name"]
                told.append(f"{part}: {json.dumps(pod['status'].get('containerStatuses'))}")
                for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
                    log = await http.get(
                        f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/log",
                        params={"container": container["name"], "tailLines": 20},
                    )
                    told.append(log.text)
            events = (await http.get(f"/api/v1/namespaces/{NAMESPACE}/events")).json()["items"]
        told += [f"{each['type']} {each['involvedObject']['name']}: {each['message']}" for each in events[-20:]]
        return "\n".join(told)

    def _execute(self, pod: str, container: str, command: list[str]) -> str:
        configuration = client.Configuration()
        config.load_kube_config(str(self.cluster.kubeconfig_path), client_configuration=configuration)
        with client.ApiClient(configuration) as api:
            core = client.CoreV1Api(api)
            said = stream.stream(
                core.connect_get_namespaced_pod_exec, pod, NAMESPACE, container=container, command=command,
                stdout=True, stderr=True, stdin=False, tty=False, _preload_content=False,
            )  # fmt: skip
            try:
                said.run_forever(timeout=EXECUTE_SECONDS_MAX)
                return str(said.read_all())
            finally:
                said.sock.shutdown()  # close() leaves the socket open where the other end was first

    async def _make_namespace(self) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        async with self.cluster.client() as http:
            made = await http.post("/api/v1/namespaces", json={"metadata": {"name": NAMESPACE, "labels": labels}})
            made.raise_for_status()

    async def _make_volumes(self) -> None:
        """The folders lie in the node's own file system, which goes with the cluster."""
        within = ["nsenter", "--target", str(self.joined.pid), "--mount"]
        async with self.cluster.client() as http:
            for name in VOLUMES:
                path = f"/var/lib/{name}"
                await asyncio.to_thread(subprocess.run, [*within, "mkdir", path], check=True)
                made = await http.post("/api/v1/persistentvolumes", json=_volume(name, path))
                made.raise_for_status()

    async def _serve(self) -> None:
        """Lead the Services' addresses to their pods as they come."""
        while True:
            for part, pod in (await self.pods()).items():
                address = pod["status"].get("podIP")
                if part in SERVED and address is not None and self.served.get(part) != address:
                    service, port = SERVED[part]
                    await self.joined.ordered("forward", address=service, port=port, to_address=address, to_port=port)
                    self.served[part] = address
            await asyncio.sleep(POLL_SECONDS)


@contextlib.asynccontextmanager
async def installed(cluster: RealCluster, helm: Path, folder: Path) -> AsyncIterator[Installation]:
    """The chart, installed for as long as the block; the volumes go with the cluster."""
    installation = Installation(cluster, helm, folder)
    await installation.install()
    yield installation


async def ready(url: str) -> int:
    """What the API says of itself."""
    async with httpx.AsyncClient(timeout=30) as http:
        return (await http.get(f"{url}/readyz")).status_code


def _values(image: str, url: str) -> dict[str, Any]:
    little = {"requests": {"cpu": "20m", "memory": "64Mi"}}
    repository, _, tag = image.rpartition(":")
    return {
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
        "trial": {"enabled": True, "storageClassName": STORAGE, "databaseSize": "1Gi", "artifactsSize": "1Gi"},
        "api": {"replicas": 1, "resources": little},
        "worker": {"replicas": 1, "resources": little},
        "sealer": {"resources": little},
        "migration": {"resources": little},
        "trialDatabase": {"resources": little},
        "publicUrl": url,
        "clusterAccess": {"create": True},
        "jobsUrl": f"http://{API_ADDRESS}:{API_PORT}",
        "service": {"clusterIP": API_ADDRESS, "databaseClusterIP": DATABASE_ADDRESS},
        # There is no DNS in the test cluster.
        "hostAliases": [{"ip": DATABASE_ADDRESS, "hostnames": [f"guildhall-trial-database.{NAMESPACE}.svc"]}],
    }


def _volume(claim: str, path: str) -> dict[str, Any]:
    return {
        "metadata": {"name": claim},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE,
            "claimRef": {"namespace": NAMESPACE, "name": claim},
            "local": {"path": path},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}
                    ]
                }
            },
        },
    }
