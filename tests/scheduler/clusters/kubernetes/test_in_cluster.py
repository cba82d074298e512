"""Registration of the cluster that Guildhall itself runs in, from inside one of its pods.

The pod has this checkout and the packages of this environment mounted; its token and its authority are those that the
kubelet put there. No kube-proxy serves the API server's own service address here, so the pod is told the real one.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import yaml

from tests.cluster.handle import RealCluster

REPOSITORY = Path(__file__).resolve().parents[4]
PACKAGES = Path(aiohttp.__file__).resolve().parents[1]
ROLE = REPOSITORY / "docs" / "kubernetes" / "cluster-role.yaml"
NAMESPACE = "guildhall-in-cluster"
SECONDS_MAX = 120
PROGRAM = """
import asyncio, json
from guildhall.clock import SystemClock
from guildhall.errors import GuildhallError
from scheduler.clusters.kubernetes.probing import KubernetesProber

async def main():
    prober = KubernetesProber(now=SystemClock().now)
    try:
        found = await prober.probe(None, requests_per_second=50, installation_id="in-cluster", teams=["vision"])
        print(json.dumps({"uid": found.uid, "version": found.version}))
    except GuildhallError as error:
        print(json.dumps({"code": error.code, "message": error.message}))

asyncio.run(main())
"""

pytestmark = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the image's Python is 3.11, and ours is not")


@pytest.fixture(scope="module")
async def client(cluster: RealCluster) -> AsyncIterator[httpx.AsyncClient]:
    """An administrator's, of a cluster of our own: who runs another would have to have this checkout on its nodes."""
    if cluster.joined is None:
        pytest.skip("pods of a cluster that somebody else runs do not see this checkout")
    async with cluster.client() as client:
        await _post(client, "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        try:
            yield client
        finally:
            await client.delete(f"/api/v1/namespaces/{NAMESPACE}")


async def probed(client: httpx.AsyncClient, cluster: RealCluster, account: str) -> dict[str, str]:
    """What a pod under that account finds out."""
    mounts = {"packages": PACKAGES, "checkout": REPOSITORY}
    container = {
        "name": "main",
        "image": cluster.images.python,
        "command": ["python3", "-c", PROGRAM],
        "env": [
            {"name": "PYTHONPATH", "value": f"{REPOSITORY}:{PACKAGES}"},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        ],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": name, "mountPath": str(path), "readOnly": True} for name, path in mounts.items()],
    }
    spec = {
        "serviceAccountName": account,
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": name, "hostPath": {"path": str(path)}} for name, path in mounts.items()],
    }
    await _post(client, f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts", {"metadata": {"name": account}})
    await _post(client, f"/api/v1/namespaces/{NAMESPACE}/pods", {"metadata": {"name": account}, "spec": spec})
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{account}"
    async with asyncio.timeout(SECONDS_MAX):
        while (await client.get(path)).json()["status"].get("phase") not in {"Succeeded", "Failed"}:
            await asyncio.sleep(0.2)
    printed = (await client.get(f"{path}/log")).raise_for_status().text
    assert printed.startswith("{"), printed
    found: dict[str, str] = json.loads(printed)
    return found


class TestProbe:
    async def test_a_pod_with_the_cluster_role(self, client: httpx.AsyncClient, cluster: RealCluster) -> None:
        documents = yaml.safe_load_all(ROLE.read_text(encoding="utf-8"))
        (role,) = (each for each in documents if each["kind"] == "ClusterRole")
        name = f"{role['metadata']['name']}-in-cluster"
        rights = "/apis/rbac.authorization.k8s.io/v1"
        await _post(client, f"{rights}/clusterroles", {**role, "metadata": {"name": name}})
        subject = {"kind": "ServiceAccount", "name": "guildhall", "namespace": NAMESPACE}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        binding = {"metadata": {"name": name}, "roleRef": reference, "subjects": [subject]}
        await _post(client, f"{rights}/clusterrolebindings", binding)
        try:
            found = await probed(client, cluster, "guildhall")
        finally:
            await client.delete(f"{rights}/clusterrolebindings/{name}")
            await client.delete(f"{rights}/clusterroles/{name}")
        identity = (await client.get("/api/v1/namespaces/kube-system")).json()["metadata"]["uid"]
        version = (await client.get("/version")).json()["gitVersion"]
        assert found == {"uid": identity, "version": version}

    async def test_a_pod_without_rights(self, client: httpx.AsyncClient, cluster: RealCluster) -> None:
        found = await probed(client, cluster, "nobody")
        assert found["code"] == "RIGHTS_MISSING"
        assert "create jobs.batch" in found["message"]


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    (await client.post(path, json=body)).raise_for_status()
