"""The log of a job as kept: the last lines of its last attempts."""

import re

from sqlalchemy import ColumnElement, Text, column, func, literal_column, select, true
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by

from scheduler.jobs.tables import Attempt, AttemptReport, Job

TAIL_LINES_MAX = 1_000

_TOKEN = re.compile(r"gh([usj])_[0-9A-Za-z]{30,}")


def log_tail(lines: int) -> ColumnElement[str]:
    """SQL over a `jobs` row: the last lines of its log, at most TAIL_LINES_MAX, joined."""
    wanted = min(max(lines, 0), TAIL_LINES_MAX)
    # A batch has at least one line here, so as many batches as lines are wanted are always enough.
    batch = (
        select(Attempt.number, AttemptReport.sequence, AttemptReport.lines)
        .join(AttemptReport, AttemptReport.attempt_id == Attempt.id)
        .where(Attempt.job_id == Job.id, func.jsonb_array_length(AttemptReport.lines) > 0)
        .order_by(Attempt.number.desc(), AttemptReport.sequence.desc())
        .limit(wanted)
        .correlate(Job.__table__)
        .subquery("batch")
    )
    entry = func.jsonb_array_elements(batch.c.lines).table_valued(
        column("line", JSONB), with_ordinality="place", name="entry"
    ).render_derived()  # fmt: skip
    tail = (
        select(entry.c.line["text"].astext.label("text"), batch.c.number, batch.c.sequence, entry.c.place)
        .select_from(batch.join(entry, true()))
        .order_by(batch.c.number.desc(), batch.c.sequence.desc(), entry.c.place.desc())
        .limit(wanted)
        .correlate(Job.__table__)
        .subquery("tail")
    )
    joined = func.string_agg(
        tail.c.text, aggregate_order_by(literal_column("E'\\n'"), tail.c.number, tail.c.sequence, tail.c.place)
    )
    return func.coalesce(select(joined).correlate(Job.__table__).scalar_subquery(), literal_column("''"), type_=Text)


def mask_tokens(text_: str) -> str:
    """The text with what looks like a token of ours replaced; asked before a line is kept, as a log outlives it."""
    return _TOKEN.sub(r"gh\1_…(a token)", text_)
