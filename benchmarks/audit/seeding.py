"""Very many events at once: two years of months, written by SQL into tables that get their indexes afterwards.

They are not signed and their leaves are empty: this is for what questions cost, not for what they prove. Of all events
six in ten are about one data set, one person does half of them, and seven acts are of a person, and of a data set, that
hardly occur. In the oldest month, and never after it, somebody and a data set are in half of all.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

MONTHS = 24
FIRST_MONTH = datetime(2024, 11, 1, tzinfo=UTC)
LAST_DAYS = timedelta(days=27)
GRANTS = 1_000
"""Of which the last fifth opens nothing, ever."""


def _ids(kind: int, number: int) -> UUID:
    return UUID(int=(kind << 80) + number)


BUSY_DATASET, PLAIN_DATASET, RARE_DATASET, QUIET_DATASET = (_ids(7, number) for number in (0, 250, 1_000, 2_000))
BUSY_PERSON, PLAIN_PERSON, RARE_PERSON, GONE_PERSON = (_ids(8, number) for number in (0, 500, 1_001, 2_000))
NOBODY = UUID(int=1)


def grant_id(number: int) -> UUID:
    """The id of one of the access grants."""
    return _ids(9, number)


_EVENTS = """
INSERT INTO {partition} (id, act_at, occurred_at, actor_kind, actor_id, on_behalf_of_id, action, permission_class,
    outcome, resource_types, resource_ids, access_grant_id, mac_key, mac, concludes_id)
SELECT
    made_id(1, n),
    $3::timestamptz + $4::interval * (whose - $1),
    $3::timestamptz + $4::interval * (n - $1),
    CASE WHEN by_job THEN 'JOB' ELSE 'USER' END,
    CASE
        WHEN by_job THEN made_id(6, hashed(whose, 6) % 100000)
        ELSE person
    END,
    CASE WHEN by_job THEN person END,
    (ARRAY['registry:dataset:read', 'registry:model:publish', 'marketplace:credit:transfer', 'guildhall:role:bind'])
        [kind],
    (ARRAY['DATA_READ', 'DATA_WRITE', 'ADMIN_WRITE', 'ADMIN_WRITE'])[kind],
    CASE WHEN NOT paired THEN 'ALLOWED' WHEN n = whose THEN 'STARTED' ELSE 'COMPLETED' END,
    ARRAY['DatasetVersion', 'Dataset'],
    ARRAY[made_id(5, hashed(whose, 5) % 5000), dataset],
    CASE WHEN kind = 1 AND hashed(whose, 8) % 100 < 95 THEN made_id(9, hashed(whose, 9) % ({grants} * 4 / 5)) END,
    'k', sha256(''), CASE WHEN paired AND n > whose THEN made_id(1, whose) END
FROM (
    SELECT n, whose, paired, hashed(whose, 7) % 10 = 0 AS by_job,
        CASE WHEN paired OR hashed(whose, 1) % 100 < 85 THEN 1 WHEN hashed(whose, 2) % 100 < 80 THEN 2
            WHEN hashed(whose, 2) % 100 < 98 THEN 3 ELSE 4 END AS kind,
        CASE WHEN whose % $6::bigint < 2 THEN made_id(8, 1001)
            WHEN $5::boolean AND hashed(whose, 3) % 2 = 0 THEN made_id(8, 2000)
            WHEN hashed(whose, 3) % 4 < 2 THEN made_id(8, 0) ELSE made_id(8, hashed(whose, 4) % 1000) END AS person,
        CASE WHEN whose % $6::bigint < 2 THEN made_id(7, 1000)
            WHEN $5::boolean AND hashed(whose, 10) % 2 = 0 THEN made_id(7, 2000)
            WHEN hashed(whose, 10) % 10 < 6 THEN made_id(7, 0) ELSE made_id(7, hashed(whose, 11) % 500) END AS dataset
    FROM (
        SELECT n, paired, CASE WHEN paired THEN n - n % 2 ELSE n END AS whose
        FROM (
            SELECT n, hashed(n - n % 2, 0) % 100 < 57 AS paired FROM generate_series($1::bigint, $2::bigint - 1) AS n
        ) AS each
    ) AS told
) AS chosen
"""

_FUNCTIONS = """
CREATE FUNCTION made_id(kind bigint, number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    $$ SELECT lpad(to_hex(kind) || lpad(to_hex(number), 20, '0'), 32, '0')::uuid $$;
CREATE FUNCTION hashed(number bigint, salt bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
    $$ SELECT hashint8extended(number, salt) & 2147483647 $$
"""

_LEAVES = """
INSERT INTO audit_leaves (number, event_id, act_at, entry)
SELECT n, made_id(1, n), $1::timestamptz, sha256('') FROM generate_series(0, $2::bigint - 1) AS n
"""
_LEAVES_BARE = "ALTER TABLE audit_leaves DROP CONSTRAINT pk_audit_leaves, DROP CONSTRAINT uq_audit_leaves_event_id"
_LEAVES_WHOLE = """
ALTER TABLE audit_leaves ADD CONSTRAINT pk_audit_leaves PRIMARY KEY (number),
    ADD CONSTRAINT uq_audit_leaves_event_id UNIQUE (event_id)
"""
_RESOURCES_BARE = "ALTER TABLE audit_resources DROP CONSTRAINT pk_audit_resources"
_RESOURCES = """
INSERT INTO audit_resources (resource_id, act_at, event_id)
SELECT resource_id, act_at, id FROM audit_events, unnest(resource_ids) AS resource_id WHERE concludes_id IS NULL
"""  # what the trigger would write, if the rows came through the table
_RESOURCES_WHOLE = """
ALTER TABLE audit_resources ADD CONSTRAINT pk_audit_resources PRIMARY KEY (resource_id, act_at, event_id)
"""
_USES = """
INSERT INTO audit_used_grants (access_grant_id, act_at, event_id)
SELECT DISTINCT ON (access_grant_id) access_grant_id, act_at, id FROM audit_events
WHERE access_grant_id IS NOT NULL AND permission_class = 'DATA_READ' AND concludes_id IS NULL
ORDER BY access_grant_id, act_at
"""
_BARE = """
DO $$ DECLARE each record; BEGIN
    FOR each IN SELECT conname AS name FROM pg_constraint
        WHERE conrelid = '{partition}'::regclass AND contype IN ('p', 'u')
    LOOP EXECUTE format('ALTER TABLE {partition} DROP CONSTRAINT %I', each.name); END LOOP;
    FOR each IN SELECT indexrelid::regclass AS name FROM pg_index WHERE indrelid = '{partition}'::regclass
    LOOP EXECUTE format('DROP INDEX %s', each.name); END LOOP;
END $$
"""

_GRANTS = """
INSERT INTO access_grants (id, basis, beneficiary_user_id, justification, valid_from, valid_to, created_at)
SELECT made_id(9, n), 'OWNERSHIP', made_id(8, n), 'to count', at, at + interval '3 years', at
FROM generate_series(0, $1::bigint - 1) AS n, LATERAL (SELECT $2::timestamptz + n * interval '1 minute') AS moment (at)
"""


def months() -> Iterator[datetime]:
    """Their beginnings, the oldest first."""
    for number in range(FIRST_MONTH.month - 1, FIRST_MONTH.month - 1 + MONTHS):
        yield datetime(FIRST_MONTH.year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


async def seed(connection: "asyncpg.Connection[Any]", events: int) -> int:
    """Write about so many events as a superuser, with their leaves, analysed and vacuumed; returns how many."""
    a_month = events // MONTHS & ~1
    step, rare = LAST_DAYS / a_month, max(a_month * MONTHS // 7 & ~1, 4)
    await connection.execute(_FUNCTIONS)
    await connection.execute("SET session_replication_role = replica")  # grants of people who are nobody
    await connection.execute(_GRANTS, GRANTS, FIRST_MONTH)
    await connection.execute("RESET session_replication_role")
    for number, begins in enumerate(months()):
        await _fill_month(connection, begins, _Part(number * a_month, a_month, step, number == 0, rare))
    await connection.execute(_LEAVES_BARE)
    await connection.execute(_LEAVES, FIRST_MONTH, a_month * MONTHS)
    await connection.execute(_LEAVES_WHOLE)
    await connection.execute(_RESOURCES_BARE)
    await connection.execute(_RESOURCES)
    await connection.execute(_RESOURCES_WHOLE)
    await connection.execute(_USES)
    tables = "audit_events, audit_resources, audit_used_grants, audit_leaves, audit_personal, access_grants"
    await connection.execute(f"VACUUM (ANALYZE) {tables}")
    return a_month * MONTHS


class _Part(NamedTuple):
    first: int
    events: int
    step: timedelta
    oldest: bool
    rare: int


async def _fill_month(connection: "asyncpg.Connection[Any]", begins: datetime, part: _Part) -> None:
    """Apart from the table, and its indexes when the rows are there: a fifth of the time."""
    partition = f"audit_events_{begins:%Y_%m}"
    await connection.execute("SELECT audit_make_partitions($1, 1)", begins)
    await connection.execute(f"ALTER TABLE audit_events DETACH PARTITION {partition}")
    await connection.execute(_BARE.format(partition=partition))
    await connection.execute(
        _EVENTS.format(partition=partition, grants=GRANTS),
        part.first, part.first + part.events, begins, part.step, part.oldest, part.rare,
    )  # fmt: skip
    ends = (begins + timedelta(days=31)).replace(day=1)
    await connection.execute(
        f"ALTER TABLE audit_events ATTACH PARTITION {partition} FOR VALUES FROM ('{begins}') TO ('{ends}')"
    )
