"""The client of a command: signed in as its profile says, with a token that is still good."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import click

from guildhall_client.client import Client
from guildhall_client.command import device
from guildhall_client.command.documents.fragments import PAGE_ROWS_MAX
from guildhall_client.command.exits import CommandFailed, NotSignedIn
from guildhall_client.command.interruptions import uninterrupted
from guildhall_client.command.printing import note
from guildhall_client.command.profiles import Credentials, Profiles, Target, same_address

EARLY_SECONDS = 30
"""A token that ends within this time is renewed before it is used."""
AGAIN_SECONDS = 5
"""How long a token that could not be renewed, and is still good, is used before that is tried again."""
PAGES_MAX = 1_000


def target() -> Target:
    """The server that this command talks to."""
    return Profiles().target(click.get_current_context().find_root().obj)


class Bearer:
    """The token of whoever calls, renewed whenever it is about to end: a command may take longer than a token lasts."""

    def __init__(self, found: Target) -> None:
        self._found = found
        self._credentials = found.signed_in()
        self._again_at = 0.0

    def __call__(self) -> str:
        """A token that is good for a while, or at least for now; raises `NotSignedIn`, `CommandFailed`, `OSError`."""
        if not _lasts(self._credentials) and time.time() >= self._again_at:
            self._renew()
        return self._credentials.token

    def _renew(self) -> None:
        try:
            self._credentials = _renewed(self._found, self._credentials)
        except NotSignedIn:
            raise
        except (CommandFailed, OSError):
            now = time.time()
            if self._credentials.expires_at is None or now >= self._credentials.expires_at:
                raise
            self._again_at = min(now + AGAIN_SECONDS, self._credentials.expires_at)


@contextmanager
def connected() -> Iterator[Client]:
    """A client of that server; raises `NotSignedIn`."""
    found = target()
    bearer = Bearer(found)
    bearer()
    with Client(found.url, bearer) as client:
        yield client


def all_nodes(client: Client, document: str, variables: dict[str, Any], *path: str) -> list[dict[str, Any]]:
    """All rows of the connection at `path` of the answer, page by page."""
    rows: list[dict[str, Any]] = []
    after: str | None = None
    for _ in range(PAGES_MAX):
        found: Any = client.execute(document, {**variables, "first": PAGE_ROWS_MAX, "after": after})
        for name in path:
            found = found.get(name) if found else None
        if found is None:
            return rows
        rows += found["nodes"]
        if not found["pageInfo"]["hasNextPage"]:
            return rows
        after = found["pageInfo"]["endCursor"]
    raise CommandFailed(
        f"The list has more than {PAGES_MAX * PAGE_ROWS_MAX} rows, which is more than is fetched at once."
    )


def _lasts(credentials: Credentials) -> bool:
    return credentials.expires_at is None or time.time() < credentials.expires_at - EARLY_SECONDS


def _renewed(found: Target, credentials: Credentials) -> Credentials:
    """The next token, got by one process for all: issuers end a session whose refresh token is shown twice."""
    if found.profile is None or not credentials.refresh_token:
        raise NotSignedIn(f"Your token for {found.url} has ended.")
    profiles = Profiles()
    with profiles.alone():
        kept = profiles.kept(found.profile)
        if kept is None or not same_address(kept.url, found.url):
            raise NotSignedIn(f"You have signed out of {found.url} meanwhile.")
        if _lasts(kept):
            return kept
        # Ours ends later where it could not be kept; then the other's refresh token may be used up.
        last = max(kept, credentials, key=lambda each: each.expires_at or 0.0)
        if not (last.refresh_token and last.issuer and last.client_id):
            raise NotSignedIn(f"Your token for {found.url} has ended.")
        renewal = device.renewal(last.issuer, last.client_id, last.refresh_token)
        # Where nothing can be kept, that is told before the issuer takes back what there is.
        profiles.keep(found.profile, last)
        with uninterrupted():
            tokens = renewal()
            renewed = replace(
                last,
                token=tokens.access,
                refresh_token=tokens.refresh or last.refresh_token,
                expires_at=tokens.expires_at,
            )
            try:
                profiles.keep(found.profile, renewed)
            except (CommandFailed, OSError) as error:
                _tell_unkept(renewed, error)
    return renewed


def _tell_unkept(renewed: Credentials, error: CommandFailed | OSError) -> None:
    """The issuer has taken back the token before it, so that it is used all the same."""
    why = f"{error.strerror or type(error).__name__}." if isinstance(error, OSError) else str(error)
    with suppress(OSError):  # standard error may lie on the same full disk
        note(f"Your new token for {renewed.url} is good for this command alone, since it could not be kept: {why}")
