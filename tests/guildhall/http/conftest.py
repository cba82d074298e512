"""A house of this test's own behind the real application, and a browser at its door."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from guildhall.db.transaction import Database
from tests.house import House, opened_house


@pytest.fixture
async def house(fresh_database: Database, tmp_path: Path) -> House:
    return await opened_house(fresh_database, tmp_path)


@pytest.fixture
async def browser(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.browser() as opened:
        yield opened
