"""Ends of what takes too long, on one timer for all."""

import asyncio

import pytest

from guildhall import patience
from guildhall.patience import Within
from tests.waiting import PATIENCE_SECONDS


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "TICK_SECONDS", 0.0)


async def too_long() -> None:
    await asyncio.sleep(PATIENCE_SECONDS)


class TestWithin:
    async def test_what_takes_too_long_is_ended(self) -> None:
        with pytest.raises(TimeoutError), Within(0.0):
            await too_long()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    async def test_what_does_not_goes_on(self) -> None:
        with Within(3600):
            await asyncio.sleep(0.01)

    async def test_an_error_is_told_as_it_is(self) -> None:
        with pytest.raises(ValueError, match="mine"), Within(3600):
            raise ValueError("mine")

    async def test_the_outer_one_ends_what_is_within_the_inner(self) -> None:
        with pytest.raises(TimeoutError), Within(0.0), Within(3600):
            await too_long()

    async def test_who_is_cancelled_meanwhile_stays_so(self) -> None:
        began = asyncio.Event()

        async def work() -> None:
            with Within(3600):
                began.set()
                await too_long()

        working = asyncio.create_task(work())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await began.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working

    async def test_an_error_of_what_was_ended_is_told(self) -> None:
        async def work() -> None:
            try:
                await too_long()
            finally:
                raise ValueError("while it ended")

        with pytest.raises(ValueError, match="while it ended"), Within(0.0):
            await work()

    async def test_the_timer_stops_when_nothing_is_under_way(self) -> None:
        with Within(3600):
            assert patience.patience()._ticking
        async with asyncio.timeout(PATIENCE_SECONDS):
            while patience.patience()._ticking:
                await asyncio.sleep(0)

    async def test_two_loops_do_not_share_a_timer(self) -> None:
        ours, others = patience.patience(), []

        async def look() -> None:
            with Within(3600):
                others.append(patience.patience())

        await asyncio.to_thread(asyncio.run, look())
        assert others[0] is not ours
