"""How long after its commit an event is sealed, while as many as can are writing."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

from benchmarks.audit.writes import Connection, Sides, rate, signed_row

LOOK_SECONDS = 0.02
"""How often the leaves are looked at, which is how much a figure may be too long."""
DRAIN_SECONDS_MAX = 120


async def caught_up(looking_by: Connection) -> None:
    """Wait until nothing is left to seal."""
    ends = time.perf_counter() + DRAIN_SECONDS_MAX
    unsealed = "SELECT (SELECT count(*) FROM audit_events) - (SELECT count(*) FROM audit_leaves)"
    while await looking_by.fetchval(unsealed):
        assert time.perf_counter() < ends, "the sealer does not follow"
        await asyncio.sleep(LOOK_SECONDS)


async def sealed_after(looking_by: Connection, connections: Sequence[Connection], *, seconds: float) -> list[float]:
    """The seconds from commit to leaf of each event that was written in that time, the shortest first."""
    sides = Sides(connections)
    committed: dict[UUID, float] = {}
    seen: dict[UUID, float] = {}
    writing = asyncio.Event()

    async def write() -> None:
        row = signed_row()
        await sides.write(row)
        committed[row["id"]] = time.perf_counter()

    async def look() -> None:
        ends = time.perf_counter() + seconds + DRAIN_SECONDS_MAX
        last = await looking_by.fetchval("SELECT coalesce(max(number), -1) FROM audit_leaves")
        while not writing.is_set() or committed.keys() - seen.keys():
            assert time.perf_counter() < ends, "the sealer does not follow"
            rows = await looking_by.fetch("SELECT number, event_id FROM audit_leaves WHERE number > $1", last)
            now = time.perf_counter()
            for row in rows:
                last = max(last, row["number"])
                seen[row["event_id"]] = now
            await asyncio.sleep(LOOK_SECONDS)

    looking = asyncio.create_task(look())
    await rate(write, clients=len(connections), seconds=seconds)
    writing.set()
    await looking
    return sorted(max(0.0, seen[key] - moment) for key, moment in committed.items())
