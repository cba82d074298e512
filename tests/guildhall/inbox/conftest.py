"""An office of the test's own, and what servers show that it connects to."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from guildhall.db.transaction import Database
from tests.cluster.certificates import Authority
from tests.guildhall.inbox.office import Office


@pytest.fixture
async def office(fresh_database: Database, tmp_path: Path) -> Office:
    return await Office(fresh_database, tmp_path).furnish()


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ssl.SSLContext]:
    """What a server shows that is signed for an address; its authority is known, as an operator makes it known."""
    folder = tmp_path / "certificates"
    folder.mkdir()
    authority = Authority(folder)
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.crt"))

    def shown(address: str) -> ssl.SSLContext:
        authority.server("server", [address])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        return context

    return shown
