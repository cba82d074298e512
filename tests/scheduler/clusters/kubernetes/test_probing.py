"""Looking at a real API server before it is registered: one sentence for each thing that may be wrong with it."""

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from guildhall.clock import SystemClock
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.credentials import CredentialsRefused
from scheduler.clusters.kubernetes.naming import TEAM, Installation
from scheduler.clusters.kubernetes.probing import KubernetesProber
from scheduler.clusters.kubernetes.resources import NAMESPACES
from scheduler.clusters.kubernetes.rights import RIGHTS
from scheduler.clusters.probing import ClusterUnfit, ProbedCluster
from tests.cluster.certificates import Authority
from tests.cluster.handle import RealCluster
from tests.scheduler.clusters.kubernetes.accounts import expired_token, new_namespace, token_of
from tests.scheduler.clusters.kubernetes.faulty_proxy import FaultyProxy, kubeconfig, user_of


async def probe(text: str, installation: Installation, *teams: str, ahead: timedelta = timedelta()) -> ProbedCluster:
    prober = KubernetesProber(now=lambda: SystemClock().now() - ahead)
    return await prober.probe(text, requests_per_second=1_000, installation_id=installation.id, teams=teams)


async def refusal(
    text: str, installation: Installation, *teams: str, ahead: timedelta = timedelta()
) -> tuple[str, str]:
    with pytest.raises(ClusterUnfit) as caught:
        await probe(text, installation, *teams, ahead=ahead)
    assert caught.value.field == "kubeconfig"
    return caught.value.code, caught.value.message


def certificates_of(plane: RealCluster) -> Path:
    return plane.kubeconfig_path.parent / "certificates"


class TestProbe:
    async def test_says_which_cluster_it_is(self, plane: RealCluster, installation: Installation) -> None:
        found = await probe(plane.kubeconfig_text, installation, "vision")
        assert found.version.startswith("v1.")
        assert found == await probe(plane.kubeconfig_text, installation)
        assert len(found.uid) == 36

    async def test_a_host_that_does_not_answer(self, plane: RealCluster, installation: Installation) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        text = kubeconfig(f"https://127.0.0.1:{port}", certificates_of(plane) / "ca.crt", {"token": "t"})
        code, message = await refusal(text, installation)
        assert code == "CLUSTER_UNREACHABLE"
        assert message.startswith(f"127.0.0.1:{port} cannot be connected to: ")

    async def test_another_authority(self, plane: RealCluster, installation: Installation, tmp_path: Path) -> None:
        Authority(tmp_path)
        document = plane.kubeconfig_text
        server = document[document.index("https://") :].split('"')[0]
        code, message = await refusal(kubeconfig(server, tmp_path / "ca.crt", {"token": "t"}), installation)
        assert code == "CLUSTER_UNTRUSTED"
        assert "certificate" in message

    async def test_an_expired_token(self, plane: RealCluster, installation: Installation) -> None:
        text = user_of(plane.kubeconfig_text, {"token": expired_token(certificates_of(plane))})
        code, message = await refusal(text, installation)
        assert code == "CREDENTIALS_REFUSED"
        assert "they have expired, were revoked, or belong to another cluster" in message

    async def test_no_rights(self, plane: RealCluster, installation: Installation, api: KubernetesApi) -> None:
        namespace = await new_namespace(api, f"{installation.id}-nobody")
        token = await token_of(api, namespace=namespace, account="nobody")
        code, message = await refusal(user_of(plane.kubeconfig_text, {"token": token}), installation)
        assert code == "RIGHTS_MISSING"
        missing = ", ".join(f"{verb} {right.name}" for right in RIGHTS for verb in right.verbs)
        assert missing.startswith("create jobs.batch, get jobs.batch, ")
        assert f" lacks rights on {api.server}: {missing}. Bind the " in message
        assert "docs/kubernetes/cluster-role.yaml" in message

    @pytest.mark.parametrize(
        ("ahead", "sentence"),
        [(timedelta(hours=1), "60 minutes ahead of ours"), (timedelta(hours=-3), "3 hours behind ours")],
    )
    async def test_a_clock_that_is_off(
        self, plane: RealCluster, installation: Installation, ahead: timedelta, sentence: str
    ) -> None:
        code, message = await refusal(plane.kubeconfig_text, installation, ahead=ahead)
        assert code == "CLOCK_OFF"
        assert sentence in message

    async def test_a_namespace_that_is_not_ours(
        self, plane: RealCluster, installation: Installation, api: KubernetesApi
    ) -> None:
        name = installation.namespace("vision")
        await new_namespace(api, name)
        code, message = await refusal(plane.kubeconfig_text, installation, "audio", "vision")
        assert code == "NAMESPACE_TAKEN"
        assert message == (
            f"The namespace {name} exists on {api.server} and is not ours; team vision's jobs would run in it: "
            "rename or delete it."
        )

    async def test_a_namespace_of_ours(
        self, plane: RealCluster, installation: Installation, api: KubernetesApi
    ) -> None:
        labels = {**installation.labels, TEAM: "vision"}
        await api.create(NAMESPACES, {"metadata": {"name": installation.namespace("vision"), "labels": labels}})
        assert (await probe(plane.kubeconfig_text, installation, "vision")).version.startswith("v1.")

    @pytest.mark.parametrize("said", ['{"metadata": 5}', '{"status": "x"}', '{"hello": "world"}'])
    async def test_answers_of_no_known_shape(self, said: str, proxy: FaultyProxy, installation: Installation) -> None:
        async def answer(request: web.Request) -> web.Response:
            reviews = '{"status": {"allowed": true}}' if "status" not in said else said
            told = {"GET /version": '{"gitVersion": "v1.37.1"}', "GET /api": said}
            beginning = next((key for key in told if f"{request.method} {request.path}".startswith(key)), None)
            return web.Response(text=told.get(beginning or "", reviews))

        proxy.answer = answer
        code, message = await refusal(proxy.kubeconfig, installation)
        assert code == "CLUSTER_UNINTELLIGIBLE"
        assert message.endswith(" does not answer as an API server of Kubernetes does.")

    async def test_no_kubeconfig(self, installation: Installation) -> None:
        with pytest.raises(CredentialsRefused, match="not a kubeconfig"):
            await probe("hello", installation)

    async def test_a_server_that_tells_no_time_is_believed(self, installation: Installation) -> None:
        KubernetesProber(now=lambda: datetime.now(UTC))._compare_clocks(None, None)  # type: ignore[arg-type]  # noqa: TID251
