"""The client of a command: signed in as its profile says, with a token that is still good."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import click

from guildhall_client.client import Client
from guildhall_client.command import device
from guildhall_client.command.documents import PAGE_ROWS_MAX
from guildhall_client.command.exits import CommandFailed, NotSignedIn
from guildhall_client.command.profiles import Credentials, Profiles, Target

EARLY_SECONDS = 30
"""A token that ends within this time is renewed before it is used."""
PAGES_MAX = 1_000


def target() -> Target:
    """The server that this command talks to."""
    return Profiles().target(click.get_current_context().find_root().obj)


@contextmanager
def connected() -> Iterator[Client]:
    """A client of that server; raises `NotSignedIn`."""
    found = target()
    credentials = _fresh(found, found.signed_in())
    with Client(found.url, credentials.token) as client:
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


def _fresh(found: Target, credentials: Credentials) -> Credentials:
    if credentials.expires_at is None or time.time() < credentials.expires_at - EARLY_SECONDS:
        return credentials
    if not (credentials.refresh_token and credentials.issuer and credentials.client_id):
        raise NotSignedIn(f"Your token for {found.url} has ended.")
    tokens = device.renew(credentials.issuer, credentials.client_id, credentials.refresh_token)
    renewed = replace(
        credentials,
        token=tokens.access,
        refresh_token=tokens.refresh or credentials.refresh_token,
        expires_at=tokens.expires_at,
    )
    if found.profile is not None:
        Profiles().keep(found.profile, renewed)
    return renewed
