"""Lanes: what is slow delays nothing beside it, and runs once."""

import asyncio
from functools import partial

import pytest

from scheduler.lanes import Lanes, one_by_one

FOREVER = 600.0


class Steps:
    """Visits that note when they ran; `gate` holds up those that wait for it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.gate = asyncio.Event()

    async def quick(self, name: str) -> None:
        self.done.append(name)

    async def slow(self, name: str) -> None:
        await self.gate.wait()
        self.done.append(name)

    async def fails(self) -> None:
        raise ConnectionError("the network is gone")


class TestLanes:
    async def test_a_slow_lane_delays_no_other_and_takes_nothing_meanwhile(self) -> None:
        steps, lanes = Steps(), Lanes()
        await lanes.visit({"a": partial(steps.slow, "a1"), "b": partial(steps.quick, "b1")}, patience_seconds=0.05)
        assert (steps.done, lanes.busy()) == (["b1"], 1)
        await lanes.visit({"a": partial(steps.quick, "a2"), "b": partial(steps.quick, "b2")}, patience_seconds=0.05)
        assert steps.done == ["b1", "b2"]
        steps.gate.set()
        await lanes.visit({"a": partial(steps.quick, "a3")}, patience_seconds=FOREVER)
        assert steps.done == ["b1", "b2", "a1"]
        await lanes.visit({"a": partial(steps.quick, "a4")}, patience_seconds=FOREVER)
        assert (steps.done[-1], lanes.busy()) == ("a4", 0)

    async def test_what_a_lane_raises_reaches_the_step(self) -> None:
        steps, lanes = Steps(), Lanes()
        with pytest.raises(ConnectionError):
            await lanes.visit({"a": steps.fails}, patience_seconds=FOREVER)
        await lanes.visit({"a": partial(steps.quick, "a")}, patience_seconds=FOREVER)
        assert steps.done == ["a"]

    async def test_closing_ends_what_is_under_way(self) -> None:
        steps, lanes = Steps(), Lanes()
        await lanes.visit({"a": partial(steps.slow, "a")}, patience_seconds=0.01)
        await lanes.close()
        steps.gate.set()
        await asyncio.sleep(0)
        assert (steps.done, lanes.busy()) == ([], 0)

    async def test_nothing_to_visit(self) -> None:
        await Lanes().visit({}, patience_seconds=FOREVER)


class TestOneByOne:
    async def test_keeps_the_order(self) -> None:
        steps = Steps()
        await one_by_one([partial(steps.quick, str(number)) for number in range(3)])
        assert steps.done == ["0", "1", "2"]
