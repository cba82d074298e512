"""The machines of a cluster: its nodes, with what the pods on them have of their accelerators."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from scheduler.clusters.executor import Machine, MachineUse, Taint
from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.resources import NODES, PODS, KubernetesObject

ALIVE = "status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!="
"""Pods that have a node and are not over: they have what they asked for, also while they are being deleted."""
OVER = frozenset({"Succeeded", "Failed"})
NOBODYS = ("kubernetes.io/", "hugepages-", "attachable-volumes-")
OF_THE_NODE = "node.kubernetes.io/"
"""Taints that Kubernetes itself sets while a node is unwell: they say how it is now, not what it is for."""
KEEPS_OFF = frozenset({"NoSchedule", "NoExecute"})

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "E": Decimal(10**18), "Ki": Decimal(1 << 10), "Mi": Decimal(1 << 20), "Gi": Decimal(1 << 30),
    "Ti": Decimal(1 << 40), "Pi": Decimal(1 << 50), "Ei": Decimal(1 << 60),
}  # fmt: skip


async def read_machines(
    api: KubernetesApi, installation: Installation, our_pods: Iterable[KubernetesObject]
) -> list[Machine]:
    """Every node, and what the pods on it have. Nodes are read first: a pod on a node of later is left out.

    Our own pods are those that we have a copy of; only those of others are asked for.
    """
    nodes = [node async for page in api.list_pages(NODES) for node in page.items]
    others = api.list_pages(PODS, field_selector=ALIVE, label_selector=installation.others)
    pods = [pod async for page in others for pod in page.items]
    uses: dict[str, list[MachineUse]] = {}
    for pod in [*pods, *filter(_is_alive, our_pods)]:
        use = _use(pod, installation)
        if use is not None:
            uses.setdefault(pod["spec"]["nodeName"], []).append(use)
    return [machine_of(node, uses.get(node["metadata"]["name"], ())) for node in nodes]


def machine_of(node: KubernetesObject, uses: Iterable[MachineUse]) -> Machine:
    """A node as the scheduler counts it."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    allocatable = status.get("allocatable") or {}
    taints = [
        Taint(key=taint["key"], effect=taint["effect"], value=taint.get("value") or None)
        for taint in spec.get("taints") or ()
    ]
    return Machine(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels") or {},
        accelerators=_accelerators(allocatable),
        cpu_millis=int(quantity(allocatable.get("cpu", "0")) * 1_000),
        memory_bytes=int(quantity(allocatable.get("memory", "0"))),
        taints=tuple(taint for taint in taints if not taint.key.startswith(OF_THE_NODE)),
        uses=tuple(uses),
        unschedulable=_unschedulable(spec, status, taints),
    )


def quantity(text: str | float) -> Decimal:
    """A quantity as Kubernetes writes it, as 1500m, 64Gi or 1e3, in units."""
    written = str(text)
    for letters in (2, 1):
        factor = _SUFFIXES.get(written[-letters:])
        if factor is not None:
            return Decimal(written[:-letters]) * factor
    return Decimal(written)


def _accelerators(resources: Mapping[str, str]) -> dict[str, int]:
    """Extended resources, which come in whole numbers: what a vendor's device plugin offers."""
    return {
        name: int(quantity(amount))
        for name, amount in resources.items()
        if "/" in name and not name.startswith(NOBODYS) and quantity(amount) > 0
    }


def _unschedulable(spec: KubernetesObject, status: KubernetesObject, taints: Iterable[Taint]) -> str | None:
    if spec.get("unschedulable"):
        return "is cordoned"
    ready = next((each for each in status.get("conditions") or () if each["type"] == "Ready"), None)
    if ready is None or ready["status"] != "True":
        return "is not ready"
    keeping = [taint.key for taint in taints if taint.key.startswith(OF_THE_NODE) and taint.effect in KEEPS_OFF]
    return f"has the taint {keeping[0]}" if keeping else None


def _is_alive(pod: KubernetesObject) -> bool:
    return "nodeName" in pod["spec"] and pod["status"].get("phase") not in OVER


def _use(pod: KubernetesObject, installation: Installation) -> MachineUse | None:
    """What a pod has of accelerators; None: nothing."""
    requested = _requested(pod["spec"])
    if not requested:
        return None
    labels = pod["metadata"].get("labels") or {}
    ours = all(labels.get(name) == value for name, value in installation.labels.items())
    return MachineUse(launch=labels.get(naming.LAUNCH) if ours else None, accelerators=requested)


def _requested(spec: KubernetesObject) -> dict[str, int]:
    """As the Kubernetes scheduler counts: all containers together, or one init container where that asks for more."""
    total: dict[str, int] = {}
    most: dict[str, int] = {}
    for container in spec.get("containers") or ():
        for name, amount in _of_container(container).items():
            total[name] = total.get(name, 0) + amount
    for container in spec.get("initContainers") or ():
        for name, amount in _of_container(container).items():
            if container.get("restartPolicy") == "Always":
                total[name] = total.get(name, 0) + amount
            else:
                most[name] = max(most.get(name, 0), amount)
    return {name: max(total.get(name, 0), most.get(name, 0)) for name in {**total, **most}}


def _of_container(container: KubernetesObject) -> dict[str, int]:
    resources = container.get("resources") or {}
    return _accelerators({**(resources.get("limits") or {}), **(resources.get("requests") or {})})
