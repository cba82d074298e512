"""What the database keeps of months that have left: that they have, and by which access grants data was read in them.

Both are written in the transaction in which the month leaves. The code of the archive's row covers those uses by their
SHA-256, so that none is taken out, put in or altered afterwards without being found.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, select, text

from guildhall.audit.mac import AuditKeys, line_of
from guildhall.audit.tables import USE_OF_GRANT, AuditArchivedUse
from guildhall.db.transaction import Database, ReadSession, WriteSession

_KEEP_USES = text(f"""
INSERT INTO audit_archived_uses (access_grant_id, archive, times, first_used_at, last_used_at)
SELECT access_grant_id, :name, count(*), min(act_at), max(act_at) FROM audit_events
WHERE act_at >= :begins_at AND act_at < :ends_at AND {USE_OF_GRANT}
GROUP BY access_grant_id
""")  # noqa: S608 -- a text of ours
_OF_NO_ARCHIVE = text("""
SELECT DISTINCT archive FROM audit_archived_uses AS uses
WHERE NOT EXISTS (SELECT FROM audit_archives WHERE name = uses.archive) ORDER BY archive LIMIT :named_max
""")
_NOT_USED = text("""
SELECT archive, access_grant_id, count(*) OVER () AS wrong_rows FROM audit_archived_uses AS uses
WHERE NOT EXISTS (SELECT FROM audit_used_grants AS used WHERE used.access_grant_id = uses.access_grant_id)
ORDER BY archive, access_grant_id LIMIT :named_max
""")


def is_ours(keys: AuditKeys, row: Mapping[str, Any]) -> bool:
    """Whether we wrote this row of the archives; the code of one from before uses were kept does not cover them."""
    return keys.verify({name: value for name, value in row.items() if name != "uses_sha256" or value is not None})


async def keep_uses(session: WriteSession, month: Mapping[str, Any]) -> str:
    """Keep by which grants data was read in the month, by its `name`, `begins_at` and `ends_at`; their SHA-256."""
    await session.execute(_KEEP_USES, dict(month))
    return await _sha256_of_uses(session, month["name"])


async def use_findings(
    database: Database, archives: Iterable[RowMapping], *, named_max: int
) -> list[tuple[int, list[str]]]:
    """What is wrong with the uses of these archives, whose codes fit: how much each time, and the first in words."""
    findings = []
    for row in archives:
        async with database.read() as session:
            kept = await _sha256_of_uses(session, row["name"])
        if kept != (row["uses_sha256"] or _NO_USES):
            findings.append((1, [_changed(row["name"])]))
    async with database.read() as session:
        unknown = (await session.scalars(_OF_NO_ARCHIVE, {"named_max": named_max})).all()
        missing = (await session.execute(_NOT_USED, {"named_max": named_max})).mappings().all()
    findings += [(1, [_changed(name)]) for name in unknown]
    if missing:
        findings.append((missing[0]["wrong_rows"], [_taken_out(row) for row in missing]))
    return findings


def _changed(name: str) -> str:
    return f"By which access grants data was read in {name} is not what was written when that month left."


def _taken_out(row: RowMapping) -> str:
    return (
        f"Data was read by the access grant {row['access_grant_id']} in {row['archive']}, and the grant was taken out "
        "of those that were used."
    )


async def _sha256_of_uses(session: ReadSession, name: str) -> str:
    statement = select(*AuditArchivedUse.__table__.columns).where(AuditArchivedUse.archive == name)
    rows = (await session.execute(statement.order_by(AuditArchivedUse.access_grant_id))).mappings().all()
    return _sha256(rows)


def _sha256(rows: Sequence[RowMapping]) -> str:
    return hashlib.sha256(b"".join(line_of(dict(row)) + b"\n" for row in rows)).hexdigest()


_NO_USES = _sha256([])
