"""GraphQL on a database of the test's own, asked by the people of the registry's house."""

import pytest

from guildhall.clock import SimulatedClock
from guildhall.db.transaction import Database
from guildhall.settings import Settings
from tests.registry.asking import Asking


@pytest.fixture
def ask(fresh_database: Database, settings: Settings, clock: SimulatedClock) -> Asking:
    return Asking(fresh_database, settings, clock)
