"""Parts side by side: one stop for all, and no part that vanishes unnoticed."""

import asyncio
import os
import signal

import pytest

from guildhall.cli import parts
from guildhall.cli.parts import PartEnded, run_parts, told_to_stop


class TestToldToStop:
    @pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
    async def test_by_the_first_signal(self, sign: signal.Signals) -> None:
        async with told_to_stop() as stop:
            assert not stop.is_set()
            os.kill(os.getpid(), sign)
            await asyncio.wait_for(stop.wait(), 10)


class TestRunParts:
    async def test_ends_when_told(self) -> None:
        stop = asyncio.Event()
        ended = []

        async def part(name: str) -> None:
            await stop.wait()
            ended.append(name)

        asyncio.get_running_loop().call_soon(stop.set)
        await run_parts(stop, {"API": part("API"), "worker": part("worker")})
        assert ended == ["API", "worker"]

    async def test_a_failure_stops_the_others_and_is_raised(self) -> None:
        stop = asyncio.Event()
        ended = []

        async def staying() -> None:
            await stop.wait()
            ended.append("staying")

        async def failing() -> None:
            raise ZeroDivisionError("why")

        with pytest.raises(ZeroDivisionError, match="why"):
            await run_parts(stop, {"API": staying(), "worker": failing()})
        assert ended == ["staying"]

    async def test_a_part_that_just_ends_is_told(self) -> None:
        stop = asyncio.Event()

        async def staying() -> None:
            await stop.wait()

        async def leaving() -> None:
            return

        with pytest.raises(PartEnded) as refusal:
            await run_parts(stop, {"API": staying(), "worker": leaving()})
        assert refusal.value.message == "The worker ended without being told to; everything was stopped."

    async def test_a_part_that_does_not_stop_is_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parts, "SHUTDOWN_SECONDS_MAX", 0.01)
        stop = asyncio.Event()
        stop.set()
        cancelled = asyncio.Event()

        async def deaf() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async def obedient() -> None:
            await stop.wait()

        await run_parts(stop, {"API": deaf(), "worker": obedient()})
        assert cancelled.is_set()
