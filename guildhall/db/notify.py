"""LISTEN: a hint that something committed elsewhere, on a connection that comes back by itself.

Notices are lost while the connection is down, so `connected` must make the listener look at the tables anew.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg
from sqlalchemy.engine import make_url

from guildhall.db.addresses import driver_address
from guildhall.db.engine import CONNECT_SECONDS_MAX, SERVICE_ROLE

RECONNECT_SECONDS_FIRST = 0.1
RECONNECT_SECONDS_MAX = 10.0
HEARTBEAT_SECONDS = 15.0
NOTICES_APPLICATION_NAME = "guildhall-notices"

logger = logging.getLogger(__name__)

RawConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, kw_only=True)
class Listener:
    """What to call, on the event loop: `noticed` per notice with its payload, `connected` and `lost` per change."""

    channel: str
    noticed: Callable[[str], None]
    connected: Callable[[], None]
    lost: Callable[[], None]


async def listen(url: str, *listeners: Listener) -> None:
    """Listen on one connection until cancelled, reconnecting with a pause that doubles up to `RECONNECT_SECONDS_MAX`.

    The connection is asked for a sign of life every `HEARTBEAT_SECONDS`, because a lost network says nothing.
    """
    pause = RECONNECT_SECONDS_FIRST
    while True:  # as long as the process; every turn either waits on a live connection or pauses
        try:
            connection = await open_connection(url)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            logger.warning("Notices on %s are away: %s", _channels(listeners), error)
        else:
            pause = RECONNECT_SECONDS_FIRST
            await _listen_while_alive(connection, listeners)
        await asyncio.sleep(pause)
        pause = min(pause * 2, RECONNECT_SECONDS_MAX)


async def _listen_while_alive(connection: RawConnection, listeners: Sequence[Listener]) -> None:
    closed = asyncio.Event()
    connection.add_termination_listener(lambda _: closed.set())
    try:
        for listener in listeners:
            await connection.add_listener(listener.channel, _callback(listener))
        for listener in listeners:
            listener.connected()
        try:
            while not closed.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(closed.wait(), HEARTBEAT_SECONDS)
                    break
                await connection.fetchval("SELECT 1", timeout=CONNECT_SECONDS_MAX)
        finally:
            for listener in listeners:
                listener.lost()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        logger.warning("Notices on %s stopped: %s", _channels(listeners), error)
    finally:
        connection.terminate()


def _callback(listener: Listener) -> Callable[..., None]:
    def noticed(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        listener.noticed(str(payload))

    return noticed


def _channels(listeners: Sequence[Listener]) -> str:
    return ", ".join(listener.channel for listener in listeners)


async def open_connection(url: str) -> RawConnection:
    """A connection outside the pool, under the service's role, for what lasts as long as its process."""
    settings = {"application_name": NOTICES_APPLICATION_NAME}
    if make_url(url).username != SERVICE_ROLE:
        settings["role"] = SERVICE_ROLE
    connection: RawConnection = await asyncpg.connect(
        driver_address(url), timeout=CONNECT_SECONDS_MAX, server_settings=settings
    )
    return connection
