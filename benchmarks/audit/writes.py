"""Audited writes at many clients: our event beside a chain of hashes in the row, each in the transaction of an act.

Both sides write the same signed row into the same kind of table with the same indexes, by prepared statements on bare
connections, so that what differs is the chain.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

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
Write = Callable[[], Awaitable[None]]

CHAIN = """
CREATE TABLE chain_of_events (LIKE audit_events INCLUDING ALL, earlier bytea NOT NULL, hash bytea NOT NULL);
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


@dataclass(frozen=True)
class Sides:
    """Two ways to record the same act."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def ours(self) -> None:
        """One transaction with one event."""
        await self.write(signed_row())

    async def write(self, row: Mapping[str, Any]) -> None:
        """The same with an event that is known."""
        async with self.pool.acquire() as connection:
            await connection.execute(_insert("audit_events", [*row]), *_values(row))

    async def chain(self) -> None:
        """The same in a row that holds the hash of the one before: writers wait for each other until the commit."""
        row = signed_row()
        async with self.pool.acquire() as connection, connection.transaction():
            earlier = await connection.fetchval("SELECT hash FROM end_of_chain WHERE id = 1 FOR UPDATE")
            digest = hashlib.sha256(earlier + line_of(row)).digest()
            row |= {"earlier": earlier, "hash": digest}
            await connection.execute(_insert("chain_of_events", [*row]), *_values(row))
            await connection.execute("UPDATE end_of_chain SET hash = $1 WHERE id = 1", digest)


def _insert(table: str, names: list[str]) -> str:
    places = ", ".join(f"${number + 1}" for number in range(len(names)))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})"  # noqa: S608 -- our own names


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
