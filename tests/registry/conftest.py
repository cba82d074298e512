"""What the registry's tests share."""

from pathlib import Path

import pytest

from guildhall.clock import SimulatedClock
from guildhall.db.transaction import Database, WriteSession
from guildhall.settings import Settings
from registry.storage import ArtifactStore
from tests.registry.asking import Asking
from tests.registry.estate import Estate
from tests.registry.house import House


@pytest.fixture
async def house(session: WriteSession, clock: SimulatedClock) -> House:
    """An organisation of two teams, rolled back with the session."""
    return await House(session, clock.now()).build()


@pytest.fixture
async def estate(fresh_database: Database, clock: SimulatedClock, tmp_path: Path) -> Estate:
    """The same organisation, committed to a database of the test's own, with a folder for artifacts."""
    return await Estate.build(fresh_database, ArtifactStore.open((tmp_path / "artifacts").as_uri()), clock)


@pytest.fixture
def ask(fresh_database: Database, settings: Settings, clock: SimulatedClock) -> Asking:
    """GraphQL on a database of the test's own."""
    return Asking(fresh_database, settings, clock)
