"""What tests share that truly commit and race."""

import pytest

from guildhall.db.transaction import Database
from tests.marketplace.bank import Bank


@pytest.fixture
async def bank(database: Database) -> Bank:
    """Two teams and a programme of the test's own, in the module's database."""
    return await Bank(database).open()


@pytest.fixture
async def fresh_bank(fresh_database: Database) -> Bank:
    """A bank of one test that has the whole database to itself."""
    return await Bank(fresh_database).open()
