"""The network between us and a real API server: each failure is one sentence."""

import asyncio
import socket
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import count

import pytest
from aiohttp import web

from scheduler.clusters.kubernetes import connection, transport
from scheduler.clusters.kubernetes.connection import ClusterVersion, KubernetesApi
from scheduler.clusters.kubernetes.failures import (
    AdmissionRefused,
    AnswerUnintelligible,
    ClusterBusy,
    ClusterFailure,
    ClusterRefusedCredentials,
    ClusterSilent,
    ClusterUnreachable,
    ClusterUntrusted,
    ObjectConflict,
    ObjectInvalid,
    ObjectMissing,
    VersionExpired,
)
from scheduler.clusters.kubernetes.resources import JOBS, PODS
from scheduler.clusters.kubernetes.transport import BUSY_ATTEMPTS_MAX, Timeouts
from tests.cluster.handle import RealCluster
from tests.cluster.relay import Relay
from tests.scheduler.clusters.kubernetes.accounts import new_namespace
from tests.scheduler.clusters.kubernetes.calling import certificates_of, connected, refusal_of, suspended_job
from tests.scheduler.clusters.kubernetes.faulty_proxy import FaultyProxy, kubeconfig

_numbers = count(1)


@pytest.fixture
async def namespace(api: KubernetesApi) -> str:
    return await new_namespace(api, f"transport-{next(_numbers)}")


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

    @pytest.mark.parametrize("said", ["<html>Welcome", "[]", "[" * 100_000, '{"hello": "world"}', "", "\ud800"])
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

    @pytest.mark.parametrize(
        "said", ["[" * 100_000, '{"details": "x"}', '{"details": {"causes": 5}}', '{"details": {"causes": ["x"]}}']
    )
    async def test_a_refusal_of_no_known_shape(self, said: str, proxied_api: KubernetesApi, proxy: FaultyProxy) -> None:
        proxy.answer_times(1, 403, text=said)
        await refusal_of(proxied_api.version(), AdmissionRefused, f"{proxied_api.server} forbids this (403).")

    @pytest.mark.parametrize(
        ("date", "at"),
        [
            ("junk", None),
            ("Mon, 02 Mar 2026 08:00:00 -0000", datetime(2026, 3, 2, 8, tzinfo=UTC)),
            ("Mon, 02 Mar 2026 08:00:00 GMT", datetime(2026, 3, 2, 8, tzinfo=UTC)),
            ("Mon, 99 Mar 2026 08:00:00 GMT", None),
        ],
    )
    async def test_a_clock(
        self, date: str, at: datetime | None, proxied_api: KubernetesApi, proxy: FaultyProxy
    ) -> None:
        proxy.answer_times(1, 200, text='{"gitVersion":"v1.37.1"}', headers={"Date": date})
        assert await proxied_api.version() == ClusterVersion("v1.37.1", at)

    @pytest.mark.parametrize("line", ["[" * 100_000, '{"type":"ERROR","object":"x"}', '{"type":"ERROR","object":[]}'])
    async def test_an_event_of_no_known_shape(self, line: str, proxied_api: KubernetesApi, proxy: FaultyProxy) -> None:
        proxy.answer_times(1, 200, text=line + "\n")
        watch = proxied_api.watch(PODS, resource_version="0")
        await refusal_of(anext(watch), AnswerUnintelligible, "sent an event that is none of Kubernetes.")

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
        assert len(arrived_at) == 70
        assert most <= 20
