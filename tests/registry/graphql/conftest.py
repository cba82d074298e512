"""What the registry's GraphQL tests share."""

import pytest

from tests.registry.asking import Asking
from tests.registry.estate import list_purposes


@pytest.fixture
async def purposes(ask: Asking) -> None:
    """The house, with the organisation's list of purposes."""
    async with ask.house() as house:
        await list_purposes(house.session, house.at)
