"""What is sent to a cluster, as plain dicts: a team's namespace with its closed network, and the objects of one launch.

Pure functions of their arguments. A launch is one Job; all else that it needs is owned by the Job and goes with it.
"""

import ipaddress
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from scheduler.clusters.executor import Launch
from scheduler.clusters.kubernetes import naming
from scheduler.clusters.kubernetes.naming import Installation
from scheduler.clusters.kubernetes.pods import PodRules, pod_template

Manifest = dict[str, Any]

FORGOTTEN_AFTER = timedelta(days=7)
"""When the cluster clears away a finished Job by itself: long after settlement, for a Guildhall that is gone."""
DNS_PORT = 53
DNS_NAMESPACE = "kube-system"
CLOSED_POLICY = "guildhall-closed"
TOKEN_KEY = "token"  # noqa: S105 -- the name of a file


def namespace_manifest(installation: Installation, team: str) -> Manifest:
    """The namespace of a team's jobs: ours by its labels, and nothing runs in it that is not restricted."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": installation.namespace(team),
            "labels": {
                **installation.labels,
                naming.TEAM: team,
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/enforce-version": "latest",
            },
        },
    }


def closed_network_manifest(
    installation: Installation, team: str, *, api_url: str, networks: Sequence[str]
) -> Manifest:
    """No pod of the namespace hears anybody, and it reaches names and our API alone.

    ``networks`` are the addresses of the API in CIDR notation, because a policy cannot name a host.
    """
    dns = [{"protocol": protocol, "port": DNS_PORT} for protocol in ("UDP", "TCP")]
    api = [{"protocol": "TCP", "port": api_port(api_url)}]
    to_dns = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": DNS_NAMESPACE}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": CLOSED_POLICY,
            "namespace": installation.namespace(team),
            "labels": installation.labels,
        },
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [],
            "egress": [
                {"to": [to_dns], "ports": dns},
                {"to": [{"ipBlock": {"cidr": network}} for network in sorted(networks)], "ports": api},
            ],
        },
    }


def api_port(api_url: str) -> int:
    """The port of an address of ours."""
    parts = urlsplit(api_url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def literal_network(api_url: str) -> str | None:
    """The one address that a URL names by number, in CIDR notation; None where it names a host."""
    try:
        return str(ipaddress.ip_network(urlsplit(api_url).hostname or ""))
    except ValueError:
        return None


def job_manifest(installation: Installation, launch: Launch, rules: PodRules) -> Manifest:
    """The Job. It never tries twice by itself, because every container that starts is paid for."""
    several = launch.nodes > 1
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            **_metadata(installation, launch),
            "annotations": {naming.SPEC_HASH: launch.spec_hash, naming.NODES: str(launch.nodes)},
        },
        "spec": {
            "parallelism": launch.nodes,
            "completions": launch.nodes,
            "completionMode": "Indexed" if several else "NonIndexed",
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": int(FORGOTTEN_AFTER.total_seconds()),
            "template": pod_template(installation, launch, rules),
        },
    }


def token_manifest(installation: Installation, launch: Launch, job_uid: str) -> Manifest:
    """The attempt's token. The pods wait for it, so that it may come after the Job that owns it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": {**_metadata(installation, launch), "ownerReferences": [_owner(launch, job_uid)]},
        "stringData": {TOKEN_KEY: launch.token},
    }


def neighbours_manifests(installation: Installation, launch: Launch, job_uid: str) -> list[Manifest]:
    """What several nodes need to find and to hear each other; nothing for one node."""
    if launch.nodes == 1:
        return []
    metadata = {**_metadata(installation, launch), "ownerReferences": [_owner(launch, job_uid)]}
    mine = {naming.LAUNCH: launch.name}
    peers = [{"podSelector": {"matchLabels": mine}}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            # Names count from the first moment: nodes wait for each other before any of them is ready.
            "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": mine},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata,
            "spec": {
                "podSelector": {"matchLabels": mine},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": peers}],
                "egress": [{"to": peers}],
            },
        },
    ]


def _metadata(installation: Installation, launch: Launch) -> Manifest:
    return {
        "name": launch.name,
        "namespace": installation.namespace(launch.team),
        "labels": naming.launch_labels(installation, launch),
    }


def _owner(launch: Launch, job_uid: str) -> Manifest:
    return {"apiVersion": "batch/v1", "kind": "Job", "name": launch.name, "uid": job_uid, "controller": False}
