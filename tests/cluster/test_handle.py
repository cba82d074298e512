"""What tests may rely on: pods run and reach us, fake nodes run Jobs, and every fault can be made and undone."""

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.cluster.handle import RealCluster

SECONDS_MAX = 180
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
FAKE_NODES = {"key": "kwok.x-k8s.io/node", "operator": "Exists"}


async def until(is_so: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(SECONDS_MAX):
        while not (found := await is_so()):
            await asyncio.sleep(0.1)
    return found


@pytest.fixture
def our_port() -> Iterator[int]:
    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"hello from outside")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


class TestSomebodysCluster:
    async def test_a_kubeconfig_in_block_style_with_several_contexts_is_read(
        self, control_plane: RealCluster, tmp_path: Path
    ) -> None:
        content = json.loads(control_plane.kubeconfig_text)
        for kind in ("clusters", "users", "contexts"):
            content[kind].insert(0, {**content[kind][0], "name": "another"})
        content["clusters"][0]["cluster"] = {"server": "https://192.0.2.1"}
        theirs = tmp_path / "config"
        theirs.write_text(yaml.safe_dump(content))
        cluster = RealCluster(theirs, None)
        assert json.loads(cluster.kubeconfig_text) == json.loads(control_plane.kubeconfig_text)
        async with cluster.client() as http:
            assert (await http.get("/version")).json()["major"] == "1"


class TestPods:
    async def test_a_restricted_job_with_gpus_runs_and_reaches_us(self, cluster: RealCluster, our_port: int) -> None:
        space = "harness-pods"
        async with cluster.client() as http, cluster.exposed(our_port) as url:
            await make_namespace(http, space)
            script = (
                "import os, urllib.request; "
                f"print(open('/work/note').read(), os.getuid(), urllib.request.urlopen('{url}').read().decode())"
            )
            mounts = [{"name": "work", "mountPath": "/work"}]
            pod = {
                "restartPolicy": "Never",
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "initContainers": [
                    {
                        "name": "init",
                        "image": cluster.images.python,
                        "args": ["-c", "open('/work/note', 'w').write('noted')"],
                        "volumeMounts": mounts,
                        "securityContext": RESTRICTED,
                    }
                ],
                "containers": [
                    {
                        "name": "main",
                        "image": cluster.images.python,
                        "args": ["-c", script],
                        "volumeMounts": mounts,
                        "securityContext": RESTRICTED,
                        "resources": {"limits": {"nvidia.com/gpu": "2", "memory": "128Mi"}},
                    }
                ],
                "volumes": [{"name": "work", "emptyDir": {}}],
            }
            await make_job(http, space, "reach-us", pod)
            assert await until(lambda: ending(http, space, "reach-us")) == "Complete"
            found = await http.get(f"/api/v1/namespaces/{space}/pods")
            name = found.json()["items"][0]["metadata"]["name"]
            log = await http.get(f"/api/v1/namespaces/{space}/pods/{name}/log")
            assert log.text == "noted 1000 hello from outside\n"
            await http.delete(f"/api/v1/namespaces/{space}")


class TestFakeNodes:
    async def test_run_jobs_without_a_container(self, control_plane: RealCluster) -> None:
        space, nodes = "harness-fake-nodes", ["harness-fake-1", "harness-fake-2"]
        await control_plane.add_fake_nodes(nodes, gpus=4, labels={"harness": "fake"})
        async with control_plane.client() as http:
            await make_namespace(http, space)
            pod = {
                "restartPolicy": "Never",
                "tolerations": [FAKE_NODES],
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "main",
                        "image": "nothing.invalid/of:this",
                        "securityContext": RESTRICTED,
                        "resources": {"limits": {"nvidia.com/gpu": "4"}},
                    }
                ],
            }
            for number in range(3):  # more than there is room for: one of the last two waits for the other
                there = {"nodeSelector": {"kubernetes.io/hostname": nodes[min(number, 1)]}}
                await make_job(http, space, f"job-{number}", pod | there)
            for number in range(3):
                name = f"job-{number}"
                assert await until(lambda name=name: ending(http, space, name)) == "Complete"  # type: ignore[misc]
            pods = (await http.get(f"/api/v1/namespaces/{space}/pods")).json()["items"]
            assert sorted(pod["spec"]["nodeName"] for pod in pods) == [nodes[0], nodes[1], nodes[1]]
            await http.delete(f"/api/v1/namespaces/{space}")
        await control_plane.remove_nodes(nodes)


class TestFaults:
    async def test_a_killed_api_server_comes_back_at_its_address_and_remembers(
        self, own_control_plane: RealCluster
    ) -> None:
        async with own_control_plane.client() as http:
            await make_namespace(http, "kept")
            await own_control_plane.kill("kube-apiserver")
            with pytest.raises(httpx.TransportError):
                await http.get("/version")
            await own_control_plane.start("kube-apiserver")
            assert (await http.get("/api/v1/namespaces/kept")).status_code == httpx.codes.OK

    async def test_a_frozen_one_is_silent_until_it_thaws(self, own_control_plane: RealCluster) -> None:
        async with own_control_plane.client() as http:
            await http.get("/version")
            await own_control_plane.freeze("kube-apiserver")
            with pytest.raises(httpx.ReadTimeout):
                await http.get("/version", timeout=0.5)
            await own_control_plane.thaw("kube-apiserver")
            assert (await http.get("/version")).status_code == httpx.codes.OK

    async def test_what_was_compacted_is_gone_for_watches(self, own_control_plane: RealCluster) -> None:
        async with own_control_plane.client() as http:
            old = (await http.get("/api/v1/namespaces")).json()["metadata"]["resourceVersion"]
            await make_namespace(http, "later")
            assert await own_control_plane.compact() > int(old)
            await own_control_plane.kill("kube-apiserver")
            await own_control_plane.start("kube-apiserver")
            answer = await http.get(f"/api/v1/namespaces?watch=1&resourceVersion={old}&timeoutSeconds=5")
            assert '"code":410' in answer.text


async def make_namespace(http: httpx.AsyncClient, name: str) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    made = await http.post("/api/v1/namespaces", json={"metadata": {"name": name, "labels": labels}})
    assert made.status_code == httpx.codes.CREATED, made.text
    await until(lambda: exists(http, f"/api/v1/namespaces/{name}/serviceaccounts/default"))


async def make_job(http: httpx.AsyncClient, space: str, name: str, pod: Any) -> None:
    job = {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": {"spec": pod}}}
    made = await http.post(f"/apis/batch/v1/namespaces/{space}/jobs?fieldValidation=Strict", json=job)
    assert made.status_code == httpx.codes.CREATED, made.text


async def exists(http: httpx.AsyncClient, path: str) -> bool:
    return (await http.get(path)).status_code == httpx.codes.OK


async def ending(http: httpx.AsyncClient, space: str, job: str) -> str | None:
    status = (await http.get(f"/apis/batch/v1/namespaces/{space}/jobs/{job}")).json()["status"]
    found = [one["type"] for one in status.get("conditions", []) if one["type"] in {"Complete", "Failed"}]
    return found[0] if found else None
