"""What nodes make of pools: selectors, taints, cordons, pods of others, and jobs that need room on one machine."""

from dataclasses import replace
from typing import Any

import pytest

from scheduler.clusters.executor import Machine, MachineUse, Taint, Toleration
from scheduler.clusters.fake import FakeRun
from scheduler.clusters.pool_settings import PoolSetting
from scheduler.clusters.tables import MachineRow, Pool, SlotUse
from tests.scheduler.test_configuration import apply
from tests.scheduler.yard import GPU, POOLS, Yard, machine

BIG = POOLS[1]


async def size(yard: Yard, name: str = "big") -> tuple[int, int, int]:
    (pool,) = await yard.rows(Pool, Pool.name == name)
    return pool.slots, pool.nodes, pool.slots_per_node


def big(number: int, slots: int = 4, **given: Any) -> Machine:
    return machine("big", slots, number, **given)


def foreign(slots: int) -> tuple[MachineUse, ...]:
    return (MachineUse(launch=None, accelerators={GPU: slots}),)


class TestSizeOfAPool:
    @pytest.mark.parametrize(
        ("machines", "want"),
        [
            ([], (0, 0, 0)),
            ([big(1), big(2, 8)], (12, 2, 8)),
            ([big(1, labels={"pool": "other"}), big(2)], (4, 1, 4)),
            ([big(1, labels={}), big(2)], (4, 1, 4)),
            ([big(1, accelerators={"amd.com/gpu": 8}), big(2)], (4, 1, 4)),
            ([big(1, unschedulable="is cordoned"), big(2)], (4, 2, 4)),
            ([big(1, uses=foreign(3)), big(2)], (5, 2, 4)),
            ([big(1, uses=foreign(9))], (0, 1, 4)),
            ([big(1, uses=(MachineUse(launch="gh-of-nobody", accelerators={GPU: 1}),))], (3, 1, 4)),
            ([big(1, taints=(Taint(key="gpu", effect="NoSchedule", value="yes"),)), big(2)], (4, 1, 4)),
            ([big(1, taints=(Taint(key="gpu", effect="PreferNoSchedule"),))], (4, 1, 4)),
        ],
    )
    async def test_follows_from_the_machines(
        self, yard: Yard, machines: list[Machine], want: tuple[int, int, int]
    ) -> None:
        yard.cluster.inventory = machines
        await yard.cycle(5)
        assert await size(yard) == want

    @pytest.mark.parametrize(
        ("toleration", "nodes"),
        [
            (Toleration(), 1),
            (Toleration(key="gpu"), 1),
            (Toleration(key="gpu", value="yes", effect="NoSchedule"), 1),
            (Toleration(key="gpu", value="no"), 0),
            (Toleration(key="gpu", effect="NoExecute"), 0),
            (Toleration(key="other"), 0),
        ],
    )
    async def test_taints_are_tolerated_by_the_pool(self, yard: Yard, toleration: Toleration, nodes: int) -> None:
        yard.cluster.inventory = [big(1, taints=(Taint(key="gpu", effect="NoSchedule", value="yes"),))]
        await yard.cycle(5)
        await apply(yard, replace(BIG, tolerations=(toleration,)))
        assert (await size(yard))[1] == nodes

    async def test_what_did_not_change_is_not_written(self, yard: Yard) -> None:
        await yard.cycle(5)
        rows = {row.name: row.id for row in await yard.rows(MachineRow)}
        yard.cluster.inventory = [big(1), big(2)]
        await yard.cycle(5)
        assert {row.name: row.id for row in await yard.rows(MachineRow)}["big-1"] == rows["big-1"]
        assert "small-1" not in {row.name for row in await yard.rows(MachineRow)}
        assert await size(yard, "small") == (0, 0, 0)


class TestRoom:
    async def test_a_sum_that_would_do_is_not_enough(self, yard: Yard) -> None:
        yard.cluster.inventory = [big(1), big(2)]
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        await yard.cycle(5)
        for name in ("a", "b"):
            await yard.submit(yard.spec(name, accelerator="h100", accelerator_count=3))
        wide = await yard.submit(yard.spec("wide", accelerator="h100", accelerator_count=2))
        await yard.cycle(1)
        job = await yard.job(wide)
        assert (job.state, job.state_code) == ("QUEUED", "WAITING_FOR_CAPACITY")
        assert job.state_message.startswith(
            "2 accelerators of pool big are free, but not on the same machines: waits for a machine with 2 until about "
        )
        narrow = await yard.submit(yard.spec("narrow", accelerator="h100", nodes=2, walltime_seconds=100))
        await yard.cycle(1)
        assert (await yard.job(narrow)).state == "STARTING"
        assert (await yard.attempt(narrow)).machines == ["big-1", "big-2"]

    async def test_several_nodes_each_have_theirs_on_one_machine(self, yard: Yard) -> None:
        yard.cluster.inventory = [big(1), big(2, 8), big(3, 2)]
        await yard.cycle(5)
        job_id = await yard.submit(yard.spec(accelerator="h100", nodes=3, accelerator_count=4))
        await yard.cycle(1)
        attempt = await yard.attempt(job_id)
        assert (attempt.machines, len(attempt.slot_indexes)) == (["big-1", "big-2", "big-2"], 12)
        (launch,) = yard.cluster.launches.values()
        assert launch.machines == ("big-1", "big-2", "big-2")
        assert launch.placement.node_selector == {"pool": "big"}
        assert launch.placement.accelerator_resource == GPU

    async def test_where_pods_really_are_counts(self, yard: Yard) -> None:
        """Kubernetes may choose another machine than the plan; the next job goes where there is room in truth."""
        yard.cluster.inventory = [big(1), big(2)]
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        await yard.cycle(5)
        first = await yard.submit(yard.spec("first", accelerator="h100", accelerator_count=2))
        await yard.cycle(1)
        assert (await yard.attempt(first)).machines == ["big-1"]
        yard.cluster.moved[(await yard.attempt(first)).name] = ("big-2",)
        await yard.cycle(5)
        assert (await yard.attempt(first)).machines == ["big-2"]
        second = await yard.submit(yard.spec("second", accelerator="h100", accelerator_count=4))
        await yard.cycle(1)
        assert (await yard.attempt(second)).machines == ["big-1"]

    async def test_a_cordoned_machine_keeps_what_runs_and_takes_nothing(self, yard: Yard) -> None:
        yard.cluster.inventory = [big(1), big(2)]
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        await yard.cycle(5)
        first = await yard.submit(yard.spec("first", accelerator="h100", accelerator_count=4))
        await yard.cycle(1)
        yard.cluster.inventory = [big(1, unschedulable="is cordoned"), big(2)]
        await yard.cycle(5)
        assert (await yard.job(first)).state == "RUNNING"
        assert await size(yard) == (8, 2, 4)
        second = await yard.submit(yard.spec("second", accelerator="h100", accelerator_count=4))
        third = await yard.submit(yard.spec("third", accelerator="h100", accelerator_count=1))
        await yard.cycle(1)
        assert (await yard.attempt(second)).machines == ["big-2"]
        assert (await yard.job(third)).state == "QUEUED"
        await yard.cycle(500, times=2)
        await yard.cycle(5)
        assert (await size(yard))[0] == 4

    async def test_a_machine_that_is_gone_leaves_its_job_to_the_platform(self, yard: Yard) -> None:
        yard.cluster.inventory = [big(1), big(2)]
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        await yard.cycle(5)
        first = await yard.submit(yard.spec("first", accelerator="h100", accelerator_count=4))
        await yard.cycle(1)
        yard.cluster.inventory = [big(2)]
        await yard.cycle(5)
        assert (await yard.job(first)).state == "RUNNING"
        assert len(await yard.rows(SlotUse)) == 4
        second = await yard.submit(yard.spec("second", accelerator="h100", accelerator_count=1))
        await yard.cycle(1)
        assert (await yard.job(second)).state == "QUEUED"  # four numbers are in use, and the pool has four

    async def test_pools_that_share_machines_share_their_accelerators(self, yard: Yard) -> None:
        await apply(yard, PoolSetting(name="all", cluster="here", accelerator="any", image="train:1"))
        async with yard.database.transaction() as session:
            await yard.reprice(session, factor=1, pools=["small", "big", "all"])
        yard.cluster.inventory = [big(1)]
        yard.cluster.script = lambda _: FakeRun(run_seconds=500)
        await yard.cycle(5)
        first = await yard.submit(yard.spec("first", accelerator="h100", accelerator_count=3))
        second = await yard.submit(yard.spec("second", accelerator="any", accelerator_count=2))
        await yard.cycle(1)
        await yard.cycle(1)
        assert (await yard.job(first)).state == "RUNNING"
        assert (await yard.job(second)).state == "QUEUED"
        await yard.cycle(501)
        assert (await yard.job(second)).state == "STARTING"
