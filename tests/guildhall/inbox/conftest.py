"""An office of the test's own."""

from pathlib import Path

import pytest

from guildhall.db.transaction import Database
from tests.guildhall.inbox.office import Office


@pytest.fixture
async def office(fresh_database: Database, tmp_path: Path) -> Office:
    return await Office(fresh_database, tmp_path).furnish()
