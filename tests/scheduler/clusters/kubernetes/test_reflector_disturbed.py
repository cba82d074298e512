"""The reflector against a real API server that is killed, frozen, compacted, or cut off."""

import pytest

from scheduler.clusters.kubernetes.connection import KubernetesApi
from scheduler.clusters.kubernetes.failures import ClusterSilent, ClusterUnreachable, VersionExpired
from tests.cluster.handle import RealCluster
from tests.cluster.relay import Relay
from tests.scheduler.clusters.kubernetes.following import (
    SECONDS_MAX,
    agreed,
    change,
    drop,
    following,
    labelled,
    make,
    until,
)
from tests.scheduler.clusters.kubernetes.kinds import CONFIG_MAPS

pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
def plane(own_control_plane: RealCluster) -> RealCluster:
    return own_control_plane


class TestDisturbances:
    async def test_a_watch_from_a_version_that_is_compacted_away(
        self, plane: RealCluster, relay: Relay, relayed_api: KubernetesApi, api: KubernetesApi, namespace: str
    ) -> None:
        await make(api, namespace, "kept", "changed", "deleted", "made-anew")
        async with following(relayed_api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            listed_at = int(followed.reflector.version)
            followed.changes.clear()
            relay.refuse()
            await change(api, namespace, "changed", "1")
            await drop(api, namespace, "deleted", "made-anew")
            await make(api, namespace, "made-anew", "new")
            # An API server that went on would still remember what etcd has forgotten.
            await plane.kill("kube-apiserver")
            await plane.compact()
            await plane.start("kube-apiserver")
            relay.restore()
            await agreed(followed, api, namespace)
            assert sorted(followed.told) == [
                ("ADDED", "made-anew"),
                ("ADDED", "new"),
                ("DELETED", "deleted"),
                ("DELETED", "made-anew"),
                ("MODIFIED", "changed"),
            ]
            assert followed.told.index(("DELETED", "made-anew")) < followed.told.index(("ADDED", "made-anew"))
        with pytest.raises(VersionExpired, match="too old resource version"):
            await anext(api.watch(CONFIG_MAPS, resource_version=str(listed_at), namespace=namespace))

    async def test_the_api_server_is_killed_and_started_again(
        self, plane: RealCluster, api: KubernetesApi, namespace: str
    ) -> None:
        await make(api, namespace, "one", "two")
        async with following(api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            await plane.kill("kube-apiserver")
            await until(lambda: isinstance(followed.reflector.failure, ClusterUnreachable), "it is missed")
            assert len(followed.reflector.objects) == 2
            await plane.start("kube-apiserver")
            await drop(api, namespace, "one")
            await make(api, namespace, "three")
            await agreed(followed, api, namespace)
            assert followed.told[2:] == [("DELETED", "one"), ("ADDED", "three")]
            assert followed.reflector.failure is None

    async def test_the_api_server_is_frozen(self, plane: RealCluster, api: KubernetesApi, namespace: str) -> None:
        await make(api, namespace, "one")
        async with following(api, namespace, watch_seconds=2, silence_seconds_max=3.0) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            await plane.freeze("kube-apiserver")
            try:
                await until(lambda: isinstance(followed.reflector.failure, ClusterSilent), "its silence is noticed")
            finally:
                await plane.thaw("kube-apiserver")
            await make(api, namespace, "two")
            await agreed(followed, api, namespace)
            assert followed.told == [("ADDED", "one"), ("ADDED", "two")]

    async def test_the_connection_is_cut_in_mid_event(
        self, relay: Relay, relayed_api: KubernetesApi, api: KubernetesApi, namespace: str
    ) -> None:
        async with following(relayed_api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            for number in range(3):
                relay.cut_after(50_000)
                await api.create(CONFIG_MAPS, labelled(f"large-{number}", text="x" * 200_000), namespace=namespace)
                await agreed(followed, api, namespace)
            assert followed.told == [("ADDED", f"large-{number}") for number in range(3)]

    async def test_what_is_deleted_while_cut_off_is_told_afterwards(
        self, relay: Relay, relayed_api: KubernetesApi, api: KubernetesApi, namespace: str
    ) -> None:
        await make(api, namespace, "one", "two")
        async with following(relayed_api, namespace) as followed:
            await followed.reflector.listed(seconds=SECONDS_MAX)
            relay.refuse()
            await drop(api, namespace, "one")
            await make(api, namespace, "brief")
            await drop(api, namespace, "brief")
            await until(lambda: followed.reflector.failure is not None, "the cut is noticed")
            relay.restore()
            await until(lambda: ("DELETED", "one") in followed.told, "the deletion is told")
            await agreed(followed, api, namespace)
