"""What auditors ask, as conditions on acts: each rests on an index, and on the partitions of the asked time alone."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, ScalarSelect, SQLColumnExpression, String, Subquery, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on

from guildhall.audit.search import ACTS, speaks_of
from guildhall.audit.tables import (
    POLICY_ACTIONS,
    AuditArchive,
    AuditEvent,
    AuditResource,
    AuditUsedGrant,
    PolicyHistory,
)


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


def acts_about(resource_id: UUID, since: datetime | None, until: datetime | None) -> Subquery:
    """The ids and moments of what was done about it, to be joined to acts; that of a data set covers its versions."""
    of_time = [AuditResource.act_at >= since] if since is not None else []
    of_time += [AuditResource.act_at < until] if until is not None else []
    statement = select(AuditResource.event_id.label("id"), AuditResource.act_at, AuditResource.resource_id)
    return statement.where(AuditResource.resource_id == resource_id, *of_time).subquery("about")


def data_reads(about: Subquery) -> list[ColumnElement[bool]]:
    """Who read this data, where `acts_about` it is joined by the id; the event, which is sealed, must say so too."""
    # Two comparisons for one: by equality of both columns the planner would take a pair of rows for a rare thing.
    at_once = (ACTS.c.occurred_at >= about.c.act_at, ACTS.c.occurred_at <= about.c.act_at)
    return [*at_once, speaks_of(about.c.resource_id), ACTS.c.permission_class == "DATA_READ"]


def acts_of(kind: str, actor_id: UUID) -> list[ColumnElement[bool]]:
    """Everything that this person or program did, by a job of theirs as well; of a `Job`, what it did itself.

    Who acts on behalf of somebody is a job or a part of the platform, so one index has the acts of whoever answers.
    """
    if kind == "Job":
        return [ACTS.c.actor_id == actor_id]
    return [func.coalesce(ACTS.c.on_behalf_of_id, ACTS.c.actor_id) == actor_id]


def reads_without_grant() -> list[ColumnElement[bool]]:
    """Reads of data that no access grant stands behind: by role alone, or refused."""
    return [ACTS.c.permission_class == "DATA_READ", ACTS.c.access_grant_id.is_(None)]


def policy_changes() -> list[ColumnElement[bool]]:
    """Every change of who may what."""
    return [
        ACTS.c.permission_class == literal_column("'ADMIN_WRITE'"),
        ACTS.c.action.in_([literal_column(f"'{action}'") for action in POLICY_ACTIONS]),
    ]


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


def used_by(
    event: type[AuditEvent],
    grant_id: SQLColumnExpression[UUID],
    valid_from: SQLColumnExpression[datetime],
    valid_to: SQLColumnExpression[datetime],
) -> list[ColumnElement[bool]]:
    """Events of reading data by a grant. None is older or younger than the grant, which leaves out other months."""
    return [
        event.access_grant_id == grant_id,
        event.permission_class == "DATA_READ",
        event.outcome != "REFUSED",
        event.concludes_id.is_(None),
        event.act_at >= valid_from,
        event.act_at < valid_to,
    ]


def was_used(grant_id: SQLColumnExpression[UUID]) -> ColumnElement[bool]:
    """Whether data was ever read by the grant, also in months that have left for archives."""
    return select(AuditUsedGrant.access_grant_id).where(AuditUsedGrant.access_grant_id == grant_id).exists()


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
