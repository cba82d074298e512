"""One job that runs; a module that needs another site has its own."""

from uuid import UUID

import pytest

from tests.scheduler.site import Site


@pytest.fixture
async def job_id(site: Site) -> UUID:
    """A job that runs."""
    job_id = await site.yard.submit()
    await site.yard.cycle()
    await site.yard.cycle(1)
    return job_id
