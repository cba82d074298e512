"""The database as the settings say: a PostgreSQL service, or the embedded one in the data folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, OperationalError

from guildhall.data_folder import require_data_dir
from guildhall.db.embedded import EmbeddedServer
from guildhall.db.migrating import current_revision, load_tables, migrate, newest_revision
from guildhall.db.transaction import Database, DatabaseUnavailable, connect_database
from guildhall.keys import load_keys
from guildhall.settings import Settings


@dataclass(frozen=True)
class Addresses:
    """Where the database is: for the service, and for its owner, who alone may migrate."""

    service: str
    owner: str
    embedded: bool


@asynccontextmanager
async def database_addresses(settings: Settings) -> AsyncIterator[Addresses]:
    """The addresses from the settings; without any, those of an embedded server that runs as long as the block."""
    if settings.database_url is not None:
        owner = settings.migration_database_url or settings.database_url
        yield Addresses(service=settings.database_url, owner=owner, embedded=False)
        return
    require_data_dir(settings)
    async with EmbeddedServer(settings.data_dir) as server:
        yield Addresses(service=server.service_url, owner=server.owner_url, embedded=True)


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The database, at the newest revision: the embedded one is migrated on the way, another must have been.

    Raises DatabaseUnavailable or EmbeddedServerError, each with one sentence.
    """
    load_tables()
    async with database_addresses(settings) as addresses:
        if addresses.embedded:
            await migrate_database(addresses)
        database = connect_database(
            addresses.service,
            pool_size=settings.database_pool_size,
            statement_seconds=settings.database_statement_seconds,
            audit_key=load_keys(settings.audit_key_file)[0],
        )
        try:
            await require_newest_revision(database)
            yield database
        finally:
            await database.close()


async def migrate_database(addresses: Addresses) -> str | None:
    """Bring it to the newest revision and return that."""
    try:
        return await migrate(addresses.owner)
    except (OSError, OperationalError, DBAPIError) as error:
        raise DatabaseUnavailable(f"The database could not be migrated: {_reason(error)}") from error


async def require_newest_revision(database: Database) -> None:
    """Refuse to work on tables that are older or newer than this program."""
    try:
        async with database.engine.connect() as connection:
            found = await current_revision(connection)
    except (OSError, DBAPIError) as error:
        raise DatabaseUnavailable(f"The database cannot be used: {_reason(error)}") from error
    if found != newest_revision():
        raise DatabaseUnavailable(
            f"The database is at revision {found or 'none'}, and this program needs {newest_revision()}: "
            "run `python -m guildhall migrate`."
        )


def _reason(error: Exception) -> str:
    """The driver's own first line, without SQLAlchemy's frame around it."""
    told = str(error.orig if isinstance(error, DBAPIError) else error).strip().splitlines()
    return told[0].rpartition("'>: ")[2] if told else type(error).__name__
