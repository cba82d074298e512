"""What auditors ask, as conditions on acts: each rests on an index, and on the partitions of the asked time alone."""

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, SQLColumnExpression, String, Subquery, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.orm import aliased

from guildhall.audit.search import ACTS, about_any
from guildhall.audit.tables import AuditArchive, AuditEvent, PolicyHistory

POLICY_ACTIONS = (
    "guildhall:role:bind",
    "guildhall:role:change",
    "guildhall:role:escalate",
    "guildhall:role:take",
    "guildhall:emergency:review",
    "guildhall:group:map",
    "guildhall:team:change",
    "guildhall:service-account:change",
    "guildhall:user:change",
    "guildhall:configuration:apply",
    "registry:purpose:change",
    "registry:dataset:steward",
)
"""The permissions whose use changes who may what; a name that is no permission finds nothing."""


class PolicyLineKind(StrEnum):
    """A role that somebody holds, what a role allows or denies, and a team in its tree."""

    BINDING = "BINDING"
    RULE = "RULE"
    TEAM = "TEAM"


def between(since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    """Acts from one moment until just before another."""
    clauses = []
    if since is not None:
        clauses.append(ACTS.c.occurred_at >= since)
    if until is not None:
        clauses.append(ACTS.c.occurred_at < until)
    return clauses


def data_reads(resource_ids: Collection[UUID]) -> list[ColumnElement[bool]]:
    """Who read this data; the id of a data set covers its versions."""
    return [about_any(resource_ids), ACTS.c.permission_class == "DATA_READ"]


def acts_of(actor_id: UUID) -> list[ColumnElement[bool]]:
    """Everything that this person or program did, by a job of theirs as well."""
    return [or_(ACTS.c.actor_id == actor_id, ACTS.c.on_behalf_of_id == actor_id)]


def reads_without_grant() -> list[ColumnElement[bool]]:
    """Reads of data that no access grant stands behind: by role alone, or refused."""
    return [ACTS.c.permission_class == "DATA_READ", ACTS.c.access_grant_id.is_(None)]


def policy_changes() -> list[ColumnElement[bool]]:
    """Every change of who may what."""
    return [ACTS.c.permission_class == "ADMIN_WRITE", ACTS.c.action.in_(POLICY_ACTIONS)]


def archives_between(since: datetime | None, until: datetime | None) -> list[ColumnElement[bool]]:
    """Months that have left for archives and in which acts of that time may have been."""
    clauses = []
    if since is not None:
        clauses.append(AuditArchive.ends_at > since)
    if until is not None:
        clauses.append(AuditArchive.begins_at < until)
    return clauses


def archived_months(since: datetime | None, until: datetime | None) -> ScalarSelect[Any]:
    """Their names, the oldest first: what the answer to a question about that time lacks."""
    names = select(AuditArchive.name).where(*archives_between(since, until)).order_by(AuditArchive.begins_at)
    return select(func.array(names.scalar_subquery(), type_=ARRAY(String))).scalar_subquery()


def was_used(grant_id: SQLColumnExpression[UUID]) -> ColumnElement[bool]:
    """Whether any read of data stands on the grant."""
    event = aliased(AuditEvent)
    return (
        select(event.id)
        .where(event.access_grant_id == grant_id, event.permission_class == "DATA_READ", event.outcome != "REFUSED")
        .exists()
    )


def policy_at(moment: datetime) -> Subquery:
    """The ids of the lines that were in force then: of each key the last one before, unless it had ended."""
    last = (
        select(PolicyHistory.id, PolicyHistory.line)
        .where(PolicyHistory.changed_at <= moment)
        .ext(distinct_on(PolicyHistory.kind, PolicyHistory.key))
        .order_by(PolicyHistory.kind, PolicyHistory.key, PolicyHistory.changed_at.desc(), PolicyHistory.id)
        .subquery("last_lines")
    )
    return select(last.c.id).where(last.c.line.is_not(None)).subquery("lines_then")
