"""The command that brings the database to the newest revision, or waits until another has."""

import argparse
import asyncio
import logging

from guildhall.db.opening import database_addresses, migrate_database, require_newest_revision
from guildhall.db.transaction import DatabaseUnavailable, connect_database
from guildhall.settings import Settings

WAIT_SECONDS_MAX = 600
WAIT_SECONDS_BETWEEN = 1.0

logger = logging.getLogger(__name__)


async def run_migrate(settings: Settings, options: argparse.Namespace) -> None:
    """`migrate`; with `--wait` the database is only looked at, as the service, until somebody else has migrated it."""
    async with database_addresses(settings) as addresses:
        if options.wait:
            await _wait(addresses.service, WAIT_SECONDS_MAX, WAIT_SECONDS_BETWEEN)
            return
        revision = await migrate_database(addresses)
    print(f"The database is at revision {revision}.")


async def _wait(url: str, seconds_max: float, seconds_between: float) -> None:
    """Return once the database is at this program's revision; raises the last DatabaseUnavailable after the time."""
    database = connect_database(url)
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds_max
    told = ""
    try:
        while True:
            try:
                await require_newest_revision(database)
            except DatabaseUnavailable as error:
                if loop.time() >= ends_at:
                    raise
                if error.message != told:
                    told = error.message
                    logger.warning("Waiting: %s", told)
                await asyncio.sleep(seconds_between)
            else:
                return
    finally:
        await database.close()
