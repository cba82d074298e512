"""Lists over several pages, and tokens that are renewed in time."""

from types import SimpleNamespace
from typing import Any

import pytest

from guildhall_client.command import connection, device
from guildhall_client.command.connection import EARLY_SECONDS, all_nodes, connected
from guildhall_client.command.device import Tokens
from guildhall_client.command.exits import CommandFailed, NotSignedIn
from guildhall_client.command.profiles import Credentials, Target
from tests.client.command.answering import client_told

URL = "http://guildhall.test"
NOW = 1_000.0


def page(*names: str, after: str | None) -> dict[str, Any]:
    nodes = [{"name": name} for name in names]
    return {"node": {"files": {"nodes": nodes, "pageInfo": {"hasNextPage": after is not None, "endCursor": after}}}}


class TestAllNodes:
    def test_page_by_page(self) -> None:
        with client_told(page("a", "b", after="2"), page("c", after=None)) as client:
            assert [row["name"] for row in all_nodes(client, "{}", {}, "node", "files")] == ["a", "b", "c"]

    @pytest.mark.parametrize("gone", [{"node": None}, {"node": {"files": None}}])
    def test_what_is_gone_by_the_second_page_ends_the_list(self, gone: dict[str, Any]) -> None:
        with client_told(page("a", after="1"), gone) as client:
            assert [row["name"] for row in all_nodes(client, "{}", {}, "node", "files")] == ["a"]

    def test_a_list_without_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "PAGES_MAX", 2)
        with (
            client_told(page("a", after="1"), page("b", after="2")) as client,
            pytest.raises(CommandFailed, match="more than 200 rows"),
        ):
            all_nodes(client, "{}", {}, "node", "files")


class Kept:
    """Where renewed credentials go."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, Credentials]] = []

    def keep(self, name: str, credentials: Credentials) -> None:
        self.kept.append((name, credentials))


class TestConnected:
    """What `target` and the issuer would say is told here; the device flow's own tests go through both."""

    @pytest.fixture
    def kept(self, monkeypatch: pytest.MonkeyPatch) -> Kept:
        kept = Kept()
        monkeypatch.setattr(connection, "Profiles", lambda: kept)
        monkeypatch.setattr(connection, "time", SimpleNamespace(time=lambda: NOW))
        return kept

    def token_of(self, monkeypatch: pytest.MonkeyPatch, profile: str | None, **held: Any) -> str:
        credentials = Credentials(url=URL, token="access-1", **held)
        monkeypatch.setattr(connection, "target", lambda: Target(url=URL, profile=profile, credentials=credentials))
        with connected() as client:
            return client._token

    @pytest.mark.parametrize("lasts", [None, EARLY_SECONDS + 1.0])
    def test_a_good_token_is_used_as_it_is(
        self, kept: Kept, monkeypatch: pytest.MonkeyPatch, lasts: float | None
    ) -> None:
        expires_at = None if lasts is None else NOW + lasts
        assert self.token_of(monkeypatch, "default", expires_at=expires_at) == "access-1"
        assert kept.kept == []

    @pytest.mark.parametrize("profile", ["default", None])
    @pytest.mark.parametrize("refresh", ["refresh-2", None])
    def test_one_that_ends_soon_is_renewed(
        self, kept: Kept, monkeypatch: pytest.MonkeyPatch, profile: str | None, refresh: str | None
    ) -> None:
        asked: list[tuple[str, ...]] = []

        def renew(*given: str) -> Tokens:
            asked.append(given)
            return Tokens("access-2", refresh, None)

        monkeypatch.setattr(device, "renew", renew)
        held = {"refresh_token": "refresh-1", "issuer": "https://issuer", "client_id": "cli"}
        assert self.token_of(monkeypatch, profile, expires_at=NOW + EARLY_SECONDS - 1, **held) == "access-2"
        assert asked == [("https://issuer", "cli", "refresh-1")]
        assert [(name, each.token, each.refresh_token) for name, each in kept.kept] == (
            [("default", "access-2", refresh or "refresh-1")] if profile else []
        )

    def test_one_that_cannot_be_renewed(self, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(NotSignedIn, match=f"Your token for {URL} has ended"):
            self.token_of(monkeypatch, "default", expires_at=NOW)
        assert kept.kept == []
