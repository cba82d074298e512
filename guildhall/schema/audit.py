"""The audit record as auditors read it; it names types of every package, so it stands in the root."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, case, select

from guildhall.audit.search import ACTS, PERMISSION, about_any, visible_acts
from guildhall.audit.tables import Outcome
from guildhall.auth.permissions import PermissionClass
from guildhall.auth.tables import ServiceAccount
from guildhall.errors import NotFound
from guildhall.graphql.context import Context
from guildhall.graphql.declare import column, connection, extend, node, one, reason, reference, references
from guildhall.graphql.filters import filters, matches, matching
from guildhall.graphql.ids import split_id
from guildhall.graphql.scalars import ID, JSON, BigInt
from guildhall.schema.viewer import ACTORS

RESOURCES = (
    "Team", "User", "ServiceAccount",
    "Model", "ModelVersion", "Dataset", "DatasetVersion", "Package", "Lesson", "Adoption",
    "AccessRequest", "AccessGrant",
    "Programme", "Allocation", "Transfer", "Quote",
    "Cluster", "Pool", "Job",
)  # fmt: skip
"""The types of things that acts are about and that can be shown; others stay out of `resources`."""


SUBMITTER_KIND = case(
    (
        select(ServiceAccount.id).where(ServiceAccount.id == ACTS.c.on_behalf_of_id).correlate(ACTS).exists(),
        "SERVICE_ACCOUNT",
    ),
    else_="USER",
)
"""Who submits a job is a person or a program; the event has the id alone."""


class UnknownResource(NotFound):
    """An id in a filter that is none."""


def _key(value: str) -> UUID:
    found = split_id(value)
    if found is None:
        raise UnknownResource(f"{value[:80]!r} is no id.", field="filter")
    return found[1]


def _about(value: str, _context: Context) -> ColumnElement[bool]:
    return about_any([_key(value)])


@filters("AuditFilter")
class AuditFilter:
    """Which acts."""

    resource_id: ID = matching(_about, description="Acts on this; the id of a data set covers its versions.")
    action: str = matches(ACTS.c.action)
    occurred_at: datetime = matches(ACTS.c.occurred_at)
    actor_id: ID = matching(lambda value, _context: ACTS.c.actor_id == _key(value))
    on_behalf_of_id: ID = matching(lambda value, _context: ACTS.c.on_behalf_of_id == _key(value))
    outcome: Outcome = matches(ACTS.c.outcome)
    request_id: str = matching(lambda value, _context: ACTS.c.request_id == value)


@node("AuditEvent", table=ACTS, visible=visible_acts, permission=PERMISSION, team=ACTS.c.team_id)
class AuditEventType:
    """One act of one caller under one permission, allowed or refused; for data that left, with what really left."""

    occurred_at: datetime = column(ACTS.c.occurred_at)
    concluded_at: datetime | None = column(ACTS.c.concluded_at, description="When the data had left.")
    action: str = column(ACTS.c.action, description="The permission that was used or refused.")
    permission_class: PermissionClass = column(ACTS.c.permission_class)
    outcome: Outcome = column(ACTS.c.outcome)
    reason = reason(ACTS.c.reason_code, ACTS.c.reason_message)
    actor = reference(ACTS.c.actor_kind, ACTS.c.actor_id, types=ACTORS, description="Null for the platform itself.")
    on_behalf_of = reference(SUBMITTER_KIND, ACTS.c.on_behalf_of_id, types=ACTORS, description="Who submitted the job.")
    team = one("Team", local=ACTS.c.team_id)
    purpose: str | None = column(ACTS.c.purpose)
    justification: str | None = column(ACTS.c.justification)
    access_grant = one("AccessGrant", local=ACTS.c.access_grant_id)
    rows: BigInt | None = column(ACTS.c.rows)
    bytes: BigInt | None = column(ACTS.c.bytes)
    request_id: str | None = column(ACTS.c.request_id)
    address: str | None = column(ACTS.c.address)
    client: str | None = column(ACTS.c.client)
    before: JSON | None = column(ACTS.c.before)
    after: JSON | None = column(ACTS.c.after)
    resources = references(ACTS.c.resource_types, ACTS.c.resource_ids, types={name: name for name in RESOURCES})


@extend("Query")
class AuditQueries:
    """The audit record."""

    audit_events = connection(
        "AuditEvent",
        filter=AuditFilter,
        default_order=[ACTS.c.occurred_at.desc()],
        total_count=False,
        permission=PERMISSION,
        description="What was done and refused, newest first.",
    )


TYPES = [AuditEventType, AuditQueries]
