"""Every file and every argument that the parts of a cluster are started with."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.binaries import Binaries
from tests.cluster.certificates import CLIENTS, NODE
from tests.cluster.coredns_program import built_coredns
from tests.cluster.images import PAUSE

BRIDGE = "cni0"
NODE_ADDRESS = "10.244.0.1"
SUBNET = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
"""Of the Service `kubernetes`: the first of the range."""
LOOPBACK = "127.0.0.1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"  # in a /run that only the cluster sees
CNI_PLUGINS = Path("/usr/lib/cni")
DOMAIN = "cluster.local"
FAKE_NODES = "kwok.x-k8s.io/node=fake"
RUNS_FOR = "FAKE_RUNS_FOR"
"""The variable of a container that says how long its pod runs on a node of kwok, such as `3s`; without it, no time."""
POD_COMPLETE = "pod-complete.yaml"
AUDIT_LOG = "audit.log"
# A lost node is noticed, and its pods leave it, in half a minute rather than in six.
_NODE_GRACE_SECONDS = 24
_NODE_LEASE_SECONDS = 12
_TOLERATION_SECONDS = 5

_COMPLETED = """
{{ $now := Now }}
{{ $root := . }}
containerStatuses:
{{ range $index, $item := .spec.containers }}
{{ $origin := index $root.status.containerStatuses $index }}
- image: {{ $item.image | Quote }}
  name: {{ $item.name | Quote }}
  ready: false
  restartCount: 0
  started: false
  state:
    terminated:
      exitCode: 0
      finishedAt: {{ $now | Quote }}
      reason: Completed
      startedAt: {{ $origin.state.running.startedAt | Quote }}
{{ end }}
phase: Succeeded
"""


@dataclass(frozen=True)
class Ports:
    """Where the control plane listens; fixed inside a network of its own, free ones elsewhere."""

    api: int = 6443
    etcd: int = 2379
    etcd_peers: int = 2380


@dataclass(frozen=True)
class Layout:
    """Where everything of one cluster lies."""

    state: Path
    binaries: Binaries
    ports: Ports
    real_node: bool

    @property
    def address(self) -> str:
        """The address of the API server, as its own parts reach it."""
        return NODE_ADDRESS if self.real_node else LOOPBACK

    @property
    def cgroup(self) -> str:
        """The one control group under which all pods of this cluster run."""
        return f"guildhall-{self.state.name}"

    def certificate(self, name: str) -> Path:
        """NAME.crt, NAME.key."""
        return self.state / "certificates" / name

    def kubeconfig(self, user: str) -> Path:
        """The file with which that user of `CLIENTS` reaches the API server."""
        return self.state / f"{user}.kubeconfig"

    def log(self, name: str) -> Path:
        """What a component writes."""
        return self.state / f"{name}.log"

    @property
    def environment(self) -> Mapping[str, str]:
        """Nothing of ours may look for, or leave, files in a home folder."""
        return {"HOME": str(self.state), "KWOK_WORKDIR": str(self.state / "kwok")}


def write_files(layout: Layout, api_port: int) -> None:
    """Everything but the certificates, which must be there."""
    inner = f"https://{layout.address}:{layout.ports.api}"
    for user in CLIENTS:
        layout.kubeconfig(user).write_text(kubeconfig_text(layout, user, inner), encoding="utf-8")
    outer = kubeconfig_text(layout, "admin", f"https://{LOOPBACK}:{api_port}")
    (layout.state / "kubeconfig").write_text(outer, encoding="utf-8")
    _write_json(layout.state / "scheduler.yaml", _scheduler(layout))
    _write_json(layout.state / "audit-policy.yaml", _audit_policy())
    _write_json(layout.state / POD_COMPLETE, _pod_complete())
    if layout.real_node:
        _write_json(layout.state / "kubelet.yaml", _kubelet(layout))
        (layout.state / "containerd.toml").write_text(_containerd(layout), encoding="utf-8")
        (layout.state / "Corefile").write_text(_corefile(layout), encoding="utf-8")
        network = layout.state / "cni"
        network.mkdir()
        _write_json(network / "10-pods.conflist", _network())


def kubeconfig_text(layout: Layout, user: str, server: str) -> str:
    """A kubeconfig with its certificates inside, as JSON, which is YAML."""

    def inline(name: str) -> str:
        return b64encode(layout.certificate(name).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": inline("ca.crt")}
    credentials = {"client-certificate-data": inline(f"{user}.crt"), "client-key-data": inline(f"{user}.key")}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "guildhall-test", "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": "guildhall-test", "context": {"cluster": "guildhall-test", "user": user}}],
            "current-context": "guildhall-test",
        },
        indent=2,
    )


def etcd(layout: Layout) -> Sequence[str]:
    """The store, which need not survive a power cut."""
    clients, peers = (f"http://{LOOPBACK}:{port}" for port in (layout.ports.etcd, layout.ports.etcd_peers))
    return [
        str(layout.binaries.kubernetes),
        "etcd",
        "--name=main",
        f"--data-dir={layout.state / 'etcd'}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=main={peers}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server(layout: Layout) -> Sequence[str]:
    """The API server; it forgets nothing when it is killed, and stops at once when asked to."""
    return [
        str(layout.binaries.kubernetes),
        "kube-apiserver",
        f"--etcd-servers=http://{LOOPBACK}:{layout.ports.etcd}",
        f"--bind-address={layout.address}",
        f"--advertise-address={NODE_ADDRESS}",
        f"--secure-port={layout.ports.api}",
        f"--tls-cert-file={layout.certificate('apiserver.crt')}",
        f"--tls-private-key-file={layout.certificate('apiserver.key')}",
        f"--client-ca-file={layout.certificate('ca.crt')}",
        f"--kubelet-certificate-authority={layout.certificate('ca.crt')}",
        f"--kubelet-client-certificate={layout.certificate('kubelet-client.crt')}",
        f"--kubelet-client-key={layout.certificate('kubelet-client.key')}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        f"--service-account-key-file={layout.certificate('sa.pub')}",
        f"--service-account-signing-key-file={layout.certificate('sa.key')}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={SERVICES}",
        "--endpoint-reconciler-type=none",
        f"--audit-policy-file={layout.state / 'audit-policy.yaml'}",
        f"--audit-log-path={layout.state / AUDIT_LOG}",
        "--shutdown-delay-duration=0",
        f"--default-not-ready-toleration-seconds={_TOLERATION_SECONDS}",
        f"--default-unreachable-toleration-seconds={_TOLERATION_SECONDS}",
    ]


def controller_manager(layout: Layout) -> Sequence[str]:
    """With its default rates it would complete less than one Job a second."""
    return [
        str(layout.binaries.kubernetes),
        "kube-controller-manager",
        f"--kubeconfig={layout.kubeconfig('controller-manager')}",
        f"--service-account-private-key-file={layout.certificate('sa.key')}",
        f"--root-ca-file={layout.certificate('ca.crt')}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=2000",
        "--kube-api-burst=4000",
        "--concurrent-job-syncs=20",
        "--node-monitor-period=2s",
        f"--node-monitor-grace-period={_NODE_GRACE_SECONDS}s",
    ]


def scheduler(layout: Layout) -> Sequence[str]:
    """The scheduler of Kubernetes, not ours."""
    return [
        str(layout.binaries.kubernetes),
        "kube-scheduler",
        f"--config={layout.state / 'scheduler.yaml'}",
        "--secure-port=0",
    ]


def kwok(layout: Layout) -> Sequence[str]:
    """Nodes that are only written down, and pods on them that only say that they run."""
    return [
        str(layout.binaries.kwok),
        f"--kubeconfig={layout.kubeconfig('kwok')}",
        f"--manage-nodes-with-annotation-selector={FAKE_NODES}",
        "--node-lease-duration-seconds=40",
        *(f"--config={stage}" for stage in layout.binaries.stages if stage.name != POD_COMPLETE),
        f"--config={layout.state / POD_COMPLETE}",
    ]


def containerd(layout: Layout) -> Sequence[str]:
    """A container runtime of the cluster's own."""
    return ["containerd", f"--config={layout.state / 'containerd.toml'}"]


def kubelet(layout: Layout) -> Sequence[str]:
    """The real node."""
    return [
        str(layout.binaries.kubernetes),
        "kubelet",
        f"--config={layout.state / 'kubelet.yaml'}",
        f"--kubeconfig={layout.kubeconfig('node')}",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_ADDRESS}",
        f"--root-dir={layout.state / 'kubelet'}",
        f"--cert-dir={layout.state / 'kubelet-certificates'}",
    ]


def coredns(layout: Layout) -> Sequence[str]:
    """What answers for the names of services, at the address of the node."""
    return [str(built_coredns()), f"-conf={layout.state / 'Corefile'}"]


def _audit_policy() -> Mapping[str, object]:
    """What came from outside, when it came; the cluster's own parts would only fill the log."""
    kept = {"level": "Metadata", "users": [CLIENTS["admin"][0]], "omitStages": ["ResponseStarted", "ResponseComplete"]}
    return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [kept, {"level": "None"}]}


def _scheduler(layout: Layout) -> Mapping[str, object]:
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"kubeconfig": str(layout.kubeconfig("scheduler")), "qps": 2000, "burst": 4000},
    }


def _pod_complete() -> Mapping[str, object]:
    """In place of kwok's own stage of that name: a container ran from when it said so, for as long as it asks for."""
    runs_for = f'[.spec.containers[].env[]? | select(.name == "{RUNS_FOR}") | .value][0]'
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": "pod-complete"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {
                "matchExpressions": [
                    {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
                    {"key": ".status.phase", "operator": "In", "values": ["Running"]},
                    {"key": ".metadata.ownerReferences.[].kind", "operator": "In", "values": ["Job"]},
                ]
            },
            "delay": {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": runs_for}},
            "next": {"statusTemplate": _COMPLETED},
        },
    }


def _kubelet(layout: Layout) -> Mapping[str, object]:
    never = dict.fromkeys(("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.certificate("ca.crt"))},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.certificate("kubelet.crt")),
        "tlsPrivateKeyFile": str(layout.certificate("kubelet.key")),
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "clusterDNS": [NODE_ADDRESS],
        "clusterDomain": DOMAIN,
        "podLogsDir": str(layout.state / "pod-logs"),
        "volumePluginDir": str(layout.state / "volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "failCgroupV1": False,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        # The disk of the machine is the developer's; how full it is says nothing about the cluster.
        "evictionHard": never,
        "imageGCHighThresholdPercent": 100,
        "nodeLeaseDurationSeconds": _NODE_LEASE_SECONDS,
        "nodeStatusUpdateFrequency": "4s",
    }


def _corefile(layout: Layout) -> str:
    return f"""\
. {{
    bind {NODE_ADDRESS}
    errors
    kubernetes {DOMAIN} {{
        kubeconfig {layout.kubeconfig("coredns")}
    }}
}}
"""


def _containerd(layout: Layout) -> str:
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{layout.state}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[{cri}]
  sandbox_image = "{PAUSE}"
  # Without CAP_SYS_RESOURCE runc dies with "can't get final child's PID from pipe".
  restrict_oom_score_adj = true
  [{cri}.cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{layout.state}/cni"
  [{cri}.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def _network() -> Mapping[str, object]:
    ranges = [[{"subnet": SUBNET, "rangeStart": "10.244.0.10", "gateway": NODE_ADDRESS}]]
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}]},
    }
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge]}


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
