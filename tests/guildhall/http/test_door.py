"""How much comes in at once, and what those are told who come too many."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from guildhall.http import door
from guildhall.http.door import Door, Overloaded


class TestInside:
    async def test_beyond_those_who_work_and_wait_nobody_comes_in(self) -> None:
        guarded = Door(working_max=1, waiting_max=1)
        with guarded.inside(), guarded.inside(), pytest.raises(Overloaded, match="come again in a moment"):
            guarded.enter()
        with guarded.inside(), guarded.inside():
            pass


class TestWorking:
    async def test_who_waits_comes_in_order(self) -> None:
        guarded, order = Door(working_max=1, waiting_max=5), []

        async def work(number: int) -> None:
            async with guarded.working():
                order.append(number)
                await asyncio.sleep(0)

        async with guarded.working():
            waiting = [asyncio.create_task(work(number)) for number in range(4)]
            await asyncio.sleep(0)
            assert order == []
        await asyncio.gather(*waiting)
        assert order == [0, 1, 2, 3]
        async with guarded.working():
            pass

    async def test_who_has_waited_too_long_goes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(door, "WAIT_SECONDS_MAX", 0.01)
        guarded = Door(working_max=1, waiting_max=5)
        async with guarded.working():
            with pytest.raises(Overloaded):
                await AsyncExitStack().enter_async_context(guarded.working())
        async with asyncio.timeout(60), guarded.working():
            pass

    @pytest.mark.parametrize("place_has_come", [False, True])
    async def test_who_is_cancelled_takes_no_place_along(self, place_has_come: bool) -> None:
        guarded = Door(working_max=1, waiting_max=5)
        entered = AsyncExitStack()
        async with AsyncExitStack() as first:
            await first.enter_async_context(guarded.working())
            waiting = asyncio.create_task(entered.enter_async_context(guarded.working()))
            await asyncio.sleep(0)
            if not place_has_come:
                waiting.cancel()
                await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(60), guarded.working():
            pass


class TestHold:
    def test_bytes_have_a_maximum_of_the_process(self) -> None:
        guarded = Door(working_max=1, waiting_max=1)
        guarded.hold(door.BODY_BYTES_HELD_MAX)
        with pytest.raises(Overloaded, match="Too much is being sent at once"):
            guarded.hold(1)
        guarded.hold(-1 - door.BODY_BYTES_HELD_MAX)
        guarded.hold(door.BODY_BYTES_HELD_MAX)
