"""Audited writes at many clients: our event beside a chain of hashes in the row, each in a transaction of its own.

All sides write the same row into the record itself, with its indexes and its trigger, by prepared statements on bare
connections that each client keeps, so that what differs is the chain: the code of a chained row is over the one before.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import asyncpg

from guildhall.audit.mac import AuditKey, compute_mac, line_of
from guildhall.audit.record import compose_event
from guildhall.audit.writing import PERSONAL
from guildhall.auth.actor import system_actor
from guildhall.auth.resources import ResourceRef
from guildhall.clock import SystemClock, new_id

ACTION = "registry:dataset:register"
ACTOR = system_actor("benchmark")
KEY = AuditKey(b"k" * 32)
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Write = Callable[[], Awaitable[None]]

CHAIN = """
CREATE TABLE end_of_chain (id integer PRIMARY KEY, hash bytea NOT NULL);
INSERT INTO end_of_chain VALUES (1, '');
"""


def signed_row() -> dict[str, Any]:
    """An event as the product composes and signs it, its JSON as text."""
    composed = compose_event(
        ACTOR, action=ACTION, resources=[ResourceRef("Dataset", new_id())], after={"name": "scans"},
        at=SystemClock().now(), new_id=new_id,
    )  # fmt: skip
    row = {name: value for name, value in composed.items() if name != PERSONAL} | {"mac_key": KEY.name}
    row["mac"] = compute_mac(KEY, row)
    return row


class Sides:
    """Ways to record the same act, for as many clients as there are connections."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self._free = [*connections]

    async def ours(self) -> None:
        """One transaction with one event."""
        await self.write(signed_row())

    async def write(self, row: Mapping[str, Any]) -> None:
        """The same with an event that is known."""
        with self._taken() as connection:
            await connection.execute(_INSERT.format(_names(row), _places(row)), *_values(row))

    async def chain(self) -> None:
        """The same in a row that holds the hash of the one before: writers wait for each other until the commit."""
        row = signed_row()
        with self._taken() as connection:
            async with connection.transaction():
                earlier = await connection.fetchval("SELECT hash FROM end_of_chain WHERE id = 1 FOR UPDATE")
                row["mac"] = hashlib.sha256(earlier + line_of(row)).digest()
                await connection.execute(_INSERT.format(_names(row), _places(row)), *_values(row))
                await connection.execute("UPDATE end_of_chain SET hash = $1 WHERE id = 1", row["mac"])

    async def chain_at_once(self) -> None:
        """The chain at its best: the database hashes, and one statement does it all."""
        row = signed_row()
        statement = _CHAINED.format(_names(row), _places(row, chained=True))
        with self._taken() as connection:
            await connection.execute(statement, *_values({**row, "mac": line_of(row)}))

    @contextmanager
    def _taken(self) -> Iterator[Connection]:
        connection = self._free.pop()
        try:
            yield connection
        finally:
            self._free.append(connection)


_INSERT = "INSERT INTO audit_events ({}) VALUES ({})"
_CHAINED = """
WITH last AS (SELECT hash FROM end_of_chain WHERE id = 1 FOR UPDATE),
written AS (INSERT INTO audit_events ({}) SELECT {} FROM last RETURNING mac)
UPDATE end_of_chain SET hash = written.mac FROM written WHERE id = 1
"""


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(row)


def _places(row: Mapping[str, Any], *, chained: bool = False) -> str:
    """Of the values, of which the last is the code, or what the chain hashes."""
    places = [f"${number}" for number in range(1, len(row) + 1)]
    return ", ".join([*places[:-1], f"sha256(last.hash || {places[-1]})"] if chained else places)


def _values(row: Mapping[str, Any]) -> list[Any]:
    return [json.dumps(value) if isinstance(value, dict) else value for value in row.values()]


async def rate(write: Write, *, clients: int, seconds: float) -> float:
    """Acts a second."""
    ends = time.perf_counter() + seconds
    done = 0

    async def client() -> None:
        nonlocal done
        while time.perf_counter() < ends:
            await write()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return done / (time.perf_counter() - began)
