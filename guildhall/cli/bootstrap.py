"""The command that makes the first administrator."""

import argparse
import os
from pathlib import Path

from guildhall.clock import SystemClock, new_id
from guildhall.db.opening import open_database
from guildhall.errors import Conflict
from guildhall.organisation.bootstrap import create_first_administrator
from guildhall.settings import Settings


class TokenFileRefused(Conflict):
    """A token is never written over something else, nor where it cannot be written."""

    code = "TOKEN_FILE_REFUSED"


async def run_bootstrap(settings: Settings, options: argparse.Namespace) -> None:
    """`bootstrap`: refuses once there is an administrator. The token is shown once; only its hash is kept."""
    token_file: Path | None = options.token_file
    async with open_database(settings) as database, database.transaction() as session:
        token = await create_first_administrator(
            session, email=options.email, name=options.name, at=SystemClock().now(), new_id=new_id
        )
        if token_file is not None:
            # Before the commit: an administrator whose token nobody got could never be made again.
            _write_secret(token_file, token)
    if token_file is None:
        print(token)


def _write_secret(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise TokenFileRefused(f"The token cannot be written to {path}: {error.strerror}.") from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
