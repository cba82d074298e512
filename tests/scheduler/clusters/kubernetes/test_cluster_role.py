"""The role that an administrator gives us is enough, and no rule of it is too much."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from guildhall.clock import SystemClock
from scheduler.clusters.executor import Reason
from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.ending import forget_objects
from scheduler.clusters.kubernetes.executor import KubernetesExecutor
from scheduler.clusters.kubernetes.failures import ClusterFailure
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.reading import NODE_LEASES, last_heard, read_launch
from scheduler.clusters.kubernetes.resources import LEASES, NAMESPACES, KubernetesObject
from scheduler.clusters.kubernetes.rights import RIGHTS, missing_rights
from tests.cluster.handle import RealCluster
from tests.scheduler.clusters.kubernetes.accounts import token_of
from tests.scheduler.clusters.kubernetes.conftest import connect
from tests.scheduler.clusters.kubernetes.faulty_proxy import FaultyProxy, faulty_proxy, user_of
from tests.scheduler.clusters.kubernetes.kinds import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES
from tests.scheduler.clusters.kubernetes.shapes import SEVERAL

MANIFEST = Path(__file__).parents[4] / "docs" / "kubernetes" / "cluster-role.yaml"
OURS = "role-of-guildhall"
NODE = "role-node"
PODS_SECONDS_MAX = 20.0
REVIEWS = ("selfsubjectaccessreviews", "selfsubjectreviews")
VERBS = {"POST": "create", "PATCH": "patch", "DELETE": "delete"}
_numbers = count(0xCAFE0001)


def documents() -> list[KubernetesObject]:
    """What the administrator applies, under names that no other test has."""
    text = MANIFEST.read_text(encoding="utf-8").replace("name: guildhall", f"name: {OURS}")
    return list(yaml.safe_load_all(text.replace("namespace: guildhall", f"namespace: {OURS}")))


@pytest.fixture(scope="module")
async def token(plane: RealCluster) -> AsyncIterator[str]:
    """Of the account in the manifest, on a cluster where the manifest has been applied."""
    namespace, account, role, binding = documents()
    api = connect(plane.kubeconfig_text)
    await api.create(NAMESPACES, namespace)
    await api.create(CLUSTER_ROLES, role)
    await api.create(CLUSTER_ROLE_BINDINGS, binding)
    await api.create(
        LEASES,
        {"metadata": {"name": NODE}, "spec": {"renewTime": "2026-03-02T08:00:00.000000Z"}},
        namespace=NODE_LEASES,
    )
    yield await token_of(api, namespace=OURS, account=account["metadata"]["name"])
    await api.delete(CLUSTER_ROLE_BINDINGS, OURS)
    await api.delete(CLUSTER_ROLES, OURS)
    await api.delete(LEASES, NODE, namespace=NODE_LEASES)
    await api.delete(NAMESPACES, OURS)
    await api.close()


@dataclass
class Story:
    """Everything that an executor does on a cluster, once; a step that fails is noted, and the next one tried."""

    api: KubernetesApi
    failed: dict[str, str] = field(default_factory=dict)

    async def tell(self) -> None:
        installation = Installation(f"019d0000-0000-7000-8000-0000{next(_numbers):08x}")
        executor = KubernetesExecutor(self.api, installation, clock=SystemClock())
        launch, name = SEVERAL, SEVERAL.name
        try:
            await self._step("launch", lambda: executor.launch(launch))
            await self._step("launch again", lambda: executor.launch(launch))
            await self._step("machines", executor.machines)
            await self._step("observe", lambda: self._pods_are_seen(executor, installation))
            await self._step("logs", lambda: executor.logs(name, after=0, limit=10))
            await self._step("heard", lambda: last_heard(self.api, [NODE]))
            reason = Reason("CANCELLED", "cancelled")
            await self._step("stop", lambda: executor.stop(name, grace_seconds=0, reason=reason))
            await self._step("forget", lambda: self._forget_what_has_changed(installation))
            await self._step("remove", lambda: executor.remove(name))
        finally:
            await executor._copies.close()

    async def _step(self, name: str, step: Callable[[], Coroutine[Any, Any, object]]) -> None:
        try:
            await step()
        except ClusterFailure as failure:
            self.failed[name] = failure.message

    async def _pods_are_seen(self, executor: KubernetesExecutor, installation: Installation) -> None:
        """Until the controller has made both pods; no node will take them."""
        ends_at = asyncio.get_running_loop().time() + PODS_SECONDS_MAX
        while asyncio.get_running_loop().time() < ends_at:
            await executor.observe()
            seen = executor._copies.launch(SEVERAL.name)
            if "launch" in self.failed or (seen is not None and len(seen.pods) == 2):
                return
            await asyncio.sleep(0.05)
        pytest.fail(f"{PODS_SECONDS_MAX} seconds were not enough for two pods")

    async def _forget_what_has_changed(self, installation: Installation) -> None:
        """With a copy in which somebody else's finalizer still stands before ours."""
        seen = await read_launch(self.api, installation, SEVERAL.name)
        if seen is not None:
            for pod in seen.pods:
                pod["metadata"]["finalizers"] = ["example.org/other", naming.SETTLEMENT]
            await forget_objects(self.api, seen)


@asynccontextmanager
async def proxied(plane: RealCluster, token: str, folder: Path) -> AsyncIterator[tuple[FaultyProxy, KubernetesApi]]:
    """A client with the account's rights, and the proxy that notes what it does."""
    async with faulty_proxy(user_of(plane.kubeconfig_text, {"token": token}), folder) as proxy:
        api = connect(proxy.kubeconfig)
        try:
            yield proxy, api
        finally:
            await api.close()


def rights_of(requests: list[tuple[str, str, bool]]) -> set[tuple[str, str]]:
    """The verb and the resource of each request, as RBAC names them."""
    return {right for method, path, watches in requests if (right := right_of(method, path, watches=watches))}


def right_of(method: str, path: str, *, watches: bool) -> tuple[str, str] | None:
    """`("create", "jobs.batch")`; None: nobody needs a right for it."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    resource = rest[0] + (f"/{rest[2]}" if len(rest) > 2 else "")
    if resource in REVIEWS:
        return None
    reading = "watch" if watches else "get" if len(rest) > 1 else "list"
    return VERBS.get(method, reading), f"{resource}.{group}" if group else resource


class TestClusterRole:
    def test_the_manifest_says_what_the_probe_asks_for(self) -> None:
        _, _, role, binding = documents()
        wanted = [{"apiGroups": [r.group], "resources": [r.resource], "verbs": list(r.verbs)} for r in RIGHTS]
        assert role["rules"] == wanted
        assert binding["roleRef"]["name"] == role["metadata"]["name"]

    async def test_it_is_enough_and_every_verb_is_used(self, plane: RealCluster, token: str, tmp_path: Path) -> None:
        async with proxied(plane, token, tmp_path) as (proxy, api):
            assert await missing_rights(api) == []
            story = Story(api)
            await story.tell()
        assert story.failed == {}
        assert proxy.forbidden == []
        assert rights_of(proxy.seen) == {(verb, right.name) for right in RIGHTS for verb in right.verbs}

    @pytest.mark.parametrize("taken", range(len(RIGHTS)), ids=[right.name for right in RIGHTS])
    async def test_without_one_rule_the_probe_says_so_and_something_fails(
        self, taken: int, api: KubernetesApi, plane: RealCluster, token: str, tmp_path: Path
    ) -> None:
        right = RIGHTS[taken]
        _, _, role, _ = documents()
        lesser = [rule for number, rule in enumerate(role["rules"]) if number != taken]
        try:
            await api.patch(CLUSTER_ROLES, OURS, {"rules": lesser})
            async with proxied(plane, token, tmp_path) as (proxy, restricted):
                await until_missing(restricted, [f"{verb} {right.name}" for verb in right.verbs])
                story = Story(restricted)
                await story.tell()
            refused = rights_of(proxy.forbidden)
            assert refused
            assert refused <= {(verb, right.name) for verb in right.verbs}
            # What a job can do without is left out, not failed: its log, and how long its node has been silent.
            assert bool(story.failed) == (right.name not in {"pods/log", "leases.coordination.k8s.io"})
            assert all(right.name in message for message in story.failed.values())
        finally:
            await api.patch(CLUSTER_ROLES, OURS, {"rules": role["rules"]})


async def until_missing(api: KubernetesApi, wanted: list[str]) -> None:
    """The API server hears of a changed role a moment later."""
    missing: list[str] = []
    for _ in range(100):
        missing = await missing_rights(api)
        if missing == wanted:
            return
        await asyncio.sleep(0.05)
    assert missing == wanted
