"""Asking the audit record: one row for an act, however many events it took, behind `auditEvents`.

An intent is shown with its conclusion's outcome, rows, bytes and reason; while there is none it shows as STARTED.
"""

from uuid import UUID

from sqlalchemy import ColumnElement, SQLColumnExpression, Subquery, func, select, true
from sqlalchemy.orm import aliased

from guildhall.audit.tables import AuditEvent, AuditLeaf, AuditPersonal, AuditResource
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import team_rows
from guildhall.db.kept_statements import PLANNED_ANEW

PERMISSION = "guildhall:audit:read"

# What a conclusion knows better than its intent.
CONCLUDED = ("outcome", "rows", "bytes", "reason_code", "reason_message")
_NOT_SHOWN = frozenset({*CONCLUDED, "concludes_id", "occurred_at", "act_at", "commitments", "mac_key", "mac", "xid"})


def _acts() -> Subquery:
    event = AuditEvent.__table__
    conclusion = aliased(AuditEvent, name="conclusion")
    caller = aliased(AuditPersonal, name="caller")
    leaf = aliased(AuditLeaf, name="leaf")
    shown = [column for column in event.columns if column.name not in _NOT_SHOWN]
    merged = [func.coalesce(getattr(conclusion, name), event.c[name]).label(name) for name in CONCLUDED]
    same_caller = caller.person_id == func.coalesce(event.c.on_behalf_of_id, event.c.actor_id)
    return (
        select(  # who did half of all is found by the moment, who did little by their index: no plan is good for both
            *shown,
            *merged,
            event.c.act_at.label("occurred_at"),
            conclusion.occurred_at.label("concluded_at"),
            caller.content["justification"].astext.label("justification"),
            caller.content["address"].astext.label("address"),
            caller.erased_at.label("erased_at"),
            leaf.number.label("leaf_number"),
        )
        .select_from(event)
        .outerjoin(conclusion, (conclusion.concludes_id == event.c.id) & (conclusion.act_at == event.c.act_at))
        .outerjoin(caller, (caller.event_id == event.c.id) & same_caller & (caller.act_at == event.c.act_at))
        .outerjoin(leaf, (leaf.event_id == event.c.id) & (leaf.act_at == event.c.act_at))
        .where(event.c.concludes_id.is_(None))
        .prefix_with(PLANNED_ANEW)
        .subquery("acts")
    )


ACTS = _acts()
"""The columns of `AuditEvent`, its conclusion and the caller's own values merged in, `concluded_at`, `leaf_number`.

`occurred_at` is the moment by which the table is partitioned. PostgreSQL flattens this, so that conditions on it use
the indexes of the table. Each question has one with its rows in the order of pages: the moment, then `id`.
"""


def speaks_of(resource_id: SQLColumnExpression[UUID]) -> ColumnElement[bool]:
    """The event itself speaks of this resource, whatever the rows beside it say.

    Not `= ANY`, which the planner would take for a rare thing: those rows are hardly ever wrong.
    """
    return func.array_position(ACTS.c.resource_ids, resource_id).is_not(None)


def is_about(resource_id: UUID) -> ColumnElement[bool]:
    """Acts on this. The id of a data set covers its versions, because acts on a version name both."""
    return (
        select(AuditResource.event_id)
        .where(AuditResource.resource_id == resource_id, speaks_of(AuditResource.resource_id))
        .where(AuditResource.event_id == ACTS.c.id, AuditResource.act_at == ACTS.c.occurred_at)
        .correlate(ACTS)
        .exists()
    )


def visible_acts(actor: Actor) -> ColumnElement[bool]:
    """What an auditor sees: all, or only acts of the teams that they audit. Nobody else sees any."""
    if actor.may(PERMISSION, None):
        return true()
    return team_rows(actor, team_column=ACTS.c.team_id, permission=PERMISSION)
