"""From a registered cluster's address to its executor."""

import time
from collections.abc import Sequence

from guildhall.clock import Clock
from scheduler.clusters.connections import ClusterAddress, Connect
from scheduler.clusters.executor import Executor
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.credentials import ClusterCredentials
from scheduler.clusters.kubernetes.executor import KubernetesExecutor
from scheduler.clusters.kubernetes.naming import Installation


def kubernetes_connect(clock: Clock, *, api_networks: Sequence[str] = ()) -> Connect:
    """What makes executors for a worker on that clock; connecting raises CredentialsRefused and sends nothing yet.

    Pods reach our API in ``api_networks``; without them, at the addresses that its name has here.
    """

    def connect(address: ClusterAddress) -> Executor:
        api = KubernetesApi.connect(
            ClusterCredentials(address.kubeconfig),
            requests_per_second=address.requests_per_second,
            clock=time.monotonic,
            sharers=address.sharers,
        )
        installation = Installation(address.installation_id)
        return KubernetesExecutor(api, installation, clock=clock, api_networks=api_networks, woken=address.woken)

    return connect
