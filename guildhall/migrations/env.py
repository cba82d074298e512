"""Where Alembic meets the database: one connection as the owner, all tables of all packages in one metadata."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text

from guildhall.auth.seeding import seed_roles
from guildhall.db.base import Base
from guildhall.db.engine import create_owner_engine
from guildhall.db.migrating import MIGRATION_LOCK, load_tables
from guildhall.settings import Settings

load_tables()


def run(connection: Connection) -> None:
    """Run the revisions in one transaction, under a lock that makes a second migration wait instead of collide."""
    context.configure(
        connection=connection, target_metadata=Base.metadata, compare_type=True, transaction_per_migration=False
    )
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        context.run_migrations()
        seed_roles(connection)


async def run_from_settings() -> None:
    """For the command line tool of Alembic: connect as the settings say."""
    url = Settings.from_environment(os.environ).migration_database_url
    if url is None:
        raise SystemExit(
            "Set GUILDHALL_MIGRATION_DATABASE_URL, or use `python -m guildhall migrate` for the embedded one."
        )
    engine = create_owner_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(run)
        await connection.commit()
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    asyncio.run(run_from_settings())
