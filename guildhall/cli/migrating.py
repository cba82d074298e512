"""The command that brings the database to the newest revision."""

import argparse

from guildhall.db.opening import database_addresses, migrate_database
from guildhall.settings import Settings


async def run_migrate(settings: Settings, _: argparse.Namespace) -> None:
    """`migrate`."""
    async with database_addresses(settings) as addresses:
        revision = await migrate_database(addresses)
    print(f"The database is at revision {revision}.")
