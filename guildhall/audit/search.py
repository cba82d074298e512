"""Asking the audit record: one row for an act, however many events it took, behind `auditEvents`.

An intent is shown with its conclusion's outcome, rows, bytes and reason; while there is none it shows as STARTED.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ColumnElement, Subquery, func, select, true
from sqlalchemy.orm import aliased

from guildhall.audit.tables import AuditEvent
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import team_rows

PERMISSION = "guildhall:audit:read"

# What a conclusion knows better than its intent.
_CONCLUDED = ("outcome", "rows", "bytes", "reason_code", "reason_message")


def _acts() -> Subquery:
    event = AuditEvent.__table__
    conclusion = aliased(AuditEvent, name="conclusion")
    shown = [column for column in event.columns if column.name not in _CONCLUDED and column.name != "concludes_id"]
    merged = [func.coalesce(getattr(conclusion, name), event.c[name]).label(name) for name in _CONCLUDED]
    return (
        select(*shown, *merged, conclusion.occurred_at.label("concluded_at"))
        .select_from(event)
        .outerjoin(conclusion, conclusion.concludes_id == event.c.id)
        .where(event.c.concludes_id.is_(None))
        .subquery("acts")
    )


ACTS = _acts()
"""The columns of `AuditEvent` without `concludes_id`, conclusions merged in, and `concluded_at`.

PostgreSQL flattens it, so that conditions on it use the indexes of the table: on `resource_ids` (GIN), on `actor_id`
with `occurred_at`, and on `(occurred_at, id)`, which is the order of pages.
"""


def about_any(resource_ids: Collection[UUID]) -> ColumnElement[bool]:
    """Acts on any of these. The id of a data set covers its versions, because acts on a version name both."""
    overlaps: ColumnElement[bool] = ACTS.c.resource_ids.overlap(list(resource_ids))
    return overlaps


def visible_acts(actor: Actor) -> ColumnElement[bool]:
    """What an auditor sees: all, or only acts of the teams that they audit. Nobody else sees any."""
    if actor.may(PERMISSION, None):
        return true()
    return team_rows(actor, team_column=ACTS.c.team_id, permission=PERMISSION)
