"""Bring a database to the newest revision, as its owner."""

import importlib
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from guildhall.db.engine import create_owner_engine

MIGRATION_LOCK = 0x6775696C64  # "guild"; any number that nothing else of ours locks
_SOURCE = Path(__file__).resolve().parents[2]
_PACKAGES = ("guildhall", "registry", "marketplace", "scheduler")


def table_modules() -> list[str]:
    """Every module named `tables` below the four packages: where tables are, and nowhere else."""
    paths = sorted(path for package in _PACKAGES for path in (_SOURCE / package).rglob("tables.py"))
    return [".".join(path.relative_to(_SOURCE).with_suffix("").parts) for path in paths]


def load_tables() -> None:
    """Import every table, so that foreign keys by table name resolve whichever package asks first."""
    for module in table_modules():
        importlib.import_module(module)


def alembic_config() -> Config:
    """Alembic's configuration for the one migration history, whatever the working folder is."""
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).resolve().parents[1] / "migrations").replace("%", "%%")
    )
    config.set_main_option("path_separator", "os")
    return config


async def migrate(url: str, revision: str = "head") -> str | None:
    """Bring the database to the revision, all the way or not at all; return it. Two at once wait for each other."""
    engine = create_owner_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade, revision)
            await connection.commit()
            return await current_revision(connection)
    finally:
        await engine.dispose()


def newest_revision() -> str | None:
    """The revision that this program was written for."""
    return ScriptDirectory.from_config(alembic_config()).get_current_head()


async def current_revision(connection: AsyncConnection) -> str | None:
    """The revision that the database is at; None before the first."""
    return await connection.run_sync(lambda raw: MigrationContext.configure(raw).get_current_revision())


def _upgrade(connection: Connection, revision: str) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
