"""Nodes as machines: what a real API server says of them, and the pure reading of what it may say."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from scheduler.clusters.executor import Machine, MachineUse, Taint
from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.nodes import machine_of, quantity, read_machines
from scheduler.clusters.kubernetes.resources import NODES, PODS
from tests.cluster.handle import RealCluster
from tests.scheduler.clusters.kubernetes.accounts import new_namespace

GPU = "nvidia.com/gpu"
KWOK = Taint(key="kwok.x-k8s.io/node", value="fake", effect="NoSchedule")
INSTALLATION = Installation("nodes-00000001")
_numbers = count(1)


@pytest.fixture
async def names(plane: RealCluster, api: KubernetesApi) -> AsyncIterator[list[str]]:
    """Three nodes of this test alone."""
    number = next(_numbers)
    names = [f"nodes-{number}-{letter}" for letter in "abc"]
    await plane.add_fake_nodes(names, gpus=8, labels={"kind": "a100"})
    while any(machine.unschedulable for machine in await machines_of(api, names)):
        await asyncio.sleep(0.1)  # they are new, and Kubernetes takes a moment to find them ready
    yield names
    await plane.remove_nodes(names)


async def machines_of(api: KubernetesApi, names: list[str]) -> list[Machine]:
    """As they are for somebody who has a true copy of our pods."""
    pages = api.list_pages(PODS, label_selector=INSTALLATION.selector)
    ours = [pod async for page in pages for pod in page.items]
    found = {machine.name: machine for machine in await read_machines(api, INSTALLATION, ours)}
    return [found[name] for name in names]


def pod(name: str, node: str, gpus: int, **labels: str) -> dict[str, Any]:
    limits = {GPU: str(gpus)}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "main", "image": "busybox", "resources": {"limits": limits, "requests": limits}}],
        },
    }


class TestReadMachines:
    async def test_a_node_and_the_pods_on_it(self, api: KubernetesApi, names: list[str]) -> None:
        namespace = await new_namespace(api, names[0])
        ours = {**INSTALLATION.labels, naming.LAUNCH: "gh-1"}
        theirs = {**Installation("another").labels, naming.LAUNCH: "gh-2"}
        await api.create(PODS, pod("foreign", names[0], 3), namespace=namespace)
        await api.create(PODS, pod("ours", names[0], 2, **ours), namespace=namespace)
        await api.create(PODS, pod("anothers", names[0], 1, **theirs), namespace=namespace)
        first, second, _ = await machines_of(api, names)
        assert sorted(first.uses, key=str) == sorted(
            [
                MachineUse(launch=None, accelerators={GPU: 3}),
                MachineUse(launch="gh-1", accelerators={GPU: 2}),
                MachineUse(launch=None, accelerators={GPU: 1}),
            ],
            key=str,
        )
        assert second.uses == ()
        assert (first.accelerators, first.cpu_millis, first.memory_bytes) == ({GPU: 8}, 96_000, 1 << 40)
        assert first.labels["kind"] == "a100"
        assert first.taints == (KWOK,)

    async def test_a_cordoned_node_takes_nothing(self, api: KubernetesApi, names: list[str]) -> None:
        await api.patch(NODES, names[0], {"spec": {"unschedulable": True}})
        first, second, _ = await machines_of(api, names)
        assert (first.unschedulable, second.unschedulable) == ("is cordoned", None)
        assert first.taints == (KWOK,)


def node(**given: Any) -> dict[str, Any]:
    status = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {GPU: "8", "cpu": "1500m"}}
    return {"metadata": {"name": "n"}, "spec": {}, "status": status, **given}


class TestMachineOf:
    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ({}, None),
            ({"status": {}}, "is not ready"),
            ({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}, "is not ready"),
            (
                {"spec": {"taints": [{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]}},
                "has the taint node.kubernetes.io/disk-pressure",
            ),
            ({"spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "PreferNoSchedule"}]}}, None),
        ],
    )
    def test_says_why_it_takes_nothing(self, given: dict[str, Any], reason: str | None) -> None:
        assert machine_of(node(**given), ()).unschedulable == reason

    def test_only_what_vendors_offer_are_accelerators(self) -> None:
        allocatable = {
            GPU: "8", "amd.com/gpu": "0", "hugepages-2Mi": "1Gi", "cpu": "1500m", "memory": "64Gi",
            "attachable-volumes-csi/x": "20", "kubernetes.io/batch": "1",
        }  # fmt: skip
        machine = machine_of(node(status={"allocatable": allocatable}), ())
        assert (machine.accelerators, machine.cpu_millis, machine.memory_bytes) == ({GPU: 8}, 1_500, 64 << 30)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", "8"), ("1500m", "1.5"), ("64Gi", str(64 << 30)), ("1e3", "1000"), ("1E", "1e18"), ("2k", "2000"),
        ("0.5", "0.5"), (3, "3"), ("12E3", "12000"), ("100n", "1e-7"),
    ],
)  # fmt: skip
def test_quantities(text: str, value: str) -> None:
    assert quantity(text) == Decimal(value)


class TestRequests:
    async def test_an_init_container_may_ask_for_more(self, api: KubernetesApi, names: list[str]) -> None:
        namespace = await new_namespace(api, names[0])
        body = pod("busy", names[0], 2)
        body["spec"]["initContainers"] = [
            {"name": "side", "image": "busybox", "restartPolicy": "Always", "resources": {"limits": {GPU: "1"}}},
            {"name": "init", "image": "busybox", "resources": {"limits": {GPU: "4"}}},
        ]
        await api.create(PODS, body, namespace=namespace)
        first, _, _ = await machines_of(api, names)
        assert first.uses == (MachineUse(launch=None, accelerators={GPU: 4}),)
