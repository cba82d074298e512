"""A site whose jobs run for a while, and one job that does; a module that needs another site has its own."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from scheduler.clusters.fake import FakeRun
from tests.scheduler.site import Runner, Site
from tests.scheduler.yard import Yard


@pytest.fixture
async def site(yard: Yard) -> AsyncIterator[Site]:
    opened = await Site(yard).open()
    yard.cluster.script = lambda _: FakeRun(run_seconds=300)
    yield opened
    await opened.client.aclose()


@pytest.fixture
async def job_id(site: Site) -> UUID:
    """A job that runs."""
    job_id = await site.yard.submit()
    await site.yard.cycle()
    await site.yard.cycle(1)
    return job_id


@pytest.fixture
async def runner(site: Site, job_id: UUID) -> Runner:
    return await site.runner(job_id)
