"""The client against a real API server: what it sends, what it understands, and each failure as one sentence."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from kubernetes.aio.config import incluster_config

from scheduler.clusters.kubernetes import connection, transport
from scheduler.clusters.kubernetes.connection import ClusterVersion, KubernetesApi, Propagation
from scheduler.clusters.kubernetes.credentials import ClusterCredentials, CredentialsRefused, parse_kubeconfig
from scheduler.clusters.kubernetes.failures import (
    AdmissionRefused,
    AnswerUnintelligible,
    ClusterBusy,
    ClusterFailure,
    ClusterForbade,
    ClusterRefusedCredentials,
    ClusterSilent,
    ClusterUnreachable,
    ClusterUntrusted,
    NameInvalid,
    NamespaceTerminating,
    ObjectConflict,
    ObjectExists,
    ObjectInvalid,
    ObjectMissing,
    VersionExpired,
)
from scheduler.clusters.kubernetes.resources import (
    JOBS,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    KubernetesObject,
    Resource,
)
from scheduler.clusters.kubernetes.transport import BUSY_ATTEMPTS_MAX, Timeouts
from tests.cluster.certificates import Authority
from tests.cluster.handle import RealCluster
from tests.cluster.relay import Relay
from tests.scheduler.clusters.kubernetes.accounts import (
    expired_certificate,
    expired_token,
    new_namespace,
    token_of,
)
from tests.scheduler.clusters.kubernetes.faulty_proxy import FaultyProxy, kubeconfig
from tests.scheduler.clusters.kubernetes.kinds import CONFIG_MAPS, SERVICE_ACCOUNTS

_numbers = count(1)


@pytest.fixture
def plane(control_plane: RealCluster) -> RealCluster:
    return control_plane


@pytest.fixture
async def namespace(api: KubernetesApi) -> str:
    return await new_namespace(api, f"connection-{next(_numbers)}")


@asynccontextmanager
async def connected(text: str, **how: Any) -> AsyncIterator[KubernetesApi]:
    how = {"requests_per_second": 1_000, "clock": time.monotonic, **how}
    api = KubernetesApi.connect(ClusterCredentials(text), **how)
    try:
        yield api
    finally:
        await api.close()


async def refusal_of(call: Awaitable[object], kind: type[ClusterFailure], sentence: str) -> ClusterFailure:
    with pytest.raises(kind) as refusal:
        await call
    assert type(refusal.value) is kind
    assert sentence in refusal.value.message
    assert "\n" not in refusal.value.message
    return refusal.value


def suspended_job(name: str, **spec: object) -> KubernetesObject:
    container = {"name": "main", "image": "none"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"metadata": {"name": name}, "spec": {"suspend": True, "template": template, **spec}}


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


class TestSigningIn:
    @pytest.mark.parametrize("user", ["garbage", "expired token", "expired certificate"])
    async def test_credentials_that_do_not_count(self, user: str, plane: RealCluster) -> None:
        certificates = certificates_of(plane)
        users = {
            "garbage": {"token": "garbage"},
            "expired token": {"token": expired_token(certificates)},
            "expired certificate": expired_certificate(certificates),
        }
        async with connected(as_user(plane, users[user])) as api:
            sentence = (
                f"{api.server} does not accept these credentials (401): "
                "they have expired, were revoked, or belong to another cluster."
            )
            await refusal_of(api.version(), ClusterRefusedCredentials, sentence)

    async def test_an_account_without_rights(self, api: KubernetesApi, namespace: str, plane: RealCluster) -> None:
        token = await token_of(api, namespace=namespace, account="nobody")
        async with connected(as_user(plane, {"token": token})) as restricted:
            assert (await restricted.version()).git_version == "v1.37.1"
            creating = restricted.create(JOBS, suspended_job("one"), namespace=namespace)
            sentence = f"The cluster's account may not create jobs.batch in the namespace {namespace}."
            refusal = await refusal_of(creating, ClusterForbade, sentence)
            assert isinstance(refusal, ClusterForbade)
            assert (refusal.verb, refusal.resource, refusal.namespace) == ("create", "jobs.batch", namespace)
            listing = anext(restricted.list_pages(NODES))
            sentence = "The cluster's account may not list nodes in all of the cluster."
            refusal = await refusal_of(listing, ClusterForbade, sentence)
            assert isinstance(refusal, ClusterForbade)
            assert refusal.namespace is None
        await refusal_of(api.get(JOBS, "one", namespace=namespace), ObjectMissing, "not found")

    async def test_another_authority(self, plane: RealCluster, tmp_path: Path) -> None:
        Authority(tmp_path)
        text = kubeconfig(server_of(plane), tmp_path / "ca.crt", {"token": "secret"})
        async with connected(text) as api:
            await refusal_of(api.version(), ClusterUntrusted, f"The certificate of {api.server} is not trusted: ")

    async def test_another_name(self, plane: RealCluster) -> None:
        text = as_user(plane, {"token": "secret"}).replace("server:", "tls-server-name: other.example\n    server:")
        async with connected(text) as api:
            await refusal_of(api.version(), ClusterUntrusted, "certificate is not valid for 'other.example'")

    async def test_the_name_that_the_kubeconfig_says(self, plane: RealCluster) -> None:
        name = '"tls-server-name": "kubernetes.default.svc", "server":'
        text = plane.kubeconfig_text.replace('"server":', name)
        assert parse_kubeconfig(text).server_name == "kubernetes.default.svc"
        async with connected(text) as api:
            assert (await api.version()).git_version == "v1.37.1"


class TestAccountOfThePod:
    async def test_reads_its_token_again_every_minute(
        self, plane: RealCluster, api: KubernetesApi, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = datetime(2026, 3, 2, tzinfo=UTC)
        watches = SimpleNamespace(now=lambda: now)
        monkeypatch.setattr(incluster_config, "datetime", SimpleNamespace(datetime=watches, timedelta=timedelta))
        account_of_pod(plane, tmp_path, "revoked", monkeypatch)
        pods_own = KubernetesApi.connect(
            ClusterCredentials(None, account_folder=tmp_path), requests_per_second=100, clock=time.monotonic
        )
        await refusal_of(pods_own.version(), ClusterRefusedCredentials, "does not accept these credentials (401)")
        token = await token_of(api, namespace=namespace, account="guildhall")
        (tmp_path / "token").write_text(f"{token}\n", encoding="ascii")
        await refusal_of(pods_own.version(), ClusterRefusedCredentials, "does not accept these credentials (401)")
        now += timedelta(minutes=1)
        assert (await pods_own.version()).git_version == "v1.37.1"
        (tmp_path / "token").unlink()
        now += timedelta(minutes=1)
        await refusal_of(pods_own.version(), ClusterRefusedCredentials, "token of the pod's account cannot be read")
        await pods_own.close()

    @pytest.mark.parametrize("missing", ["KUBERNETES_SERVICE_HOST", "token", "ca.crt"])
    async def test_where_there_is_no_pod(
        self, missing: str, plane: RealCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        account_of_pod(plane, tmp_path, "token", monkeypatch)
        if missing == "KUBERNETES_SERVICE_HOST":
            monkeypatch.delenv(missing)
        else:
            (tmp_path / missing).unlink()
        with pytest.raises(CredentialsRefused, match="does not run in a pod with an account of the cluster"):
            KubernetesApi.connect(
                ClusterCredentials(None, account_folder=tmp_path), requests_per_second=1, clock=time.monotonic
            )


class TestNetwork:
    async def test_points_nowhere(self, plane: RealCluster) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        async with connected(
            kubeconfig(f"https://127.0.0.1:{port}", certificates_of(plane) / "ca.crt", {"token": "t"})
        ) as api:
            await refusal_of(api.version(), ClusterUnreachable, f"127.0.0.1:{port} cannot be connected to: ")

    async def test_a_name_that_nobody_knows(self, plane: RealCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        async def unknown(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
        text = kubeconfig("https://cluster.invalid:6443", certificates_of(plane) / "ca.crt", {"token": "t"})
        async with connected(text) as api:
            await refusal_of(api.version(), ClusterUnreachable, "The name of cluster.invalid:6443 is not known.")

    async def test_something_without_tls(self, plane: RealCluster) -> None:
        async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            text = kubeconfig(f"https://127.0.0.1:{port}", certificates_of(plane) / "ca.crt", {"token": "t"})
            async with connected(text) as api:
                await refusal_of(api.version(), ClusterUntrusted, "does not agree on TLS: ")

    async def test_cut(self, relay: Relay, relayed_api: KubernetesApi) -> None:
        await relayed_api.version()
        relay.refuse()
        await refusal_of(relayed_api.version(), ClusterUnreachable, f"{relayed_api.server} ")
        relay.restore()
        await relayed_api.version()

    async def test_silence(self, plane: RealCluster, relay: Relay) -> None:
        async with connected(plane.kubeconfig_through(relay), timeouts=Timeouts(connect=0.3, answer=0.3)) as api:
            relay.stall()
            await refusal_of(api.version(), ClusterSilent, f"{api.server} does not answer in time.")
            log = api.pod_log("one", namespace="default", follow_seconds=60)
            await refusal_of(anext(log), ClusterSilent, "does not answer in time.")
            watch = api.watch(PODS, resource_version="0", silence_seconds_max=0.3)
            await refusal_of(anext(watch), ClusterSilent, "does not answer in time.")


class TestAnswers:
    async def test_busy_is_waited_out_as_the_server_asks(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, namespace: str
    ) -> None:
        answered_at: list[float] = []

        async def busy_twice(_: web.Request) -> web.Response | None:
            answered_at.append(asyncio.get_running_loop().time())
            return web.Response(status=429, headers={"Retry-After": "1"}) if len(answered_at) <= 2 else None

        proxy.answer = busy_twice
        await proxied_api.create(JOBS, suspended_job("one"), namespace=namespace)
        assert len(answered_at) == 3
        assert answered_at[1] - answered_at[0] >= 1
        assert answered_at[2] - answered_at[1] >= 1

    async def test_busy_again_and_again_is_told(self, proxied_api: KubernetesApi, proxy: FaultyProxy) -> None:
        proxy.answer_times(1_000, 429, headers={"Retry-After": "0"})
        refusal = await refusal_of(proxied_api.version(), ClusterBusy, f"{proxied_api.server} is busy; again in 0 s.")
        assert isinstance(refusal, ClusterBusy)
        assert refusal.retry_after == 0
        assert len(proxy.requests) == BUSY_ATTEMPTS_MAX

    async def test_busy_without_a_time_means_a_second(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transport, "BUSY_ATTEMPTS_MAX", 1)
        for header in ({}, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, {"Retry-After": "²"}):
            proxy.answer_times(1, 429, headers=header)
            refusal = await refusal_of(proxied_api.version(), ClusterBusy, "again in 1 s.")
            assert isinstance(refusal, ClusterBusy)
            assert refusal.retry_after == 1

    async def test_a_redirect_is_not_followed(self, proxied_api: KubernetesApi, proxy: FaultyProxy) -> None:
        proxy.answer_times(1, 302, headers={"Location": "/version"})
        await refusal_of(proxied_api.version(), AnswerUnintelligible, "redirects elsewhere (302); name the API server")
        assert len(proxy.requests) == 1

    @pytest.mark.parametrize("said", ["<html>Welcome", "[]", '{"hello": "world"}', "", "\ud800"])
    async def test_something_that_is_no_api_server(
        self, said: str, proxied_api: KubernetesApi, proxy: FaultyProxy
    ) -> None:
        proxy.answer_times(1, 200, body=said.encode(errors="surrogatepass"))
        sentence = f"{proxied_api.server} does not answer as an API server of Kubernetes does."
        await refusal_of(proxied_api.version(), AnswerUnintelligible, sentence)

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (401, ClusterRefusedCredentials),
            (403, AdmissionRefused),
            (404, ObjectMissing),
            (409, ObjectConflict),
            (410, VersionExpired),
            (422, ObjectInvalid),
            (500, ClusterUnreachable),
            (502, ClusterUnreachable),
        ],
    )
    async def test_a_failure_in_nobody_s_words(
        self, status: int, kind: type[ClusterFailure], proxied_api: KubernetesApi, proxy: FaultyProxy
    ) -> None:
        proxy.answer_times(1, status, text="<html>nginx")
        await refusal_of(proxied_api.version(), kind, f"{status}")

    async def test_an_answer_without_end(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(transport, "ANSWER_BYTES_MAX", 1_000)
        proxy.answer_times(1, 200, text="x" * 2_000)
        await refusal_of(proxied_api.version(), AnswerUnintelligible, "answered with more than 1000 bytes.")

    async def test_pages_without_end(
        self, proxied_api: KubernetesApi, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(connection, "PAGES_MAX", 3)
        proxy.answer_times(1_000, 200, text='{"metadata":{"continue":"again"}}')
        pages = proxied_api.list_pages(PODS)
        async with aclosing(pages):
            for _ in range(3):
                assert (await anext(pages)).items == []
            await refusal_of(anext(pages), AnswerUnintelligible, "a list of more than 3 pages")

    async def test_never_faster_than_agreed(self, proxy: FaultyProxy) -> None:
        async with connected(proxy.kubeconfig, requests_per_second=20) as api:
            arrived_at: list[float] = []

            async def note(_: web.Request) -> None:
                arrived_at.append(asyncio.get_running_loop().time())

            proxy.answer = note
            await asyncio.gather(*(api.version() for _ in range(70)))
        most = max(sum(start <= at < start + 1 for at in arrived_at) for start in arrived_at)
        assert (len(arrived_at), most) == (70, 20)


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


def certificates_of(plane: RealCluster) -> Path:
    """Where the cluster's authority lies, with its keys."""
    assert plane.joined is not None
    return plane.joined.state / "certificates"


def server_of(plane: RealCluster) -> str:
    return parse_kubeconfig(plane.kubeconfig_text).server


def as_user(plane: RealCluster, user: dict[str, str]) -> str:
    return kubeconfig(server_of(plane), certificates_of(plane) / "ca.crt", user)


def account_of_pod(plane: RealCluster, folder: Path, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kubelet puts into a pod."""
    (folder / "token").write_text(token, encoding="ascii")
    (folder / "ca.crt").write_bytes((certificates_of(plane) / "ca.crt").read_bytes())
    server = urlsplit(server_of(plane))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(server.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))


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


async def until_changed(look: Callable[[], Awaitable[object]], before: object) -> None:
    for _ in range(600):
        if await look() != before:
            return
        await asyncio.sleep(0.05)
    pytest.fail(f"it is {before} for too long")
