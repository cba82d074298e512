"""Notices are sent beside the cycle, go on after a failure, and end with the worker."""

import asyncio

import pytest

from registry.notices.sending import AT_ONCE_MAX
from scheduler import telling
from tests.scheduler.yard import Yard


async def test_goes_on_after_a_failure_and_at_once_where_more_waits(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None, AT_ONCE_MAX, 0])
    asked: list[str] = []
    done = asyncio.Event()

    async def send(_database: object, url: str, **_given: object) -> int:
        asked.append(url)
        answer = next(answers, None)
        if len(asked) == 3:
            done.set()
        if answer is None:
            raise ConnectionError
        return answer

    monkeypatch.setattr(telling, "send_notices", send)
    monkeypatch.setattr(telling, "LOOKS_EVERY_SECONDS", 0.0)
    async with asyncio.timeout(10), telling.telling(yard.context()):
        await done.wait()
    assert asked[:3] == [""] * 3
    before = len(asked)
    await asyncio.sleep(0)
    assert len(asked) == before
