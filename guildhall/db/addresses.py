"""How a database is connected to: as its address says, in libpq's words, for each connection that we make.

SQLAlchemy's dialect and the driver know different words for encryption, so the driver reads the whole address itself;
a connection that did not would go unencrypted where the others may not.
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

_OUTSIDE_THE_QUERY = ("host", "port", "user", "password", "database")


def driver_address(url: URL | str) -> str:
    """The address with its password and options, for `asyncpg.connect(dsn=…)`."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def connect_by_address(engine: AsyncEngine) -> None:
    """Have the connections of an engine made by its address, rather than by what the dialect reads from it."""
    url = engine.url
    address = driver_address(url)
    replaced = {*_OUTSIDE_THE_QUERY, *url.query}

    def connecting(_dialect: Any, _record: Any, _arguments: Any, given: dict[str, Any]) -> None:  # noqa: ANN401 -- as SQLAlchemy calls it
        for name in replaced:
            given.pop(name, None)
        given["dsn"] = address

    event.listen(engine.sync_engine, "do_connect", connecting)
