"""What the scheduler's tests share."""

from collections.abc import AsyncIterator
from itertools import count
from uuid import UUID

import pytest

from guildhall.clock import SimulatedClock
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.engine import OWNER_ROLE, SERVICE_ROLE
from guildhall.db.transaction import connect_database
from guildhall.settings import Settings
from scheduler.clusters.fake import FakeRun
from tests.conftest import AUDIT_KEY, MONDAY_MORNING, cloned_database, run_as_superuser
from tests.scheduler.site import Runner, Site
from tests.scheduler.yard import Yard

_numbers = count(1)


@pytest.fixture(scope="session")
async def built_yard(server: EmbeddedServer) -> AsyncIterator[Yard]:
    """An organisation that is built once; nobody is connected to its database afterwards, so that it can be cloned."""
    async with cloned_database(server) as database:
        yard = Yard(database, SimulatedClock(MONDAY_MORNING), Settings(database_url=database.url))
        await yard.build()
        await database.close()
        yield yard


@pytest.fixture
async def yard(
    server: EmbeddedServer, built_yard: Yard, clock: SimulatedClock, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Yard]:
    """The organisation in a database of this test's own."""
    name = f"yard_{next(_numbers)}"
    template = built_yard.database.engine.url.database
    await run_as_superuser(server, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER_ROLE}")
    database = connect_database(server.url(SERVICE_ROLE, name), pool_size=20, audit_key=AUDIT_KEY)
    settings = Settings(data_dir=tmp_path_factory.mktemp("yard"), database_url=database.url)
    try:
        yield built_yard.copy(database, clock, settings)
    finally:
        await database.close()
        await run_as_superuser(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def site(yard: Yard) -> AsyncIterator[Site]:
    """Its jobs run for a while."""
    opened = await Site(yard).open()
    yard.cluster.script = lambda _: FakeRun(run_seconds=300)
    yield opened
    await opened.client.aclose()


@pytest.fixture
async def runner(site: Site, job_id: UUID) -> Runner:
    """That of a module's `job_id`."""
    return await site.runner(job_id)
