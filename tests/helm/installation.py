"""An installation of the chart on a test cluster, with what that cluster lacks: a registry, volumes, Services.

The image is loaded into the node, volumes are folders of it, and a Service's address leads to its one pod.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
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
LITTLE = {"requests": {"cpu": "20m", "memory": "64Mi"}}


@dataclass
class Installation:
    """A release in a namespace of its own, which enforces the restricted Pod Security Standard."""

    cluster: RealCluster
    helm: Path
    folder: Path
    image: str
    release: str = "guildhall"
    namespace: str = "chart"
    services: Mapping[str, tuple[str, int]] = field(default_factory=lambda: SERVED)
    url: str = ""
    served: dict[str, str] = field(default_factory=dict)

    @property
    def joined(self) -> Joined:
        assert self.cluster.joined is not None, "only a cluster of our own can be prepared like this"
        return self.cluster.joined

    async def prepare(self) -> None:
        """The namespace, and a way to the API from here."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        async with self.cluster.client() as http:
            made = await http.post("/api/v1/namespaces", json={"metadata": {"name": self.namespace, "labels": labels}})
            made.raise_for_status()
        address, port = self.services["api"]
        self.url = f"http://127.0.0.1:{(await self.joined.ordered('lead_in', address=address, port=port))['port']}"

    async def make(self, kind: str, name: str, **content: Any) -> None:
        """An object of the namespace, such as a secret that the values name."""
        async with self.cluster.client() as http:
            path = f"/api/v1/namespaces/{self.namespace}/{kind}"
            (await http.post(path, json={"metadata": {"name": name}, **content})).raise_for_status()

    async def install(self, values: Mapping[str, Any]) -> str:
        """Install with these values, those of the test cluster besides; what Helm said at the end."""
        return await self._carry_out("install", values)

    async def upgrade(self, values: Mapping[str, Any]) -> str:
        """The next revision of the release, in the same way."""
        return await self._carry_out("upgrade", values)

    async def _carry_out(self, command: str, values: Mapping[str, Any]) -> str:
        repository, _, tag = self.image.rpartition(":")
        address, port = self.services["api"]
        of_the_cluster = {
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "publicUrl": self.url,
            "jobsUrl": f"http://{address}:{port}",
            **{part: {"resources": LITTLE} for part in ("worker", "sealer", "migration", "trialDatabase")},
        }
        path = self.folder / f"{self.release}.yaml"
        both = {**of_the_cluster, **values, "service": {"clusterIP": address, **values.get("service", {})}}
        path.write_text(yaml.safe_dump(both), encoding="utf-8")
        serving = asyncio.create_task(self._serve())
        try:
            return await asyncio.to_thread(
                self.run_helm,
                *(command, self.release, str(CHART), "--namespace", self.namespace, "--values", str(path)),
                *("--wait", "--wait-for-jobs", "--timeout", f"{INSTALL_SECONDS_MAX}s"),
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{await self.state()}") from None
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await self._lead()

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
        """The newest pod of each part of the release."""
        async with self.cluster.client() as http:
            found = (await http.get(f"/api/v1/namespaces/{self.namespace}/pods")).raise_for_status().json()["items"]
        found.sort(key=lambda pod: pod["metadata"]["creationTimestamp"])
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
                        f"/api/v1/namespaces/{self.namespace}/pods/{name}/log",
                        params={"container": container["name"], "tailLines": 20},
                    )
                    told.append(log.text)
            events = (await http.get(f"/api/v1/namespaces/{self.namespace}/events")).json()["items"]
        told += [f"{each['type']} {each['involvedObject']['name']}: {each['message']}" for each in events[-20:]]
        return "\n".join(told)

    def _execute(self, pod: str, container: str, command: list[str]) -> str:
        configuration = client.Configuration()
        config.load_kube_config(str(self.cluster.kubeconfig_path), client_configuration=configuration)
        with client.ApiClient(configuration) as api:
            core = client.CoreV1Api(api)
            said = stream.stream(
                core.connect_get_namespaced_pod_exec, pod, self.namespace, container=container, command=command,
                stdout=True, stderr=True, stdin=False, tty=False, _preload_content=False,
            )  # fmt: skip
            try:
                said.run_forever(timeout=EXECUTE_SECONDS_MAX)
                return str(said.read_all())
            finally:
                said.sock.shutdown()  # close() leaves the socket open where the other end was first

    async def _serve(self) -> None:
        """Lead the Services' addresses to their pods as they come."""
        while True:
            await self._lead()
            await asyncio.sleep(POLL_SECONDS)

    async def _lead(self) -> None:
        for part, pod in (await self.pods()).items():
            address = pod["status"].get("podIP")
            if part in self.services and address is not None and self.served.get(part) != address:
                service, port = self.services[part]
                await self.joined.ordered("forward", address=service, port=port, to_address=address, to_port=port)
                self.served[part] = address


async def loaded_image(cluster: RealCluster, folder: Path) -> str:
    """The image of this working tree, brought to the node."""
    assert cluster.joined is not None, "only a cluster of our own can be prepared like this"
    archive = folder / "server.tar"
    image = await asyncio.to_thread(server_archive, archive, "test", lambda _: None)
    await cluster.joined.ordered("load", archive=str(archive))
    archive.unlink()
    return image


async def installed_trial(installation: Installation) -> None:
    """With a database of its own, and volumes that are folders of the node, which go with the cluster."""
    await installation.prepare()
    within = ["nsenter", "--target", str(installation.joined.pid), "--mount"]
    async with installation.cluster.client() as http:
        for name in VOLUMES:
            path = f"/var/lib/{name}"
            await asyncio.to_thread(subprocess.run, [*within, "mkdir", path], check=True)
            made = await http.post("/api/v1/persistentvolumes", json=_volume(name, path, installation.namespace))
            made.raise_for_status()
    await installation.install(
        {
            "trial": {"enabled": True, "storageClassName": STORAGE, "databaseSize": "1Gi", "artifactsSize": "1Gi"},
            "api": {"replicas": 1, "processes": 1, "resources": LITTLE},
            "clusterAccess": {"create": True},
            "service": {"databaseClusterIP": DATABASE_ADDRESS},
            # The names of Services lead to them in a cluster with kube-proxy.
            "hostAliases": [
                {"ip": DATABASE_ADDRESS, "hostnames": [f"guildhall-trial-database.{installation.namespace}.svc"]}
            ],
        }
    )


async def ready(url: str) -> int:
    """What the API says of itself."""
    async with httpx.AsyncClient(timeout=30) as http:
        return (await http.get(f"{url}/readyz")).status_code


def _volume(claim: str, path: str, namespace: str) -> dict[str, Any]:
    return {
        "metadata": {"name": claim},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": STORAGE,
            "claimRef": {"namespace": namespace, "name": claim},
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
