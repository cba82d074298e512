"""A client that goes away, and one that stays."""

import asyncio
from typing import Any

import pytest

from guildhall import patience
from guildhall.http import leaving
from guildhall.http.exchange import ClientGone
from guildhall.http.leaving import WhileConnected


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(patience, "TICK_SECONDS", 0.0)


async def gone() -> Any:
    return {"type": "http.disconnect"}


async def here() -> Any:
    await asyncio.Event().wait()


async def talkative() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


class TestWhileConnected:
    async def test_who_goes_away_cancels_the_work(self) -> None:
        ended: list[str] = []

        async def work() -> None:
            with WhileConnected(gone):
                try:
                    await asyncio.sleep(30)
                finally:
                    ended.append("early")

        with pytest.raises(ClientGone):
            await work()
        assert ended == ["early"]
        await asyncio.sleep(0)  # and what comes after is not cancelled any more

    @pytest.mark.parametrize("receive", [here, talkative])
    async def test_who_stays_does_not(self, receive: Any) -> None:
        with WhileConnected(receive):
            await asyncio.sleep(0.02)

    async def test_a_server_that_stops_is_not_a_client_that_went(self) -> None:
        async def serve() -> None:
            with WhileConnected(here):
                await asyncio.sleep(30)

        serving = asyncio.create_task(serve())
        await asyncio.sleep(0.02)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
