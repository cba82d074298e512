"""What is sent to a cluster: the promises that the manifests make, each read where it stands."""

from dataclasses import replace
from typing import Any

import pytest

from scheduler.clusters.executor import Placement
from scheduler.clusters.kubernetes.manifests import (
    closed_network_manifest,
    job_manifest,
    literal_network,
    namespace_manifest,
    neighbours_manifests,
    token_manifest,
)
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.pods import PodRules
from scheduler.clusters.runner_archive import bringing_source
from tests.scheduler.clusters.kubernetes.shapes import INSTALLATION, LAUNCH, SEVERAL

RULES = PodRules(node_silent_seconds=300, start_seconds_max=1_800)
OWNED = {
    "app.kubernetes.io/managed-by": "guildhall",
    "guildhall.io/installation": INSTALLATION.id,
    "guildhall.io/launch": LAUNCH.name,
    "guildhall.io/job": str(LAUNCH.job_id),
    "guildhall.io/attempt": str(LAUNCH.attempt_id),
    "guildhall.io/pool": "h100",
}


@pytest.fixture
def job() -> dict[str, Any]:
    return job_manifest(INSTALLATION, LAUNCH, RULES)


@pytest.fixture
def pod(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


@pytest.fixture
def main(pod: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod["containers"][0]
    return found


class TestNamespace:
    def test_is_the_teams_and_restricted(self) -> None:
        manifest = namespace_manifest(INSTALLATION, "maintenance")
        assert manifest["metadata"]["name"] == "guildhall-cafe1234-maintenance"
        assert manifest["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        assert manifest["metadata"]["labels"]["guildhall.io/installation"] == INSTALLATION.id

    def test_a_long_name_is_cut_and_stays_apart(self) -> None:
        names = {INSTALLATION.namespace("x" * 60 + end) for end in ("", "a", "b")}
        assert {len(name) for name in names} == {63}
        assert len(names) == 3
        assert Installation("other").namespace("a") != INSTALLATION.namespace("a")


class TestNetwork:
    def test_is_closed_but_for_names_and_our_api(self) -> None:
        manifest = closed_network_manifest(INSTALLATION, "a", api_url=LAUNCH.api_url, networks=["10.0.0.7/32"])
        spec = manifest["spec"]
        assert (spec["podSelector"], spec["policyTypes"], spec["ingress"]) == ({}, ["Ingress", "Egress"], [])
        dns, api = spec["egress"]
        assert dns["ports"] == [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
        assert dns["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
        assert api == {"to": [{"ipBlock": {"cidr": "10.0.0.7/32"}}], "ports": [{"protocol": "TCP", "port": 8443}]}

    @pytest.mark.parametrize(
        ("url", "port"), [("https://a.example", 443), ("http://a.example", 80), ("http://a.example:8080/x", 8080)]
    )
    def test_knows_the_port_of_an_address(self, url: str, port: int) -> None:
        manifest = closed_network_manifest(INSTALLATION, "a", api_url=url, networks=["10.0.0.7/32"])
        assert manifest["spec"]["egress"][1]["ports"] == [{"protocol": "TCP", "port": port}]

    @pytest.mark.parametrize(
        ("url", "network"),
        [("http://10.0.0.7:80", "10.0.0.7/32"), ("https://[fd00::1]/", "fd00::1/128"), ("https://a.example", None)],
    )
    def test_knows_an_address_that_is_a_number(self, url: str, network: str | None) -> None:
        assert literal_network(url) == network


class TestJob:
    def test_is_found_by_what_it_is(self, job: dict[str, Any]) -> None:
        assert job["metadata"] == {
            "name": LAUNCH.name,
            "namespace": "guildhall-cafe1234-maintenance",
            "labels": OWNED,
            "annotations": {"guildhall.io/spec-hash": LAUNCH.spec_hash, "guildhall.io/nodes": "1"},
        }
        assert job["spec"]["template"]["metadata"] == {
            "labels": OWNED,
            "annotations": job["metadata"]["annotations"],
            "finalizers": ["guildhall.io/settlement"],
        }

    def test_runs_once(self, job: dict[str, Any]) -> None:
        spec = job["spec"]
        assert (spec["backoffLimit"], spec["podReplacementPolicy"], spec["completionMode"]) == (
            0,
            "Failed",
            "NonIndexed",
        )
        assert (spec["parallelism"], spec["completions"]) == (1, 1)
        assert spec["template"]["spec"]["restartPolicy"] == "Never"

    def test_outlives_settlement(self, job: dict[str, Any]) -> None:
        assert job["spec"]["ttlSecondsAfterFinished"] == 7 * 24 * 3600

    def test_ends_by_itself_where_nobody_stops_it(self, pod: dict[str, Any]) -> None:
        assert pod["terminationGracePeriodSeconds"] == 10 + 20
        assert pod["activeDeadlineSeconds"] == 1_800 + 600 + 30

    def test_says_nothing_of_the_token(self, job: dict[str, Any]) -> None:
        assert LAUNCH.token not in str(job)


class TestConfinement:
    def test_is_that_of_the_restricted_standard(self, pod: dict[str, Any]) -> None:
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 61_000,
            "runAsGroup": 61_000,
            "fsGroup": 61_000,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        for container in (*pod["initContainers"], *pod["containers"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }

    def test_only_a_pool_that_says_so_has_a_writable_root(self) -> None:
        launch = replace(LAUNCH, placement=replace(LAUNCH.placement, writable_root=True))
        pod = job_manifest(INSTALLATION, launch, RULES)["spec"]["template"]["spec"]
        roots = [
            each["securityContext"]["readOnlyRootFilesystem"] for each in (*pod["initContainers"], *pod["containers"])
        ]
        assert roots == [True, False]

    def test_what_may_be_written_is_the_pods_own(self, pod: dict[str, Any], main: dict[str, Any]) -> None:
        writable = {mount["name"] for mount in main["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {"workspace", "temporary", "shared-memory"}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["workspace"]["emptyDir"] == {"sizeLimit": str(20 << 30)}
        assert volumes["token"]["secret"] == {"secretName": LAUNCH.name, "defaultMode": 0o440}


class TestResources:
    def test_are_asked_for_and_allowed_alike(self, main: dict[str, Any]) -> None:
        wanted = {"cpu": "1500m", "memory": str(4 << 30), "nvidia.com/gpu": "2"}
        assert main["resources"] == {"requests": wanted, "limits": wanted}

    def test_what_is_not_said_is_not_asked_for(self) -> None:
        launch = replace(LAUNCH, cpu=None, memory_bytes=None, disk_bytes=None, placement=Placement())
        pod = job_manifest(INSTALLATION, launch, RULES)["spec"]["template"]["spec"]
        assert pod["containers"][0]["resources"] == {"requests": {}, "limits": {}}
        assert {"name": "workspace", "emptyDir": {}} in pod["volumes"]

    def test_the_plans_machines_are_preferred(self) -> None:
        pod = job_manifest(INSTALLATION, replace(LAUNCH, machines=("b", "a", "a")), RULES)["spec"]["template"]["spec"]
        preferred = pod["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert [term["preference"]["matchFields"][0]["values"] for term in preferred] == [["a"], ["b"]]

    def test_the_pool_says_where(self, pod: dict[str, Any]) -> None:
        assert pod["nodeSelector"] == {"example.org/pool": "h100"}
        silence = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        assert pod["tolerations"] == [
            {"operator": "Exists", "key": "nvidia.com/gpu", "effect": "NoSchedule"},
            {"operator": "Equal", "key": "for", "value": "training"},
            {"key": "node.kubernetes.io/not-ready", **silence},
            {"key": "node.kubernetes.io/unreachable", **silence},
        ]


class TestContainers:
    def test_the_runner_is_brought_by_the_same_image(self, pod: dict[str, Any], main: dict[str, Any]) -> None:
        (bringing,) = pod["initContainers"]
        assert bringing["image"] == main["image"] == "registry.example.org/train:1"
        assert bringing["command"] == ["python3", "-c", bringing_source()]
        assert main["command"] == ["python3", "/opt/guildhall/runner.pyz"]

    def test_a_job_without_an_image_has_its_pools(self) -> None:
        launch = replace(LAUNCH, image=None, placement=Placement(default_image="registry.example.org/python:3"))
        pod = job_manifest(INSTALLATION, launch, RULES)["spec"]["template"]["spec"]
        assert pod["containers"][0]["image"] == "registry.example.org/python:3"

    def test_the_environment_is_the_runners(self, main: dict[str, Any]) -> None:
        environment = {variable["name"]: variable["value"] for variable in main["env"]}
        assert environment == {
            "HOME": "/workspace",
            "TMPDIR": "/tmp",  # noqa: S108
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "FROM_LAUNCH": "yes",
            "GUILDHALL_API_URL": LAUNCH.api_url,
            "GUILDHALL_TOKEN_FILE": "/var/run/guildhall/token",
            "GUILDHALL_WORKSPACE": "/workspace",
            "GUILDHALL_GRACE_SECONDS": "10",
            "GUILDHALL_ACCELERATORS": "0,1",
            "GUILDHALL_NODES": "1",
            "GUILDHALL_HOSTS": "",
            "GUILDHALL_NODE_INDEX": "0",
        }


class TestToken:
    def test_is_owned_by_the_job(self) -> None:
        manifest = token_manifest(INSTALLATION, LAUNCH, "uid-job")
        assert manifest["stringData"] == {"token": LAUNCH.token}
        assert manifest["immutable"] is True
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": LAUNCH.name, "uid": "uid-job", "controller": False}
        assert manifest["metadata"]["ownerReferences"] == [owner]


class TestSeveralNodes:
    def test_one_node_has_no_neighbours(self) -> None:
        assert neighbours_manifests(INSTALLATION, LAUNCH, "uid-job") == []

    def test_find_and_hear_each_other_alone(self) -> None:
        service, policy = neighbours_manifests(INSTALLATION, SEVERAL, "uid-job")
        mine = {"guildhall.io/launch": LAUNCH.name}
        assert service["spec"] == {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": mine}
        peers = [{"podSelector": {"matchLabels": mine}}]
        assert policy["spec"]["ingress"] == [{"from": peers}]
        assert policy["spec"]["egress"] == [{"to": peers}]
        assert {each["metadata"]["ownerReferences"][0]["uid"] for each in (service, policy)} == {"uid-job"}

    def test_are_an_indexed_job_that_knows_its_hosts(self) -> None:
        job = job_manifest(INSTALLATION, SEVERAL, RULES)
        assert (job["spec"]["completionMode"], job["spec"]["parallelism"], job["spec"]["completions"]) == (
            "Indexed",
            2,
            2,
        )
        pod = job["spec"]["template"]["spec"]
        environment = {each["name"]: each for each in pod["containers"][0]["env"]}
        assert pod["subdomain"] == LAUNCH.name
        assert environment["GUILDHALL_HOSTS"]["value"] == f"{LAUNCH.name}-0.{LAUNCH.name},{LAUNCH.name}-1.{LAUNCH.name}"
        source = environment["GUILDHALL_NODE_INDEX"]["valueFrom"]["fieldRef"]["fieldPath"]
        assert source == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
