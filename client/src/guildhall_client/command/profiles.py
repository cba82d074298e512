"""Which server, as whom: the environment first, else a profile in the platform's folder for configuration.

`profiles.json` names the servers. Tokens lie in the keyring where the extra `keyring` is installed and there is one,
else in `tokens.json`, readable by its owner alone. A token is kept with the address that it was made for, and sent to
no other.
"""

import importlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from platformdirs import user_config_path

from guildhall_client.command.exits import CommandFailed, Exit, NotSignedIn

DEFAULT_URL = "http://127.0.0.1:8321"
DEFAULT_PROFILE = "default"
KEYRING_SERVICE = "guildhall"
RENEWING_SECONDS_MAX = 60
_WITHOUT_KEYRING = "unlock it, or keep tokens in a file with PYTHON_KEYRING_BACKEND=keyring.backends.null.Keyring"


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A token for one address. Those of an issuer end soon and come with what gets the next one."""

    url: str
    token: str
    refresh_token: str | None = None
    expires_at: float | None = None
    issuer: str | None = None
    client_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server, and the profile that it stands in, if it stands in one."""

    url: str
    profile: str | None
    credentials: Credentials | None

    def signed_in(self) -> Credentials:
        """The credentials; raises `NotSignedIn`."""
        if self.credentials is None:
            raise NotSignedIn(f"You are not signed in at {self.url}.")
        return self.credentials


class Keyring(Protocol):
    """What is used of the module `keyring`."""

    def get_password(self, service: str, username: str) -> str | None:
        """The secret, if there is one."""
        ...

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a secret."""
        ...

    def delete_password(self, service: str, username: str) -> None:
        """Forget a secret that is there."""
        ...


class Profiles:
    """The profiles of one person on one machine."""

    def __init__(self, folder: Path | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = folder or user_config_path("guildhall")
        self._environment = environment

    def target(self, name: str | None) -> Target:
        """The server to talk to: the named profile, else `GUILDHALL_URL` and `GUILDHALL_TOKEN`, else the last login."""
        stored = self._read("profiles.json")
        known: dict[str, str] = stored.get("profiles", {})
        name = name or self._environment.get("GUILDHALL_PROFILE") or None
        if name is not None and name not in known:
            names = ", ".join(sorted(known)) or "none yet"
            message = (
                f"There is no profile {name} (there is: {names}); make it with `guildhall --profile {name} login`."
            )
            raise CommandFailed(message, Exit.USAGE)
        url = None if name else self._environment.get("GUILDHALL_URL")
        if name is None and url is None:
            name = stored.get("current")
        if name is None or name not in known:
            name = next((each for each in sorted(known) if url and same_address(known[each], url)), None)
        url = cleaned(url or (known[name] if name else DEFAULT_URL))
        token = self._environment.get("GUILDHALL_TOKEN")
        if token:
            given = Credentials(url=url, token=plain_token(token, "GUILDHALL_TOKEN"))
            return Target(url=url, profile=name, credentials=given)
        return Target(url=url, profile=name, credentials=self._credentials(name, url) if name else None)

    def address_of(self, name: str) -> str | None:
        """The address of a profile, if there is one of that name."""
        found: str | None = self._read("profiles.json").get("profiles", {}).get(name)
        return found

    def sign_in(self, name: str, credentials: Credentials) -> str:
        """Keep the credentials under a profile, which becomes the current one; returns where they are kept.

        Waits while a token is renewed elsewhere, which would put the old session in the place of this one.
        """
        with self.alone():
            stored = self._read("profiles.json")
            profiles = {**stored.get("profiles", {}), name: credentials.url}
            where = self.keep(name, credentials)
            self._write("profiles.json", {"current": name, "profiles": profiles})
        return where

    def keep(self, name: str, credentials: Credentials) -> str:
        """Keep new credentials of a profile, for one who is `alone`; returns where.

        Raises `OSError`, and `CommandFailed` where the keyring refuses.
        """
        tokens = self._read("tokens.json")
        tokens.pop(name, None)
        with _keyring_refusals_told():
            keyring = usable_keyring()
            if keyring is not None:
                keyring.set_password(KEYRING_SERVICE, name, json.dumps(asdict(credentials)))
        if keyring is None:
            tokens[name] = asdict(credentials)
        self._write("tokens.json", tokens)
        return "the keyring" if keyring is not None else str(self._folder / "tokens.json")

    def kept(self, name: str) -> Credentials | None:
        """The profile's own credentials, whatever the environment says; raises `CommandFailed` for damaged ones.

        The same where the keyring refuses.
        """
        stored = self._stored(name)
        if stored is None:
            return None
        try:
            return Credentials(**stored)
        except TypeError:
            raise CommandFailed(
                f"What is kept of profile {name} is damaged; `guildhall login` makes it anew."
            ) from None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else changes this person's tokens on this machine meanwhile; raises `CommandFailed`."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with FileLock(self._folder / "renewing.lock", timeout=RENEWING_SECONDS_MAX, mode=0o600):
                yield
        except Timeout as error:
            message = f"Another guildhall has been renewing your token for {RENEWING_SECONDS_MAX} seconds; try again."
            raise CommandFailed(message) from error

    def sign_out(self, name: str) -> Credentials | None:
        """Forget the profile's credentials, and return them: whoever ends them has those that nobody renews any more.

        Waits while they are renewed elsewhere, which would bring them back.
        """
        with self.alone():
            found = self.kept(name)
            with _keyring_refusals_told():
                keyring = usable_keyring()
                if keyring is not None and keyring.get_password(KEYRING_SERVICE, name) is not None:
                    keyring.delete_password(KEYRING_SERVICE, name)
            tokens = self._read("tokens.json")
            if tokens.pop(name, None) is not None:
                self._write("tokens.json", tokens)
        return found

    def _credentials(self, name: str, url: str) -> Credentials | None:
        found = self.kept(name)
        return found if found is not None and same_address(found.url, url) else None

    def _stored(self, name: str) -> dict[str, Any] | None:
        with _keyring_refusals_told():
            keyring = usable_keyring()
            kept = keyring.get_password(KEYRING_SERVICE, name) if keyring is not None else None
        if kept is not None:
            from_keyring: dict[str, Any] = json.loads(kept)
            return from_keyring
        from_file: dict[str, Any] | None = self._read("tokens.json").get(name)
        return from_file

    def _read(self, name: str) -> dict[str, Any]:
        path = self._folder / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise CommandFailed(f"{path} is damaged: mend it, or delete it and sign in with `guildhall login`.")
        return content

    def _write(self, name: str, content: dict[str, Any]) -> None:
        """Whole or not at all, and never readable by others, not even for a moment."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=self._folder, prefix=f".{name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as opened:
                json.dump(content, opened, indent=2)
            Path(temporary).replace(self._folder / name)
        except BaseException as error:
            Path(temporary).unlink(missing_ok=True)
            if isinstance(error, OSError):  # a full disk does not say by itself which one it is
                error.filename = str(self._folder / name)
            raise


def usable_keyring() -> Keyring | None:
    """The platform's keyring, where the extra is installed and a keyring is there to be used."""
    if importlib.util.find_spec("keyring") is None:
        return None
    keyring = importlib.import_module("keyring")
    # The library's own mark for backends that keep nothing, or only in plain text.
    return keyring if keyring.get_keyring().priority >= 1 else None


@contextmanager
def _keyring_refusals_told() -> Iterator[None]:
    """What the library raises, as `CommandFailed`; known by where its class lies, since an import would cost time."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("keyring."):
            raise
        why = str(error) or type(error).__name__
        raise CommandFailed(f"The keyring refused ({why}); {_WITHOUT_KEYRING}.") from error


def cleaned(url: str) -> str:
    """An address as it is kept; raises `CommandFailed` for what is none."""
    text = url.strip().rstrip("/")
    if not text.isprintable() or any(mark in text for mark in " ?#@") or not _has_host(text):
        message = f"{url!r} is no address of a server; write it as https://guildhall.example.org"
        raise CommandFailed(f"{message}.", Exit.USAGE)
    return text


def plain_token(text: str, what: str) -> str:
    """A token as it is sent; raises `CommandFailed` for what no header can carry, with `what` it was given as."""
    token = text.strip()
    if not token or any(not 33 <= ord(mark) <= 126 for mark in token):
        message = f"{what} is no token: a token is one word of plain letters, digits and marks."
        raise CommandFailed(message, Exit.USAGE)
    return token


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are the same server's."""
    return one.strip().rstrip("/").lower() == other.strip().rstrip("/").lower()


def _has_host(address: str) -> bool:
    """Whether a name is in it that can be looked up, and a port where there is one."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        host.encode("idna")  # refuses labels that are empty or too long
        return address.startswith(("http://", "https://")) and host != "" and parts.port != 0
    except ValueError:  # brackets without their like, ports that are none
        return False
