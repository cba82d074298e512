"""Clusters and pools from the organisation's configuration."""

from dataclasses import replace
from typing import Any

import pytest

from guildhall.auth.authorize import PermissionRefused
from guildhall.changes import Change, ChangeAction
from guildhall.clock import new_id
from guildhall.errors import InvalidInput
from guildhall.slugs import InvalidSlug
from scheduler.clusters.fake import FakeRun
from scheduler.clusters.tables import Cluster, ClusterKind, Pool
from scheduler.configuration import PoolInUse, PoolSetting, apply_pools
from tests.scheduler.yard import POOLS, Yard

NEW = PoolSetting(name="new", cluster="there", region="us", accelerator="a10", slots=8, nodes=2)


async def apply(yard: Yard, *items: PoolSetting, by: str = "root") -> list[Change]:
    async with yard.database.transaction() as session:
        return await apply_pools(session, yard.actor(by), items, at=yard.clock.now(), new_id=new_id)


class TestApplyPools:
    async def test_makes_a_pool_and_its_cluster(self, yard: Yard) -> None:
        changes = await apply(yard, NEW)
        assert changes == [
            Change("Cluster", "there", ChangeAction.CREATED),
            Change("Pool", "new", ChangeAction.CREATED),
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
        changes = await apply(yard, replace(POOLS[0], slots=5))
        assert changes[1] == Change("Pool", "small", ChangeAction.UPDATED)
        slots = {pool.name: pool.slots for pool in await yard.rows(Pool)}
        assert slots == {"small": 5, "big": 4}
        event = (await yard.events("scheduler:pool:change"))[-1]
        assert event.before is not None
        assert event.after is not None
        assert (event.before["slots"], event.after["slots"]) == (2, 5)

    async def test_a_pool_in_use_stays_at_its_cluster(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        await yard.submit()
        await yard.cycle()
        with pytest.raises(PoolInUse):
            await apply(yard, replace(POOLS[0], cluster="there", region="us"))
        assert await yard.count(Cluster) == 1

    async def test_more_accelerators_admit_who_waits(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        await yard.submit(yard.spec("first", accelerator_count=2))
        second = await yard.submit(yard.spec("second"))
        await yard.cycle()
        assert (await yard.job(second)).state == "QUEUED"
        await apply(yard, replace(POOLS[0], slots=3))
        await yard.cycle(1)
        assert (await yard.job(second)).state == "STARTING"
        assert (await yard.attempt(second)).slot_indexes == [2]

    async def test_fewer_accelerators_leave_what_runs_and_admit_nobody(self, yard: Yard) -> None:
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        first = await yard.submit(yard.spec("first", accelerator_count=2))
        await yard.cycle()
        await apply(yard, replace(POOLS[0], slots=1))
        second = await yard.submit(yard.spec("second"))
        await yard.cycle(1)
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
