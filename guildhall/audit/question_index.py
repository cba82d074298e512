"""Checking what questions go by: `audit_resources` must name each act under each of its resources, and no other.

A trigger writes these rows beside the events, and `audit_used_grants` likewise; they have no codes and no leaves, so
that whoever owns the database could take a read out of the answer to "who read this", or put somebody into it. The
events themselves are proven elsewhere: here both are compared, month by month, each time by one statement, which sees
one moment and sorts on the disk.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise

from sqlalchemy import RowMapping, text

from guildhall.audit.partitions import month_after, month_beginnings
from guildhall.db.transaction import Database

MONTH_SECONDS_MAX = 3_600
"""A month is compared at once, however long other statements may take."""

COMPARED_KEY = "hashtextextended('audit months compared', 0)"
"""Of the lock that is shared while a month is compared; a month that leaves takes it alone, before any other."""
_COMPARING = text(f"SELECT pg_advisory_xact_lock_shared({COMPARED_KEY})")
_LAST = "infinity"

_ABOUT_NOT_TOLD = """
SELECT DISTINCT event.id AS event_id, about.resource_id AS place
FROM audit_events AS event CROSS JOIN unnest(event.resource_ids) AS about (resource_id)
WHERE event.act_at >= '{since}' AND event.act_at {before} '{until}' AND event.concludes_id IS NULL AND NOT EXISTS (
    SELECT FROM audit_resources AS told
    WHERE told.resource_id = about.resource_id AND told.act_at = event.act_at AND told.event_id = event.id
        AND told.act_at >= '{since}' AND told.act_at {before} '{until}'
)
"""
_TOLD_NOT_ABOUT = """
SELECT told.event_id, told.resource_id AS place
FROM audit_resources AS told
WHERE told.act_at >= '{since}' AND told.act_at {before} '{until}' AND NOT EXISTS (
    SELECT FROM audit_events AS event
    WHERE event.id = told.event_id AND event.act_at = told.act_at AND event.concludes_id IS NULL
        AND told.resource_id = ANY (event.resource_ids)
        AND event.act_at >= '{since}' AND event.act_at {before} '{until}'
)
"""
_USED_NOT_TOLD = """
SELECT DISTINCT ON (event.access_grant_id) event.id AS event_id, event.access_grant_id AS place
FROM audit_events AS event
WHERE event.act_at >= '{since}' AND event.act_at {before} '{until}' AND event.concludes_id IS NULL
    AND event.access_grant_id IS NOT NULL AND event.permission_class = 'DATA_READ' AND event.outcome <> 'REFUSED'
    AND NOT EXISTS (SELECT FROM audit_used_grants AS used WHERE used.access_grant_id = event.access_grant_id)
ORDER BY event.access_grant_id, event.act_at, event.id
"""
# The event may have left with its month; its leaf has not, and that it was a use was kept.
_TOLD_NOT_USED = """
SELECT used.event_id, used.access_grant_id AS place
FROM audit_used_grants AS used
WHERE used.act_at >= '{since}' AND used.act_at {before} '{until}' AND NOT EXISTS (
    SELECT FROM audit_events AS event
    WHERE event.id = used.event_id AND event.act_at = used.act_at AND event.access_grant_id = used.access_grant_id
        AND event.concludes_id IS NULL AND event.permission_class = 'DATA_READ' AND event.outcome <> 'REFUSED'
        AND event.act_at >= '{since}' AND event.act_at {before} '{until}'
) AND NOT EXISTS (
    SELECT FROM audit_archives AS archive
    JOIN audit_leaves AS leaf ON leaf.event_id = used.event_id AND leaf.act_at = used.act_at
    WHERE archive.begins_at <= used.act_at AND used.act_at < archive.ends_at
        AND (archive.uses_sha256 IS NULL OR EXISTS (
            SELECT FROM audit_archived_uses AS kept
            WHERE kept.access_grant_id = used.access_grant_id AND kept.archive = archive.name
        ))
)
"""
_NAMED = """
WITH wrong AS MATERIALIZED ({wrong})
SELECT wrong.event_id, wrong.place, count(*) OVER () AS wrong_rows,
    (SELECT leaf.number FROM audit_leaves AS leaf WHERE leaf.event_id = wrong.event_id) AS leaf
FROM wrong ORDER BY wrong.event_id, wrong.place LIMIT :named_max
"""
_KINDS = (
    (_ABOUT_NOT_TOLD, "{act} was taken out of what questions about {place} look at."),
    (_TOLD_NOT_ABOUT, "{act} was put into what questions about {place} look at, and is not about it."),
    (_USED_NOT_TOLD, "{act} used the access grant {place}, which was taken out of those that were used."),
    (_TOLD_NOT_USED, "{act} was put in as a use of the access grant {place}, and is none."),
)


async def index_findings(database: Database, *, named_max: int) -> list[tuple[int, list[str]]]:
    """How many rows are missing or made up, and the first of them in words, for each month with any."""
    async with database.read() as session:
        beginnings = await month_beginnings(session)
    findings = []
    for since, until in _stretches(beginnings):
        before = "<=" if until == _LAST else "<"  # somebody's row may lie at the end of all times
        for wrong, sentence in _KINDS:
            statement = _NAMED.format(wrong=wrong.format(since=since, until=until, before=before))
            async with database.read() as session:
                for setting in ("statement_timeout", "lock_timeout"):
                    await session.execute(text(f"SET LOCAL {setting} = '{MONTH_SECONDS_MAX}s'"))
                await session.execute(_COMPARING)
                rows = (await session.execute(text(statement), {"named_max": named_max})).mappings().all()
            if rows:
                findings.append((rows[0]["wrong_rows"], [_told(sentence, row) for row in rows]))
    return findings


def _stretches(beginnings: Sequence[datetime]) -> Iterator[tuple[str, str]]:
    """All times, cut where a month begins or ends, so that each stretch is of one partition."""
    cuts = sorted({moment for begins in beginnings for moment in (begins, month_after(begins))})
    return pairwise(["-infinity", *(cut.isoformat() for cut in cuts), _LAST])


def _told(sentence: str, row: RowMapping) -> str:
    leaf = "" if row["leaf"] is None else f" (leaf {row['leaf']})"
    return sentence.format(act=f"Event {row['event_id']}{leaf}", place=row["place"])
