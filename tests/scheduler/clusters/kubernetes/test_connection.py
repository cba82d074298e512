"""The client against a real API server: what it sends, and what it understands."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from aiohttp import web

from scheduler.clusters.kubernetes import connection
from scheduler.clusters.kubernetes.connection import ClusterVersion, KubernetesApi, Propagation
from scheduler.clusters.kubernetes.failures import (
    AdmissionRefused,
    NameInvalid,
    NamespaceTerminating,
    ObjectConflict,
    ObjectExists,
    ObjectInvalid,
    ObjectMissing,
)
from scheduler.clusters.kubernetes.resources import JOBS, NAMESPACES, PODS, SECRETS, KubernetesObject, Resource
from tests.scheduler.clusters.kubernetes.accounts import new_namespace
from tests.scheduler.clusters.kubernetes.calling import refusal_of, suspended_job, until_changed
from tests.scheduler.clusters.kubernetes.faulty_proxy import FaultyProxy
from tests.scheduler.clusters.kubernetes.kinds import CONFIG_MAPS, SERVICE_ACCOUNTS

_numbers = count(1)


@pytest.fixture
async def namespace(api: KubernetesApi) -> str:
    return await new_namespace(api, f"connection-{next(_numbers)}")


class TestObjects:
    async def test_made_read_changed_and_deleted(self, api: KubernetesApi, namespace: str) -> None:
        made = await api.create(CONFIG_MAPS, {"metadata": {"name": "one"}, "data": {"a": "1"}}, namespace=namespace)
        assert (made["kind"], made["apiVersion"], made["data"]) == ("ConfigMap", "v1", {"a": "1"})
        await api.patch(CONFIG_MAPS, "one", {"data": {"a": None, "b": "2"}}, namespace=namespace)
        operations = [{"op": "add", "path": "/data/c", "value": "3"}]
        await api.patch(CONFIG_MAPS, "one", operations, namespace=namespace)
        assert (await api.get(CONFIG_MAPS, "one", namespace=namespace))["data"] == {"b": "2", "c": "3"}
        await api.delete(CONFIG_MAPS, "one", namespace=namespace)
        missing = api.get(CONFIG_MAPS, "one", namespace=namespace)
        await refusal_of(missing, ObjectMissing, 'configmaps "one" not found')

    async def test_applied_twice_holds_what_was_said_last(self, api: KubernetesApi, namespace: str) -> None:
        for data in ({"a": "1", "b": "1"}, {"b": "2"}):
            await api.apply(CONFIG_MAPS, "one", {"data": data}, manager="guildhall", namespace=namespace)
        assert (await api.get(CONFIG_MAPS, "one", namespace=namespace))["data"] == {"b": "2"}

    async def test_a_field_that_the_server_does_not_know_is_not_lost_in_silence(
        self, api: KubernetesApi, namespace: str
    ) -> None:
        body = suspended_job("one", walltime=3)
        await refusal_of(
            api.create(JOBS, body, namespace=namespace),
            ObjectInvalid,
            'strict decoding error: unknown field "spec.walltime"',
        )
        await refusal_of(api.get(JOBS, "one", namespace=namespace), ObjectMissing, "not found")
        await api.create(JOBS, suspended_job("one"), namespace=namespace)
        for changes in ({"spec": {"walltime": 3}}, [{"op": "add", "path": "/spec/walltime", "value": 3}]):
            patching = api.patch(JOBS, "one", changes, namespace=namespace)
            await refusal_of(patching, ObjectInvalid, 'unknown field "spec.walltime"')

    async def test_a_value_that_cannot_be(self, api: KubernetesApi, namespace: str) -> None:
        creating = api.create(JOBS, suspended_job("one", parallelism=-1), namespace=namespace)
        await refusal_of(creating, ObjectInvalid, "spec.parallelism: Invalid value: -1")

    async def test_the_name_is_taken(self, api: KubernetesApi, namespace: str) -> None:
        await api.create(JOBS, suspended_job("one"), namespace=namespace)
        creating = api.create(JOBS, suspended_job("one"), namespace=namespace)
        await refusal_of(creating, ObjectExists, 'jobs.batch "one" already exists')

    async def test_a_stale_version_and_another_uid_are_conflicts(self, api: KubernetesApi, namespace: str) -> None:
        made = await api.create(JOBS, suspended_job("one"), namespace=namespace)
        stale = {"metadata": {"resourceVersion": "1"}, "spec": {"suspend": False}}
        patching = api.patch(JOBS, "one", stale, namespace=namespace)
        await refusal_of(patching, ObjectConflict, "the object has been modified")
        deleting = api.delete(JOBS, "one", namespace=namespace, uid="00000000-0000-0000-0000-000000000000")
        await refusal_of(deleting, ObjectConflict, "the UID in the precondition")
        assert (await api.get(JOBS, "one", namespace=namespace))["spec"]["suspend"] is True
        await api.delete(JOBS, "one", namespace=namespace, uid=made["metadata"]["uid"], grace_seconds=0)

    @pytest.mark.parametrize(("propagation", "stays"), [(Propagation.BACKGROUND, False), (Propagation.ORPHAN, True)])
    async def test_what_an_object_owns_goes_with_it_or_stays(
        self, propagation: Propagation, stays: bool, api: KubernetesApi, namespace: str
    ) -> None:
        job = await api.create(JOBS, suspended_job("one"), namespace=namespace)
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "one", "uid": job["metadata"]["uid"]}
        owned: KubernetesObject = {"metadata": {"name": "owned", "ownerReferences": [owner]}}
        await api.create(SECRETS, owned, namespace=namespace)
        await api.delete(JOBS, "one", namespace=namespace, propagation=propagation)
        if stays:
            await until_changed(lambda: references(api, namespace), [owner])
            assert await references(api, namespace) is None
        else:
            await until_changed(lambda: exists(api, namespace), True)

    async def test_a_namespace_that_ends(self, api: KubernetesApi, namespace: str) -> None:
        held: KubernetesObject = {"metadata": {"name": "held", "finalizers": ["guildhall.test/hold"]}}
        await api.create(CONFIG_MAPS, held, namespace=namespace)
        await api.delete(NAMESPACES, namespace)
        creating = api.create(CONFIG_MAPS, {"metadata": {"name": "late"}}, namespace=namespace)
        await refusal_of(creating, NamespaceTerminating, "because it is being terminated")
        await api.patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, namespace=namespace)

    async def test_what_a_policy_of_the_cluster_refuses(self, api: KubernetesApi) -> None:
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = await new_namespace(api, "connection-restricted", **restricted)
        pod: KubernetesObject = {
            "metadata": {"name": "one"},
            "spec": {"containers": [{"name": "main", "image": "none"}]},
        }
        sentence = 'violates PodSecurity "restricted:latest"'
        await refusal_of(api.create(PODS, pod, namespace=namespace), AdmissionRefused, sentence)

    async def test_a_kind_that_the_cluster_does_not_have(self, api: KubernetesApi) -> None:
        unknown = Resource("kueue.x-k8s.io", "v1", "workloads", "Workload")
        await refusal_of(
            api.get(unknown, "one", namespace="default"), ObjectMissing, "knows nothing under this address (404)."
        )

    async def test_a_list_in_pages_is_one_list(self, api: KubernetesApi, namespace: str) -> None:
        for number in range(5):
            await api.create(SECRETS, {"metadata": {"name": f"s-{number}"}}, namespace=namespace)
        pages = [page async for page in api.list_pages(SECRETS, namespace=namespace, page_size=2)]
        names = [[item["metadata"]["name"] for item in page.items] for page in pages]
        assert names == [["s-0", "s-1"], ["s-2", "s-3"], ["s-4"]]
        assert len({page.resource_version for page in pages}) == 1
        field = api.list_pages(SECRETS, namespace=namespace, field_selector="metadata.name=s-3")
        assert [item["metadata"]["name"] async for page in field for item in page.items] == ["s-3"]

    async def test_says_who_it_is_and_what_time_it_has(self, api: KubernetesApi) -> None:
        version = await api.version()
        assert version == ClusterVersion("v1.37.1", version.answered_at)
        assert version.answered_at is not None
        assert abs(version.answered_at - datetime.now(UTC)) < timedelta(minutes=1)  # noqa: TID251 - same machine


class TestNames:
    @pytest.mark.parametrize(
        "name", ["../../other/pods/x", "..", ".", "a/b", "a%2Fb", "A", "", "a b", "a?x=1", "-a", "a..b", "ä", "a" * 254]
    )
    async def test_a_name_that_is_none_is_never_sent(
        self, name: str, proxied_api: KubernetesApi, proxy: FaultyProxy
    ) -> None:
        for call in (
            lambda: proxied_api.get(CONFIG_MAPS, name, namespace="default"),
            lambda: proxied_api.delete(CONFIG_MAPS, name, namespace="default"),
            lambda: proxied_api.patch(CONFIG_MAPS, name, {}, namespace="default"),
            lambda: proxied_api.apply(CONFIG_MAPS, name, {}, manager="x", namespace="default"),
            lambda: proxied_api.get(CONFIG_MAPS, "x", namespace=name),
            lambda: proxied_api.create(CONFIG_MAPS, {}, namespace=name),
            lambda: anext(proxied_api.list_pages(CONFIG_MAPS, namespace=name)),
            lambda: anext(proxied_api.watch(CONFIG_MAPS, resource_version="1", namespace=name)),
            lambda: anext(proxied_api.pod_log(name, namespace="default")),
        ):
            await refusal_of(call(), NameInvalid, "is not a name that")
        assert proxy.requests == []


class TestPodLog:
    async def test_lines_as_they_come_the_long_ones_cut(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "LOG_LINE_BYTES_MAX", 10)
        proxy.answer_times(1, 200, text="one\n\n0123456789abc\nlast")
        since = datetime(2026, 3, 2, 8, 0, 0, 250_000, tzinfo=UTC)
        log = proxied_api.pod_log("p", namespace="n", container="main", since=since, tail_lines=9, previous=True)
        assert [line async for line in log] == [b"one", b"", b"0123456789", b"last"]
        assert proxy.requests[0].path == "/api/v1/namespaces/n/pods/p/log"
        assert dict(proxy.requests[0].query) == {
            "timestamps": "true",
            "container": "main",
            "sinceTime": "2026-03-02T08:00:00.250000Z",
            "tailLines": "9",
            "previous": "true",
        }

    async def test_followed_until_the_time_is_over(self, proxied_api: KubernetesApi, proxy: FaultyProxy) -> None:
        async def go_on(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"first\nhalf a li")
            await asyncio.sleep(30)
            return response

        proxy.answer = go_on
        log = proxied_api.pod_log("p", namespace="n", follow_seconds=0.5)
        assert [line async for line in log] == [b"first"]
        assert proxy.requests[0].query["follow"] == "true"

    async def test_of_a_pod_that_has_no_node_yet(self, api: KubernetesApi, namespace: str) -> None:
        await until_changed(lambda: has_account(api, namespace), False)
        containers = [{"name": "main", "image": "none"}]
        pod: KubernetesObject = {"metadata": {"name": "one"}, "spec": {"containers": containers}}
        await api.create(PODS, pod, namespace=namespace)
        assert [line async for line in api.pod_log("one", namespace=namespace, container="main")] == []
        log = api.pod_log("one", namespace=namespace, container="other")
        await refusal_of(anext(log), ObjectInvalid, "container other is not valid for pod one")


async def has_account(api: KubernetesApi, namespace: str) -> bool:
    try:
        await api.get(SERVICE_ACCOUNTS, "default", namespace=namespace)
    except ObjectMissing:
        return False
    return True


async def exists(api: KubernetesApi, namespace: str) -> bool:
    try:
        await api.get(SECRETS, "owned", namespace=namespace)
    except ObjectMissing:
        return False
    return True


async def references(api: KubernetesApi, namespace: str) -> object:
    found = (await api.get(SECRETS, "owned", namespace=namespace))["metadata"].get("ownerReferences")
    return found and [{key: reference[key] for key in ("apiVersion", "kind", "name", "uid")} for reference in found]
