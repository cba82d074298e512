"""From a registered cluster's address to its executor."""

import time

from guildhall.clock import Clock
from scheduler.clusters.connections import ClusterAddress, Connect
from scheduler.clusters.executor import Executor
from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.credentials import ClusterCredentials
from scheduler.clusters.kubernetes.executor import KubernetesExecutor
from scheduler.clusters.kubernetes.naming import Installation


def kubernetes_connect(clock: Clock) -> Connect:
    """What makes executors for a worker on that clock; connecting raises CredentialsRefused and sends nothing yet."""

    def connect(address: ClusterAddress) -> Executor:
        api = KubernetesApi.connect(
            ClusterCredentials(address.kubeconfig),
            requests_per_second=address.requests_per_second,
            clock=time.monotonic,
            sharers=address.sharers,
        )
        return KubernetesExecutor(api, Installation(address.installation_id), clock=clock, woken=address.woken)

    return connect
