"""What the marketplace's tests share."""

import pytest

from guildhall.clock import SimulatedClock
from guildhall.db.transaction import Database, WriteSession
from tests.marketplace.bank import Bank
from tests.marketplace.market import Market


@pytest.fixture
async def bank(database: Database) -> Bank:
    """Two teams and a programme of the test's own, in the module's database."""
    return await Bank(database).open()


@pytest.fixture
async def fresh_bank(fresh_database: Database) -> Bank:
    """A bank of one test that has the whole database to itself."""
    return await Bank(fresh_database).open()


@pytest.fixture
async def market(session: WriteSession, clock: SimulatedClock) -> Market:
    """An organisation of two teams, rolled back with the session."""
    return await Market(session, clock.now()).build()
