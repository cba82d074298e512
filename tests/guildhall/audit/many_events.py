"""Many events at once, as a house of that size would have them: by COPY, sealed, in partitions of their months.

They are not signed: this is for what questions cost, not for what they prove. Of a hundred reads sixty are of one data
set, and of the people one does half of all.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

DATASETS = [UUID(int=(7 << 80) + number) for number in range(500)]
PEOPLE = [UUID(int=(8 << 80) + number) for number in range(1_000)]
GRANTS = [UUID(int=(9 << 80) + number) for number in range(1_000)]
YEAR = 2026
PARTS = 50_000
"""How many events go into one COPY."""
_COLUMNS = (
    "id", "act_at", "occurred_at", "actor_kind", "actor_id", "on_behalf_of_id", "action", "permission_class", "outcome",
    "resource_types", "resource_ids", "access_grant_id", "mac_key", "mac", "concludes_id",
)  # fmt: skip


async def fill(connection: "asyncpg.Connection[Any]", *, months: Sequence[int], events_a_month: int) -> int:
    """Write the months of 2026, as a superuser; returns how many events there are."""
    number = 0
    for month in months:
        begins = datetime(YEAR, month, 1, tzinfo=UTC)
        await connection.execute("SELECT audit_make_partitions($1, 1)", begins)
        step = timedelta(days=27) / events_a_month
        for first in range(0, events_a_month, PARTS):
            rows = list(_events(number, begins + step * first, step, min(PARTS, events_a_month - first)))
            await connection.copy_records_to_table("audit_events", records=rows, columns=_COLUMNS)
            leaves = [(number + place, row[0], row[1], b"\0" * 32) for place, row in enumerate(rows)]
            await connection.copy_records_to_table(
                "audit_leaves", records=leaves, columns=("number", "event_id", "act_at", "entry")
            )
            number += len(rows)
    await connection.execute("VACUUM (ANALYZE) audit_events, audit_leaves, audit_personal, audit_resources")
    return number


def _events(first: int, begins: datetime, step: timedelta, count: int) -> Iterator[tuple[Any, ...]]:
    """Nine of ten are reads of data; of what leaves, each intent is followed by its conclusion."""
    chance = random.Random(first)
    intent: tuple[Any, ...] | None = None
    for place in range(count):
        act_at = begins + step * place
        key = UUID(int=(1 << 100) + first + place)
        if intent is not None:
            yield (key, intent[1], act_at, *intent[3:8], "COMPLETED", *intent[9:14], intent[0])
            intent = None
            continue
        actor = PEOPLE[0] if chance.random() < 0.5 else chance.choice(PEOPLE)
        on_behalf = chance.choice(PEOPLE) if chance.random() < 0.1 else None
        dataset = DATASETS[0] if chance.random() < 0.6 else chance.choice(DATASETS)
        row = (
            key, act_at, act_at, "JOB" if on_behalf else "USER", actor, on_behalf, "registry:dataset:read", "DATA_READ",
            "STARTED", ["Dataset"], [dataset], chance.choice(GRANTS) if chance.random() < 0.95 else None, "k",
            b"\0" * 32, None,
        )  # fmt: skip
        kind = chance.random()
        if kind < 0.4:
            intent = row
        elif kind < 0.9:
            row = (*row[:8], "ALLOWED", *row[9:])
        elif kind < 0.99:
            row = (*row[:6], "registry:model:publish", "DATA_WRITE", "ALLOWED", ["Model"], *row[10:])
        else:
            row = (*row[:6], "guildhall:role:bind", "ADMIN_WRITE", "ALLOWED", ["User"], *row[10:])
        yield row
    if intent is not None:
        return
