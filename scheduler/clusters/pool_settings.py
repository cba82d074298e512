"""A pool as the configuration says it should be, and what is wrong with it by itself."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from guildhall.errors import InvalidInput, Problem
from guildhall.slugs import require_slug
from scheduler.clusters.executor import Toleration
from scheduler.clusters.tables import SLOTS_MAX, ClusterKind
from scheduler.images import image_problem
from scheduler.quoting.checks import WALLTIME_SECONDS_MAX

POOLS_MAX = 1_000
TEXT_CHARACTERS_MAX = 100
WATTS_MAX = 100_000
CARBON_GRAMS_PER_KWH_MAX = 10_000
WALLTIME_SECONDS_DEFAULT = 24 * 3_600
SELECTOR_LABELS_MAX = 20
TOLERATIONS_MAX = 20
ACCELERATOR_RESOURCE_DEFAULT = "nvidia.com/gpu"
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?"
_LABEL_NAME = re.compile(rf"(?:{_DOMAIN}/)?{_PART}", re.ASCII)
_LABEL_VALUE = re.compile(rf"(?:{_PART})?", re.ASCII)
_RESOURCE = re.compile(rf"{_DOMAIN}/{_PART}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class PoolSetting:
    """A pool at a cluster. A LOCAL cluster is made where there is none of this name; a Kubernetes one was registered.

    At a LOCAL cluster `slots` are all accelerators of the pool, spread evenly over `nodes`. At a Kubernetes cluster
    nothing is counted here: the pool is the machines with all labels of `node_selector`, whose taints it tolerates,
    and that offer `accelerator_resource`; None of that means any machine with the usual resource. Region and carbon are
    the cluster's; None leaves those of a registered cluster as they are, and `kind` None is the cluster's.
    """

    name: str
    cluster: str
    accelerator: str
    region: str | None = None
    slots: int | None = None
    carbon_grams_per_kwh: int | None = None
    kind: ClusterKind | None = None
    nodes: int | None = None
    watts_per_accelerator: int = 0
    walltime_seconds_max: int = WALLTIME_SECONDS_DEFAULT
    cpu_per_node: int | None = None
    memory_bytes_per_node: int | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Toleration] = ()
    accelerator_resource: str | None = None
    image: str | None = None
    writable_root: bool = False

    def typed_columns(self) -> dict[str, object]:
        """What the pool of a LOCAL cluster keeps of its size."""
        slots, nodes = self.slots or 0, 1 if self.nodes is None else self.nodes
        return {
            "slots": slots,
            "nodes": nodes,
            "slots_per_node": slots // nodes,
            "cpu_per_node": self.cpu_per_node,
            "memory_bytes_per_node": self.memory_bytes_per_node,
        }

    def columns(self, kind: ClusterKind) -> dict[str, object]:
        """What the pool keeps beside its cluster; at a Kubernetes cluster all but its size, which the machines say."""
        columns: dict[str, object] = {
            "accelerator": self.accelerator,
            "watts_per_accelerator": self.watts_per_accelerator,
            "walltime_seconds_max": self.walltime_seconds_max,
            "node_selector": dict(self.node_selector),
            "tolerations": [asdict(toleration) for toleration in self.tolerations],
            "accelerator_resource": self.accelerator_resource,
            "image": self.image,
            "writable_root": self.writable_root,
        }
        if kind is ClusterKind.LOCAL:
            return columns | self.typed_columns()
        return columns | {"accelerator_resource": self.accelerator_resource or ACCELERATOR_RESOURCE_DEFAULT}


def check_settings(items: Sequence[PoolSetting]) -> None:
    """Raises InvalidInput with all that is wrong with the settings whatever is stored, InvalidSlug for a name."""
    problems: list[Problem] = []
    names: set[str] = set()
    clusters: dict[str, PoolSetting] = {}
    for index, item in enumerate(items):
        place = f"pools[{index}]"
        require_slug(item.name, f"{place}.name")
        require_slug(item.cluster, f"{place}.cluster")
        if item.name in names:
            problems.append(Problem("NAMED_TWICE", f"The pool {item.name} is named twice.", f"{place}.name"))
        names.add(item.name)
        first = clusters.setdefault(item.cluster, item)
        if _said_of_cluster(first) != _said_of_cluster(item):
            message = f"The cluster {item.cluster} has one region, kind and carbon intensity; its pools state others."
            problems.append(Problem("CLUSTER_AMBIGUOUS", message, f"{place}.cluster"))
        problems += [*_texts(item, place), *_numbers(item, place), *_where(item, place)]
    if len(items) > POOLS_MAX:
        problems.append(Problem("TOO_MANY_POOLS", f"A configuration has at most {POOLS_MAX} pools.", "pools"))
    if problems:
        raise InvalidInput(problems)


def kind_problems(item: PoolSetting, kind: ClusterKind, place: str) -> list[Problem]:
    """What the setting says that does not go with its cluster's kind, or leaves unsaid."""
    if kind is ClusterKind.LOCAL:
        problems = [
            Problem(
                "NOT_LOCAL", f"{name} is for pools of Kubernetes clusters: {item.cluster} is LOCAL.", f"{place}.{name}"
            )
            for name, given in {
                "nodeSelector": item.node_selector,
                "tolerations": item.tolerations,
                "acceleratorResource": item.accelerator_resource,
                "image": item.image,
                "writableRoot": item.writable_root,
            }.items()
            if given
        ]
        if item.slots is None:
            message = f"Say the slots of {item.name}: how many accelerators this machine has for it."
            problems.append(Problem("INVALID_INPUT", message, f"{place}.slots"))
        return problems
    return [
        Problem(
            "CAPACITY_FOLLOWS",
            f"{name} of {item.name} follows from the nodes of the cluster {item.cluster}: name nodeSelector and "
            "acceleratorResource instead.",
            f"{place}.{name}",
        )
        for name, given in {
            "slots": item.slots,
            "nodes": item.nodes,
            "cpuPerNode": item.cpu_per_node,
            "memoryBytesPerNode": item.memory_bytes_per_node,
        }.items()
        if given is not None
    ]


def _said_of_cluster(item: PoolSetting) -> tuple[object, ...]:
    return item.region, item.kind, item.carbon_grams_per_kwh


def _texts(item: PoolSetting, place: str) -> list[Problem]:
    return [
        Problem("INVALID_INPUT", f"Say the {name}, in 1 to {TEXT_CHARACTERS_MAX} characters.", f"{place}.{name}")
        for name, text in {"region": item.region, "accelerator": item.accelerator}.items()
        if text is not None and (not text.strip() or len(text) > TEXT_CHARACTERS_MAX or not text.isprintable())
    ]


def _numbers(item: PoolSetting, place: str) -> list[Problem]:
    numbers = {
        "slots": (item.slots, 0, SLOTS_MAX),
        "nodes": (item.nodes, 1, SLOTS_MAX),
        "wattsPerAccelerator": (item.watts_per_accelerator, 0, WATTS_MAX),
        "carbonGramsPerKwh": (item.carbon_grams_per_kwh, 0, CARBON_GRAMS_PER_KWH_MAX),
        "walltimeSecondsMax": (item.walltime_seconds_max, 1, WALLTIME_SECONDS_MAX),
        "cpuPerNode": (item.cpu_per_node, 1, 2**31 - 1),
        "memoryBytesPerNode": (item.memory_bytes_per_node, 1, 2**62),
    }
    return [
        Problem("OUT_OF_RANGE", f"{name} is a whole number from {least} to {most}.", f"{place}.{name}")
        for name, (value, least, most) in numbers.items()
        if value is not None and not least <= value <= most
    ]


def _where(item: PoolSetting, place: str) -> list[Problem]:
    """Selector, tolerations, resource and image: checked as Kubernetes would."""
    problems = []
    for name, value in item.node_selector.items():
        if not _LABEL_NAME.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
            message = f"{name}={value} cannot be a label of a node: write it as kubectl get nodes --show-labels does."
            problems.append(Problem("INVALID_LABEL", message, f"{place}.nodeSelector"))
    for index, toleration in enumerate(item.tolerations):
        key_right = toleration.key is None or _LABEL_NAME.fullmatch(toleration.key)
        value_right = toleration.value is None or (toleration.key and _LABEL_VALUE.fullmatch(toleration.value))
        if not key_right or not value_right or toleration.effect not in {None, *EFFECTS}:
            message = (
                f"A toleration has the key of a taint, perhaps its value, and one of {', '.join(EFFECTS)} as effect."
            )
            problems.append(Problem("INVALID_TOLERATION", message, f"{place}.tolerations[{index}]"))
    if item.accelerator_resource is not None and not _RESOURCE.fullmatch(item.accelerator_resource):
        message = f"{item.accelerator_resource!r} is no resource of a node: write it as {ACCELERATOR_RESOURCE_DEFAULT}."
        problems.append(Problem("INVALID_RESOURCE", message, f"{place}.acceleratorResource"))
    problem = None if item.image is None else image_problem(item.image)
    if problem is not None:
        problems.append(Problem("INVALID_IMAGE", problem, f"{place}.image"))
    counts = {
        "nodeSelector": (len(item.node_selector), SELECTOR_LABELS_MAX),
        "tolerations": (len(item.tolerations), TOLERATIONS_MAX),
    }
    return problems + [
        Problem("TOO_MANY", f"{name} has at most {most} entries.", f"{place}.{name}")
        for name, (count, most) in counts.items()
        if count > most
    ]
