"""The log of a job as kept: the last lines of its last attempts."""

import re
from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, bindparam, text

from guildhall.db.transaction import ReadSession

TAIL_LINES_MAX = 1_000

_TOKEN = re.compile(r"gh([usj])_[0-9A-Za-z]{30,}")

# A batch has at least one line here, so as many batches as lines are wanted are always enough.
_TAIL = text("""
    SELECT wanted.id, tail.text
    FROM unnest(:ids) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT line ->> 'text' AS text, batch.number, batch.sequence, place
        FROM (
            SELECT attempts.number, attempt_reports.sequence, attempt_reports.lines
            FROM attempts JOIN attempt_reports ON attempt_reports.attempt_id = attempts.id
            WHERE attempts.job_id = wanted.id AND jsonb_array_length(attempt_reports.lines) > 0
            ORDER BY attempts.number DESC, attempt_reports.sequence DESC
            LIMIT :lines
        ) AS batch
        CROSS JOIN LATERAL jsonb_array_elements(batch.lines) WITH ORDINALITY AS entry (line, place)
        ORDER BY batch.number DESC, batch.sequence DESC, place DESC
        LIMIT :lines
    ) AS tail
    ORDER BY wanted.id, tail.number, tail.sequence, tail.place
""").bindparams(bindparam("ids", type_=ARRAY(Uuid(as_uuid=True))))


async def read_tails(session: ReadSession, job_ids: Sequence[UUID], *, lines: int) -> Mapping[UUID, str]:
    """For each job its last lines, at most TAIL_LINES_MAX, joined; one statement."""
    wanted = min(max(lines, 0), TAIL_LINES_MAX)
    found: dict[UUID, list[str]] = {job_id: [] for job_id in job_ids}
    if wanted:
        for job_id, line in await session.execute(_TAIL, {"ids": list(job_ids), "lines": wanted}):
            found[job_id].append(line)
    return {job_id: "\n".join(tail) for job_id, tail in found.items()}


def mask_tokens(text_: str) -> str:
    """The text with what looks like a token of ours replaced; asked before a line is kept, as a log outlives it."""
    return _TOKEN.sub(r"gh\1_…(a token)", text_)
