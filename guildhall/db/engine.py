"""The engine of the service: asyncpg connections that run under the role that owns nothing."""

import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from guildhall.db.addresses import connect_by_address
from guildhall.db.timing import time_statements

SERVICE_ROLE = "guildhall_service"
OWNER_ROLE = "guildhall_owner"
APPLICATION_NAME = "guildhall"
CONNECT_SECONDS_MAX = 10
IDLE_TRANSACTION_SECONDS_MAX = 60
LOCK_WAIT_SECONDS_MAX = 10
POOL_WAIT_SECONDS_MAX = 10
UNTRIED_SECONDS_MAX = 1.0
"""A connection that was idle for longer is tried before it is given out, which costs three round trips."""
_IDLE_SINCE = "idle since"


def server_settings(url: URL, *, statement_seconds: int, role: str | None = SERVICE_ROLE) -> dict[str, str]:
    """The session settings each connection starts with; the role comes as one, so that RESET cannot leave it."""
    settings = {
        "application_name": APPLICATION_NAME,
        "timezone": "UTC",
        "statement_timeout": f"{statement_seconds * 1000}",
        "lock_timeout": f"{LOCK_WAIT_SECONDS_MAX * 1000}",
        "idle_in_transaction_session_timeout": f"{IDLE_TRANSACTION_SECONDS_MAX * 1000}",
        "jit": "off",  # our statements are short; compiling them costs more than it saves
    }
    if role is not None and url.username != role:
        settings["role"] = role
    return settings


def create_service_engine(url: str, *, pool_size: int = 10, statement_seconds: int = 30) -> AsyncEngine:
    """An engine whose every connection acts as `guildhall_service`, whoever logged in."""
    parsed = make_url(url)
    engine = create_async_engine(
        parsed,
        pool_size=pool_size,
        pool_timeout=POOL_WAIT_SECONDS_MAX,
        pool_use_lifo=True,  # the connection that has our statements prepared, rather than the next one
        max_overflow=0,  # the setting is a limit, so that a server's max_connections can be planned
        connect_args={
            "timeout": CONNECT_SECONDS_MAX,
            "server_settings": server_settings(parsed, statement_seconds=statement_seconds),
        },
    )
    connect_by_address(engine)
    _try_idle_connections(engine)
    time_statements(engine)
    return engine


def _try_idle_connections(engine: AsyncEngine) -> None:
    """So that a restarted database costs a query, not a request."""
    dialect = engine.dialect

    def given_back(_connection: Any, record: Any) -> None:  # noqa: ANN401 -- as SQLAlchemy calls it
        record.info[_IDLE_SINCE] = time.monotonic()

    def given_out(connection: Any, record: Any, _proxy: Any) -> None:  # noqa: ANN401 -- as SQLAlchemy calls it
        if time.monotonic() - record.info.get(_IDLE_SINCE, time.monotonic()) <= UNTRIED_SECONDS_MAX:
            return
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            if dialect.is_disconnect(error, None, None):
                raise InvalidatePoolError from error
            raise

    event.listen(engine.sync_engine, "checkin", given_back)
    event.listen(engine.sync_engine, "checkout", given_out)


def create_owner_engine(url: str) -> AsyncEngine:
    """An engine for migrations: the login's own rights, one connection, no statement timeout."""
    engine = create_async_engine(
        make_url(url),
        poolclass=NullPool,
        connect_args={
            "timeout": CONNECT_SECONDS_MAX,
            "server_settings": {"application_name": f"{APPLICATION_NAME}-migrate", "timezone": "UTC"},
        },
    )
    connect_by_address(engine)
    return engine
