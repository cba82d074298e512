"""Signing in to a real API server: whose credentials count, and what a refusal says."""

import time
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from kubernetes.aio.config import incluster_config

from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.credentials import ClusterCredentials, CredentialsRefused, parse_kubeconfig
from scheduler.clusters.kubernetes.failures import (
    ClusterForbade,
    ClusterRefusedCredentials,
    ClusterUntrusted,
    ObjectMissing,
)
from scheduler.clusters.kubernetes.resources import JOBS, NODES
from tests.cluster.certificates import Authority
from tests.cluster.handle import RealCluster
from tests.scheduler.clusters.kubernetes.accounts import expired_certificate, expired_token, new_namespace, token_of
from tests.scheduler.clusters.kubernetes.calling import (
    as_user,
    certificates_of,
    connected,
    refusal_of,
    server_of,
    suspended_job,
)
from tests.scheduler.clusters.kubernetes.faulty_proxy import kubeconfig

_numbers = count(1)


@pytest.fixture
async def namespace(api: KubernetesApi) -> str:
    return await new_namespace(api, f"signing-in-{next(_numbers)}")


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


def account_of_pod(plane: RealCluster, folder: Path, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kubelet puts into a pod."""
    (folder / "token").write_text(token, encoding="ascii")
    (folder / "ca.crt").write_bytes((certificates_of(plane) / "ca.crt").read_bytes())
    server = urlsplit(server_of(plane))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(server.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
