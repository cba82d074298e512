"""What only a race shows of sessions; the rest is in tests/guildhall/http/test_sign_in.py, through the door."""

from datetime import timedelta
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from guildhall.clock import SimulatedClock
from guildhall.keys import load_keyring
from guildhall.organisation.sessions import Lasting, take_due


class TestTakeDue:
    async def test_one_that_was_ended_meanwhile(
        self, session: AsyncSession, clock: SimulatedClock, tmp_path: Path
    ) -> None:
        lasting = Lasting(at_most=timedelta(hours=1), idle=timedelta(hours=1), outage=timedelta(0))
        keyring = load_keyring(tmp_path / "key")
        assert await take_due(session, b"." * 32, keyring=keyring, lasting=lasting, at=clock.now()) is None
