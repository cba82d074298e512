"""The pod of a launch: our runner around the job's command, under the restricted Pod Security Standard.

An image must have Python 3.9 or newer as ``python3``, run under any user id, and write nowhere but to the workspace and
to /tmp. The runner is not in it: an init container of the same image fetches it from our API with the attempt's token.
"""

from dataclasses import dataclass
from typing import Any

from scheduler.clusters.executor import Launch, Toleration
from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.runner_archive import bringing_source

MAIN = "main"
BRING_RUNNER = "bring-runner"
USER_ID = 61_000
REPORT_SECONDS = 20
"""What the runner has after the command's grace, to send what is left and the result."""
BRINGING_CPU = "100m"
BRINGING_BYTES = 128 << 20
TEMPORARY_BYTES_MAX = 8 << 30

WORKSPACE = "/workspace"
TEMPORARY = "/tmp"  # noqa: S108 -- the pod's own
SHARED_MEMORY = "/dev/shm"  # noqa: S108 -- the pod's own
RUNNER_FOLDER = "/opt/guildhall"
TOKEN_FOLDER = "/var/run/guildhall"  # noqa: S105 -- the name of a folder
MACHINES_MAX = 64
NODE_GONE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


@dataclass(frozen=True, kw_only=True)
class PodRules:
    """What holds for all pods of a cluster.

    A node may be silent for ``node_silent_seconds`` before its pods are given up, and nothing is waited for longer than
    ``start_seconds_max`` before a container has started.
    """

    node_silent_seconds: int = 300
    start_seconds_max: int = 1_800


def pod_template(installation: Installation, launch: Launch, rules: PodRules) -> dict[str, Any]:
    """The template of the Job. The launch has an image, its own or its pool's."""
    image = launch.image or launch.placement.default_image
    assert image is not None, "a launch without an image is refused before"
    grace_seconds = launch.grace_seconds + REPORT_SECONDS
    return {
        "metadata": {
            "labels": naming.launch_labels(installation, launch),
            "annotations": {naming.SPEC_HASH: launch.spec_hash, naming.NODES: str(launch.nodes)},
            "finalizers": [naming.SETTLEMENT],
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_seconds,
            # Only for a Guildhall that is away: else jobs over their walltime are stopped by the worker.
            "activeDeadlineSeconds": rules.start_seconds_max + launch.walltime_seconds + grace_seconds,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER_ID,
                "runAsGroup": USER_ID,
                "fsGroup": USER_ID,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            **({"subdomain": launch.name} if launch.nodes > 1 else {}),
            "nodeSelector": dict(launch.placement.node_selector),
            "tolerations": _tolerations(launch, rules),
            **({"affinity": _preference(launch)} if launch.machines else {}),
            "initContainers": [_bring_runner(launch, image)],
            "containers": [_main(launch, image)],
            "volumes": _volumes(launch),
        },
    }


def _bring_runner(launch: Launch, image: str) -> dict[str, Any]:
    return {
        "name": BRING_RUNNER,
        "image": image,
        "command": ["python3", "-c", bringing_source()],
        "env": _variables(
            {
                "GUILDHALL_API_URL": launch.api_url,
                "GUILDHALL_TOKEN_FILE": f"{TOKEN_FOLDER}/token",
                "GUILDHALL_RUNNER": f"{RUNNER_FOLDER}/runner.pyz",
            }
        ),
        "resources": _equal({"cpu": BRINGING_CPU, "memory": str(BRINGING_BYTES)}),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": _confined(writable_root=False),
        "volumeMounts": [_mount("runner", RUNNER_FOLDER), _mount("token", TOKEN_FOLDER, read_only=True)],
    }


def _main(launch: Launch, image: str) -> dict[str, Any]:
    return {
        "name": MAIN,
        "image": image,
        "command": ["python3", f"{RUNNER_FOLDER}/runner.pyz"],
        "workingDir": WORKSPACE,
        "env": [*_variables(_environment(launch)), _node_index(launch)],
        "resources": _equal(_resources(launch)),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": _confined(writable_root=launch.placement.writable_root),
        "volumeMounts": [
            _mount("workspace", WORKSPACE),
            _mount("temporary", TEMPORARY),
            _mount("shared-memory", SHARED_MEMORY),
            _mount("runner", RUNNER_FOLDER, read_only=True),
            _mount("token", TOKEN_FOLDER, read_only=True),
        ],
    }


def _environment(launch: Launch) -> dict[str, str]:
    hosts = [f"{launch.name}-{index}.{launch.name}" for index in range(launch.nodes)] if launch.nodes > 1 else []
    return {
        "HOME": WORKSPACE,
        "TMPDIR": TEMPORARY,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        **launch.environment,
        "GUILDHALL_API_URL": launch.api_url,
        "GUILDHALL_TOKEN_FILE": f"{TOKEN_FOLDER}/token",
        "GUILDHALL_WORKSPACE": WORKSPACE,
        "GUILDHALL_GRACE_SECONDS": str(launch.grace_seconds),
        "GUILDHALL_ACCELERATORS": ",".join(str(index) for index in range(launch.accelerators_per_node)),
        "GUILDHALL_NODES": str(launch.nodes),
        "GUILDHALL_HOSTS": ",".join(hosts),
    }


def _node_index(launch: Launch) -> dict[str, Any]:
    if launch.nodes == 1:
        return {"name": "GUILDHALL_NODE_INDEX", "value": "0"}
    source = {"fieldRef": {"fieldPath": f"metadata.annotations['{naming.INDEX}']"}}
    return {"name": "GUILDHALL_NODE_INDEX", "valueFrom": source}


def _resources(launch: Launch) -> dict[str, str]:
    resource = launch.placement.accelerator_resource
    return {
        **({"cpu": f"{round(launch.cpu * 1000)}m"} if launch.cpu is not None else {}),
        **({"memory": str(launch.memory_bytes)} if launch.memory_bytes is not None else {}),
        **({resource: str(launch.accelerators_per_node)} if resource and launch.accelerators_per_node else {}),
    }


def _equal(resources: dict[str, str]) -> dict[str, Any]:
    """Asked for and allowed alike: what a job pays for is neither shared nor exceeded."""
    return {"requests": resources, "limits": resources}


def _confined(*, writable_root: bool) -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": not writable_root,
        "capabilities": {"drop": ["ALL"]},
    }


def _volumes(launch: Launch) -> list[dict[str, Any]]:
    disk = {} if launch.disk_bytes is None else {"sizeLimit": str(launch.disk_bytes)}
    return [
        {"name": "workspace", "emptyDir": disk},
        {"name": "temporary", "emptyDir": {"sizeLimit": str(launch.disk_bytes or TEMPORARY_BYTES_MAX)}},
        # Loaders of training data need more than a container's 64 MB; it counts as the job's memory.
        {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        {"name": "runner", "emptyDir": {"sizeLimit": str(BRINGING_BYTES)}},
        {"name": "token", "secret": {"secretName": launch.name, "defaultMode": 0o440}},
    ]


def _preference(launch: Launch) -> dict[str, Any]:
    """The machines that the plan counted on, if they still have room when the cluster decides."""
    terms = [
        {
            "weight": 100,
            "preference": {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [machine]}]},
        }
        for machine in sorted(set(launch.machines))[:MACHINES_MAX]
    ]
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}


def _tolerations(launch: Launch, rules: PodRules) -> list[dict[str, Any]]:
    of_silence = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": rules.node_silent_seconds}
        for key in NODE_GONE_TAINTS
    ]
    return [*(_toleration(each) for each in launch.placement.tolerations), *of_silence]


def _toleration(toleration: Toleration) -> dict[str, Any]:
    found = {"key": toleration.key, "value": toleration.value, "effect": toleration.effect}
    operator = "Exists" if toleration.value is None else "Equal"
    return {"operator": operator, **{name: value for name, value in found.items() if value is not None}}


def _variables(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _mount(name: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}
