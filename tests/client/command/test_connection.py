"""Lists over several pages, and tokens that are renewed in time."""

import errno
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from guildhall_client.command import connection, device
from guildhall_client.command import profiles as kept_profiles
from guildhall_client.command.connection import AGAIN_SECONDS, EARLY_SECONDS, Bearer, all_nodes, connected
from guildhall_client.command.device import IssuerAway, Tokens
from guildhall_client.command.exits import CommandFailed, NotSignedIn
from guildhall_client.command.profiles import Credentials, Profiles
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


class TestConnected:
    """What `target` and the issuer would say is told here; the device flow's own tests go through both."""

    HELD = MappingProxyType({"refresh_token": "refresh-1", "issuer": "https://issuer", "client_id": "cli"})

    @pytest.fixture
    def profiles(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Profiles:
        profiles = Profiles(tmp_path / "guildhall", {})
        monkeypatch.setattr(connection, "Profiles", lambda: profiles)
        monkeypatch.setattr(connection, "time", SimpleNamespace(time=lambda: NOW))
        monkeypatch.setattr(connection, "target", lambda: profiles.target(None))
        return profiles

    @pytest.fixture
    def renewals(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
        """With what the issuer was asked; it gives one token after the other."""
        asked: list[tuple[str, ...]] = []

        def renewal(*given: str) -> Callable[[], Tokens]:
            def renew() -> Tokens:
                asked.append(given)
                return Tokens(f"access-{len(asked) + 1}", f"refresh-{len(asked) + 1}", NOW + 3_600)

            return renew

        monkeypatch.setattr(device, "renewal", renewal)
        return asked

    def sign_in(self, profiles: Profiles, **held: Any) -> None:
        profiles.sign_in("default", Credentials(url=URL, token="access-1", **held))

    def token_of(self) -> str:
        with connected() as client:
            return client._token()

    @pytest.mark.parametrize("lasts", [None, EARLY_SECONDS + 1.0])
    def test_a_good_token_is_used_as_it_is(
        self, profiles: Profiles, renewals: list[tuple[str, ...]], lasts: float | None
    ) -> None:
        self.sign_in(profiles, expires_at=None if lasts is None else NOW + lasts, **self.HELD)
        assert (self.token_of(), renewals) == ("access-1", [])

    def test_one_that_ends_soon_is_renewed_and_kept(self, profiles: Profiles, renewals: list[tuple[str, ...]]) -> None:
        self.sign_in(profiles, expires_at=NOW + EARLY_SECONDS - 1, **self.HELD)
        assert (self.token_of(), self.token_of()) == ("access-2", "access-2")
        assert renewals == [("https://issuer", "cli", "refresh-1")]
        kept = profiles.kept("default")
        assert kept is not None
        assert (kept.token, kept.refresh_token, kept.expires_at) == ("access-2", "refresh-2", NOW + 3_600)

    def test_an_issuer_that_gives_no_other_refresh_token(
        self, profiles: Profiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.sign_in(profiles, expires_at=NOW, **self.HELD)
        monkeypatch.setattr(device, "renewal", lambda *_: lambda: Tokens("access-2", None, None))
        assert self.token_of() == "access-2"
        kept = profiles.kept("default")
        assert kept is not None
        assert kept.refresh_token == "refresh-1"

    def test_one_that_ends_while_the_command_runs(
        self, profiles: Profiles, renewals: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.sign_in(profiles, expires_at=NOW + 600, **self.HELD)
        with connected() as client:
            assert client._token() == "access-1"
            monkeypatch.setattr(connection, "time", SimpleNamespace(time=lambda: NOW + 600))
            assert (client._token(), client._token()) == ("access-2", "access-2")
        assert len(renewals) == 1

    def test_another_command_has_renewed_it_meanwhile(
        self, profiles: Profiles, renewals: list[tuple[str, ...]]
    ) -> None:
        self.sign_in(profiles, expires_at=NOW, **self.HELD)
        bearer = Bearer(profiles.target(None))
        profiles.keep("default", Credentials(url=URL, token="access-9", expires_at=NOW + 3_600, **self.HELD))
        assert (bearer(), renewals) == ("access-9", [])

    def test_another_command_is_renewing_it(self, profiles: Profiles, renewals: list[tuple[str, ...]]) -> None:
        self.sign_in(profiles, expires_at=NOW, **self.HELD)
        with ThreadPoolExecutor(1) as another:
            with profiles.alone():
                waiting = another.submit(Bearer(profiles.target(None)))
                profiles.keep("default", Credentials(url=URL, token="access-9", expires_at=NOW + 3_600, **self.HELD))
            assert (waiting.result(60), renewals) == ("access-9", [])

    def test_another_command_that_does_not_come_to_an_end(
        self, profiles: Profiles, renewals: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(kept_profiles, "RENEWING_SECONDS_MAX", 0)
        self.sign_in(profiles, expires_at=NOW, **self.HELD)
        with (
            profiles.alone(),
            ThreadPoolExecutor(1) as another,
            pytest.raises(CommandFailed, match="Another guildhall has been renewing your token"),
        ):
            another.submit(Bearer(profiles.target(None))).result(60)
        assert renewals == []

    @pytest.mark.parametrize(
        "failure", [IssuerAway("It does not answer."), CommandFailed("Late."), OSError(28, "full")]
    )
    def test_a_good_token_outlives_an_issuer_that_is_away(
        self, profiles: Profiles, monkeypatch: pytest.MonkeyPatch, failure: Exception
    ) -> None:
        asked: list[float] = []
        now = [NOW]
        monkeypatch.setattr(connection, "time", SimpleNamespace(time=lambda: now[0]))

        def renewal(*_: str) -> Callable[[], Tokens]:
            asked.append(now[0])
            raise failure

        monkeypatch.setattr(device, "renewal", renewal)
        self.sign_in(profiles, expires_at=NOW + 10, **self.HELD)
        bearer = Bearer(profiles.target(None))
        for after in (0.0, AGAIN_SECONDS - 1, AGAIN_SECONDS, 2 * AGAIN_SECONDS - 1):
            now[0] = NOW + after
            assert bearer() == "access-1"
        assert asked == [NOW, NOW + AGAIN_SECONDS]
        now[0] = NOW + 10
        with pytest.raises(type(failure)):
            bearer()
        assert asked == [NOW, NOW + AGAIN_SECONDS, NOW + 10]

    def test_a_session_that_has_ended_ends_the_command(
        self, profiles: Profiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def renewal(*_: str) -> Callable[[], Tokens]:
            raise NotSignedIn("Your session has ended.")

        monkeypatch.setattr(device, "renewal", renewal)
        self.sign_in(profiles, expires_at=NOW + 10, **self.HELD)
        with pytest.raises(NotSignedIn, match="Your session has ended"):
            self.token_of()

    def test_an_interruption_waits_until_the_next_token_is_kept(
        self, profiles: Profiles, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def renew() -> Tokens:
            signal.raise_signal(signal.SIGINT)
            return Tokens("access-2", "refresh-2", NOW + 3_600)

        monkeypatch.setattr(device, "renewal", lambda *_: renew)
        self.sign_in(profiles, expires_at=NOW, **self.HELD)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                self.token_of()
        finally:
            signal.signal(signal.SIGINT, before)
        kept = profiles.kept("default")
        assert kept is not None
        assert (kept.token, kept.refresh_token) == ("access-2", "refresh-2")

    def test_a_full_disk_is_found_before_the_issuer_takes_back_the_old_one(
        self, profiles: Profiles, renewals: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.sign_in(profiles, expires_at=NOW, **self.HELD)

        def full(*_: object) -> str:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(profiles, "keep", full)
        with pytest.raises(OSError, match="No space left"):
            self.token_of()
        assert renewals == []

    @pytest.mark.parametrize(
        ("refusal", "why"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), "No space left on device."),
            (CommandFailed("The keyring refused (locked)."), "The keyring refused (locked)."),
        ],
        ids=["a full disk", "a locked keyring"],
    )
    def test_a_new_token_that_cannot_be_kept_is_used_until_the_command_ends(
        self,
        profiles: Profiles,
        renewals: list[tuple[str, ...]],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        refusal: Exception,
        why: str,
    ) -> None:
        self.sign_in(profiles, expires_at=NOW, **self.HELD)
        first = profiles.kept("default")
        keep = profiles.keep

        def refuse(name: str, credentials: Credentials) -> str:
            if credentials != first:
                raise refusal
            return keep(name, credentials)

        bearer = Bearer(profiles.target(None))
        with monkeypatch.context() as full:
            full.setattr(profiles, "keep", refuse)
            assert (bearer(), bearer(), len(renewals)) == ("access-2", "access-2", 1)
        assert capsys.readouterr().err == (
            f"Your new token for {URL} is good for this command alone, since it could not be kept: {why}\n"
        )
        assert profiles.kept("default") == first
        monkeypatch.setattr(connection, "time", SimpleNamespace(time=lambda: NOW + 3_600))
        assert (bearer(), renewals[1:]) == ("access-3", [("https://issuer", "cli", "refresh-2")])
        kept = profiles.kept("default")
        assert kept is not None
        assert (kept.token, kept.refresh_token) == ("access-3", "refresh-3")

    def test_also_where_nobody_can_be_told(
        self, profiles: Profiles, renewals: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.sign_in(profiles, expires_at=NOW, **self.HELD)
        first = profiles.kept("default")

        def refuse(_name: str, credentials: Credentials) -> str:
            if credentials != first:
                raise OSError(errno.ENOSPC, "No space left on device")
            return "there"

        def full(_text: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(profiles, "keep", refuse)
        monkeypatch.setattr(connection, "note", full)
        assert (self.token_of(), len(renewals)) == ("access-2", 1)

    @pytest.mark.parametrize("elsewhere", [None, "http://other.test"])
    def test_signed_out_meanwhile(
        self, profiles: Profiles, renewals: list[tuple[str, ...]], elsewhere: str | None
    ) -> None:
        self.sign_in(profiles, expires_at=NOW, **self.HELD)
        bearer = Bearer(profiles.target(None))
        profiles.sign_out("default")
        if elsewhere:
            profiles.sign_in("default", Credentials(url=elsewhere, token="ghu_other"))
        with pytest.raises(NotSignedIn, match=f"You have signed out of {URL} meanwhile"):
            bearer()
        assert renewals == []

    @pytest.mark.parametrize("refresh", [None, "refresh-1"])
    def test_one_that_cannot_be_renewed(
        self, profiles: Profiles, renewals: list[tuple[str, ...]], refresh: str | None
    ) -> None:
        self.sign_in(profiles, expires_at=NOW, refresh_token=refresh)
        with pytest.raises(NotSignedIn, match=f"Your token for {URL} has ended"):
            self.token_of()
        assert renewals == []
