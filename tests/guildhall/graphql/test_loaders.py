import asyncio
from typing import Any

import pytest

from guildhall.graphql.catalogue import Catalogue
from guildhall.graphql.loaders import Loaders


class TestBatch:
    async def test_who_waits_for_the_same_key_is_not_cancelled_with_another(self) -> None:
        unread: Any = None  # a batch asks neither the request nor the catalogue
        loaders = Loaders(unread, Catalogue([], []))
        may_answer = asyncio.Event()

        async def load(keys: list[int]) -> list[str]:
            await may_answer.wait()
            return [f"object {key}" for key in keys]

        failing, waiting = (asyncio.create_task(loaders.batch(("one",), 1, load)) for _ in range(2))
        await asyncio.sleep(0)
        failing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await failing
        may_answer.set()
        assert await waiting == "object 1"
