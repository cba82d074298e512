"""Tokens that two commands would change at once, and keyrings that refuse."""

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from guildhall_client.command import profiles as kept_profiles
from guildhall_client.command.exits import CommandFailed
from guildhall_client.command.profiles import Credentials, Profiles

URL = "http://guildhall.test"
FIRST = Credentials(url=URL, token="access-1", refresh_token="refresh-1")
SECOND = Credentials(url=URL, token="access-2", refresh_token="refresh-2")


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profiles:
    monkeypatch.setattr(kept_profiles, "usable_keyring", lambda: None)
    profiles = Profiles(tmp_path / "guildhall", {})
    profiles.sign_in("default", FIRST)
    return profiles


class TestAlone:
    @pytest.mark.parametrize(
        "change",
        [lambda profiles: profiles.sign_in("default", SECOND), lambda profiles: profiles.sign_out("default")],
        ids=["sign_in", "sign_out"],
    )
    def test_nobody_signs_in_or_out_during_a_renewal(
        self, profiles: Profiles, monkeypatch: pytest.MonkeyPatch, change: Callable[[Profiles], object]
    ) -> None:
        monkeypatch.setattr(kept_profiles, "RENEWING_SECONDS_MAX", 0)
        with (
            profiles.alone(),
            ThreadPoolExecutor(1) as another,
            pytest.raises(CommandFailed, match="Another guildhall has been renewing your token"),
        ):
            another.submit(change, profiles).result(120)
        assert profiles.kept("default") == FIRST

    def test_signing_out_ends_what_was_renewed_before(self, profiles: Profiles) -> None:
        with ThreadPoolExecutor(1) as another:
            with profiles.alone():
                signing_out = another.submit(profiles.sign_out, "default")
                profiles.keep("default", SECOND)
            assert signing_out.result(120) == SECOND
        assert profiles.kept("default") is None
        assert profiles.sign_out("default") is None

    def test_its_file_is_for_its_owner_alone(self, profiles: Profiles, tmp_path: Path) -> None:
        with profiles.alone():
            mode = (tmp_path / "guildhall" / "renewing.lock").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600


class KeyringLocked(Exception):
    __module__ = "keyring.errors"


class RefusingKeyring:
    """One that raises whatever it is asked."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_password(self, service: str, username: str) -> str | None:
        raise self._error

    def set_password(self, service: str, username: str, password: str) -> None:
        raise self._error

    def delete_password(self, service: str, username: str) -> None:
        raise self._error


@pytest.mark.parametrize(
    "ask",
    [
        lambda profiles: profiles.keep("default", SECOND),
        lambda profiles: profiles.kept("default"),
        lambda profiles: profiles.sign_out("default"),
    ],
    ids=["keep", "kept", "sign_out"],
)
class TestKeyringThatRefuses:
    @pytest.mark.parametrize(
        ("error", "why"), [(KeyringLocked("locked"), "locked"), (KeyringLocked(), "KeyringLocked")]
    )
    def test_is_told_in_a_sentence(
        self,
        profiles: Profiles,
        monkeypatch: pytest.MonkeyPatch,
        ask: Callable[[Profiles], object],
        error: Exception,
        why: str,
    ) -> None:
        with monkeypatch.context() as locked:
            locked.setattr(kept_profiles, "usable_keyring", lambda: RefusingKeyring(error))
            with pytest.raises(CommandFailed) as refused:
                ask(profiles)
        assert str(refused.value) == (
            f"The keyring refused ({why}); unlock it, or keep tokens in a file with "
            "PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring."
        )
        assert profiles.kept("default") == FIRST

    def test_a_fault_of_another_kind_is_not_hidden(
        self, profiles: Profiles, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Profiles], object]
    ) -> None:
        monkeypatch.setattr(kept_profiles, "usable_keyring", lambda: RefusingKeyring(RuntimeError("another")))
        with pytest.raises(RuntimeError, match="another"):
            ask(profiles)
