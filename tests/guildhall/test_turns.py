"""Places in the order in which they are asked for."""

import asyncio

import pytest

from guildhall.turns import Turns

SECONDS_MAX = 120


class TestTurns:
    def test_as_many_as_there_are_are_taken_at_once(self) -> None:
        turns = Turns(2)
        assert [turns.take() for _ in range(3)] == [True, True, False]
        turns.give_back()
        assert [turns.take() for _ in range(2)] == [True, False]

    async def test_who_waits_comes_before_who_comes_later(self) -> None:
        turns = Turns(1)
        assert turns.take()
        waiting = asyncio.create_task(turns.wait(SECONDS_MAX))
        await asyncio.sleep(0)
        turns.give_back()
        assert not turns.take()
        await waiting
        turns.give_back()
        assert turns.take()

    async def test_who_has_waited_too_long_takes_no_place(self) -> None:
        turns = Turns(1)
        assert turns.take()
        with pytest.raises(TimeoutError):
            await turns.wait(0.0)
        turns.give_back()
        assert turns.take()

    @pytest.mark.parametrize("place_has_come", [False, True])
    async def test_who_is_cancelled_takes_no_place_along(self, place_has_come: bool) -> None:
        turns = Turns(1)
        assert turns.take()
        waiting = asyncio.create_task(turns.wait(SECONDS_MAX))
        await asyncio.sleep(0)
        if place_has_come:
            turns.give_back()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if not place_has_come:
            turns.give_back()
        assert turns.take()

    async def test_a_place_goes_past_who_was_cancelled_in_the_same_moment(self) -> None:
        turns = Turns(1)
        assert turns.take()
        waiting = [asyncio.create_task(turns.wait(SECONDS_MAX)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        turns.give_back()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        await waiting[1]
        turns.give_back()
        assert turns.take()
