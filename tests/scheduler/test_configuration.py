"""Clusters and pools from the organisation's configuration."""

from dataclasses import replace
from typing import Any

import pytest

from guildhall.auth.authorize import PermissionRefused
from guildhall.changes import Change, ChangeAction, Difference
from guildhall.clock import new_id
from guildhall.errors import InvalidInput
from guildhall.slugs import InvalidSlug
from scheduler.clusters.executor import Toleration
from scheduler.clusters.fake import FakeRun
from scheduler.clusters.pool_settings import PoolSetting
from scheduler.clusters.tables import Cluster, ClusterKind, Pool
from scheduler.configuration import PoolInUse, UnknownCluster, apply_pools
from tests.scheduler.yard import POOLS, Yard, machine

NEW = PoolSetting(name="new", cluster="there", region="us", accelerator="a10", slots=8, nodes=2)


async def apply(yard: Yard, *items: PoolSetting, by: str = "root") -> list[Change]:
    async with yard.database.transaction() as session:
        return await apply_pools(session, yard.actor(by), items, at=yard.clock.now(), new_id=new_id)


class TestApplyPools:
    async def test_makes_a_pool_and_its_cluster(self, yard: Yard) -> None:
        changes = await apply(yard, NEW)
        made = (
            Difference("cluster", None, "there"),
            Difference("accelerator", None, "a10"),
            Difference("watts_per_accelerator", None, "0"),
            Difference("walltime_seconds_max", None, "86400"),
            Difference("writable_root", None, "false"),
            Difference("slots", None, "8"),
            Difference("nodes", None, "2"),
            Difference("slots_per_node", None, "4"),
        )
        assert changes == [
            Change("Cluster", "there", ChangeAction.CREATED, (Difference("region", None, "us"),)),
            Change("Pool", "new", ChangeAction.CREATED, made),
        ]
        (cluster,) = await yard.rows(Cluster, Cluster.name == "there")
        assert (cluster.region, cluster.kind) == ("us", "LOCAL")
        (pool,) = await yard.rows(Pool, Pool.name == "new")
        assert (pool.cluster_id, pool.slots, pool.nodes, pool.walltime_seconds_max) == (cluster.id, 8, 2, 86_400)

    async def test_again_it_changes_nothing(self, yard: Yard) -> None:
        events = len(await yard.events("scheduler:pool:change"))
        changes = await apply(yard, *POOLS)
        assert {change.action for change in changes} == {ChangeAction.UNCHANGED}
        assert len(await yard.events("scheduler:pool:change")) == events

    async def test_changes_what_is_named_and_nothing_else(self, yard: Yard) -> None:
        await apply(yard, NEW)
        changes = await apply(yard, replace(NEW, slots=5))
        fewer = (Difference("slots", "8", "5"), Difference("slots_per_node", "4", "2"))
        assert changes[1] == Change("Pool", "new", ChangeAction.UPDATED, fewer)
        slots = {pool.name: pool.slots for pool in await yard.rows(Pool)}
        assert slots == {"small": 2, "big": 4, "new": 5}
        event = (await yard.events("scheduler:pool:change"))[-1]
        assert event.before is not None
        assert event.after is not None
        assert (event.before["slots"], event.after["slots"]) == (8, 5)

    async def test_a_pool_that_nobody_uses_may_move(self, yard: Yard) -> None:
        await apply(yard, NEW)
        changes = await apply(yard, replace(NEW, cluster="elsewhere"))
        assert changes[1] == Change("Pool", "new", ChangeAction.UPDATED, (Difference("cluster", "there", "elsewhere"),))

    async def test_a_pool_in_use_stays_at_its_cluster(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        await yard.submit()
        await yard.cycle()
        with pytest.raises(PoolInUse):
            await apply(yard, replace(NEW, name="small"))
        assert await yard.count(Cluster) == 1

    async def test_more_accelerators_admit_who_waits(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        await yard.submit(yard.spec("first", accelerator_count=2))
        second = await yard.submit(yard.spec("second"))
        await yard.cycle()
        assert (await yard.job(second)).state == "QUEUED"
        yard.cluster.inventory = [machine("small", 2), machine("small", 1, number=2)]
        await yard.cycle(5)
        assert (await yard.job(second)).state == "STARTING"
        assert (await yard.attempt(second)).slot_indexes == [2]

    async def test_fewer_accelerators_leave_what_runs_and_admit_nobody(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        first = await yard.submit(yard.spec("first", accelerator_count=2))
        await yard.cycle()
        yard.cluster.inventory = [machine("small", 1)]
        second = await yard.submit(yard.spec("second"))
        await yard.cycle(5)
        assert (await yard.job(first)).state == "RUNNING"
        assert (await yard.job(second)).state == "QUEUED"

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"slots": -1}, "pools[0].slots"),
            ({"slots": 10_001}, "pools[0].slots"),
            ({"nodes": 0}, "pools[0].nodes"),
            ({"accelerator": " "}, "pools[0].accelerator"),
            ({"region": "e\nu"}, "pools[0].region"),
            ({"watts_per_accelerator": -1}, "pools[0].wattsPerAccelerator"),
            ({"walltime_seconds_max": 0}, "pools[0].walltimeSecondsMax"),
            ({"cpu_per_node": 0}, "pools[0].cpuPerNode"),
            ({"memory_bytes_per_node": 0}, "pools[0].memoryBytesPerNode"),
        ],
    )
    async def test_mistakes_name_the_field(self, yard: Yard, given: dict[str, Any], field: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            await apply(yard, replace(NEW, **given))
        assert [problem.field for problem in caught.value.problems] == [field]
        assert await yard.count(Pool) == 2

    async def test_one_name_says_one_thing(self, yard: Yard) -> None:
        with pytest.raises(InvalidInput) as caught:
            await apply(yard, NEW, NEW, replace(NEW, name="other", kind=ClusterKind.KUBERNETES))
        assert [problem.code for problem in caught.value.problems] == ["NAMED_TWICE", "CLUSTER_AMBIGUOUS"]
        with pytest.raises(InvalidSlug):
            await apply(yard, replace(NEW, name="No Slug"))
        assert await yard.count(Pool) == 2

    async def test_only_who_governs_pools(self, yard: Yard) -> None:
        with pytest.raises(PermissionRefused):
            await apply(yard, NEW, by="anna")
        assert await yard.count(Pool) == 2


GPUS = PoolSetting(name="gpus", cluster="here", accelerator="a100", node_selector={"kind": "a100"})


class TestPoolsOfKubernetes:
    async def test_is_the_machines_that_its_selector_finds(self, yard: Yard) -> None:
        changes = await apply(yard, replace(GPUS, node_selector={"pool": "big"}))
        assert [(change.name, change.action) for change in changes] == [
            ("here", ChangeAction.UNCHANGED),
            ("gpus", ChangeAction.CREATED),
        ]
        assert Difference("node_selector", None, "pool=big") in changes[1].differences
        (pool,) = await yard.rows(Pool, Pool.name == "gpus")
        assert (pool.slots, pool.nodes, pool.slots_per_node) == (4, 1, 4)
        assert (pool.cpu_per_node, pool.memory_bytes_per_node) == (64, 256 << 30)
        assert pool.accelerator_resource == "nvidia.com/gpu"
        await apply(yard, GPUS)
        (pool,) = await yard.rows(Pool, Pool.name == "gpus")
        assert (pool.slots, pool.nodes, pool.slots_per_node) == (0, 0, 0)

    async def test_keeps_the_region_of_its_cluster_unless_told(self, yard: Yard) -> None:
        await apply(yard, GPUS)
        assert [cluster.region for cluster in await yard.rows(Cluster)] == ["eu"]
        changes = await apply(yard, replace(GPUS, region="us", carbon_grams_per_kwh=40))
        told = (Difference("region", "eu", "us"), Difference("carbon_grams_per_kwh", None, "40"))
        assert changes[0] == Change("Cluster", "here", ChangeAction.UPDATED, told)
        (cluster,) = await yard.rows(Cluster)
        assert (cluster.region, cluster.carbon_grams_per_kwh) == ("us", 40)

    @pytest.mark.parametrize("given", [{"slots": 8}, {"nodes": 2}, {"cpu_per_node": 8}, {"memory_bytes_per_node": 1}])
    async def test_nothing_is_counted_by_hand(self, yard: Yard, given: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match="follows from the nodes of the cluster here") as caught:
            await apply(yard, replace(GPUS, **given))
        assert [problem.code for problem in caught.value.problems] == ["CAPACITY_FOLLOWS"]
        assert await yard.count(Pool) == 2

    @pytest.mark.parametrize(
        ("given", "code", "field"),
        [
            ({"node_selector": {"no label": "x"}}, "INVALID_LABEL", "nodeSelector"),
            ({"node_selector": {"kind": "not a value"}}, "INVALID_LABEL", "nodeSelector"),
            ({"tolerations": (Toleration(effect="NoWay"),)}, "INVALID_TOLERATION", "tolerations[0]"),
            ({"tolerations": (Toleration(value="gpu"),)}, "INVALID_TOLERATION", "tolerations[0]"),
            ({"accelerator_resource": "gpu"}, "INVALID_RESOURCE", "acceleratorResource"),
            ({"image": "No Image"}, "INVALID_IMAGE", "image"),
            ({"node_selector": {f"l{number}": "x" for number in range(21)}}, "TOO_MANY", "nodeSelector"),
        ],
    )
    async def test_mistakes_name_the_field(self, yard: Yard, given: dict[str, Any], code: str, field: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            await apply(yard, replace(GPUS, **given))
        assert [(problem.code, problem.field) for problem in caught.value.problems] == [(code, f"pools[0].{field}")]
        assert await yard.count(Pool) == 2

    async def test_its_cluster_has_been_registered(self, yard: Yard) -> None:
        with pytest.raises(UnknownCluster, match="connect it with registerCluster first"):
            await apply(yard, replace(GPUS, cluster="new", kind=ClusterKind.KUBERNETES))
        with pytest.raises(UnknownCluster, match="leave its kind out"):
            await apply(yard, replace(NEW, cluster="here", kind=ClusterKind.LOCAL))
        with pytest.raises(InvalidInput, match="Say the region of the cluster there"):
            await apply(yard, replace(NEW, region=None))
        assert (await yard.count(Pool), await yard.count(Cluster)) == (2, 1)

    async def test_what_is_for_kubernetes_is_not_for_a_local_cluster(self, yard: Yard) -> None:
        with pytest.raises(InvalidInput) as caught:
            await apply(yard, replace(NEW, slots=None, node_selector={"kind": "a100"}, image="train:1"))
        assert [problem.field for problem in caught.value.problems] == [
            "pools[0].nodeSelector", "pools[0].image", "pools[0].slots",
        ]  # fmt: skip
        assert await yard.count(Pool) == 2
