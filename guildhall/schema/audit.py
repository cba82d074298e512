"""The audit record as auditors read it; it names types of every package, so it stands in the root."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, DateTime, ScalarSelect, case, cast, false, func, select, true
from sqlalchemy.orm import aliased

from guildhall.audit import questions
from guildhall.audit.personal import erase_person
from guildhall.audit.questions import PolicyLineKind
from guildhall.audit.record import record
from guildhall.audit.search import ACTS, PERMISSION, is_about, visible_acts
from guildhall.audit.tables import AuditArchivedUse, AuditEvent, Outcome, PolicyHistory
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import require
from guildhall.auth.permissions import PermissionClass
from guildhall.auth.resources import ResourceRef
from guildhall.auth.tables import ServiceAccount
from guildhall.errors import NotFound
from guildhall.graphql.context import Call, Context
from guildhall.graphql.declare import (
    column,
    connection,
    extend,
    node,
    object_type,
    one,
    payload,
    reason,
    reference,
    references,
)
from guildhall.graphql.filters import filters, matches, matching
from guildhall.graphql.ids import decode_id, split_id
from guildhall.graphql.inputs import MutationInput, input_type
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID, JSON, BigInt
from guildhall.graphql.sources import Scope
from guildhall.graphql.statements import Order
from guildhall.schema.viewer import ACTORS
from registry.access.tables import AccessGrant

RESOURCES = (
    "Team", "User", "ServiceAccount",
    "Model", "ModelVersion", "Dataset", "DatasetVersion", "Package", "Lesson", "Adoption",
    "AccessRequest", "AccessGrant",
    "Programme", "Allocation", "Transfer", "Quote",
    "Cluster", "Pool", "Job",
    "Webhook",
)  # fmt: skip
"""The types of things that acts are about and that can be shown; others stay out of `resources`."""


ERASE = "guildhall:audit:erase"

USE = aliased(AuditEvent, name="use")

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


NEWEST_FIRST = [Order(ACTS.c.occurred_at, descending=True, partitioned=True)]


def _ref(value: str) -> tuple[str, UUID]:
    found = split_id(value)
    if found is None:
        raise UnknownResource(f"{value[:80]!r} is no id.", field="filter")
    return found


def _key(value: str) -> UUID:
    return _ref(value)[1]


def _about(value: str, _context: Context) -> ColumnElement[bool]:
    return is_about(_key(value))


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
    permission_class: PermissionClass = matches(ACTS.c.permission_class)
    team_id: ID = matching(lambda value, _context: ACTS.c.team_id == _key(value))
    access_grant_id: ID = matching(lambda value, _context: ACTS.c.access_grant_id == _key(value))


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
    leaf_number: BigInt | None = column(
        ACTS.c.leaf_number, description="Its leaf in the sealed tree under /audit/log; null: not sealed yet."
    )
    erased_at: datetime | None = column(
        ACTS.c.erased_at, description="Since when the caller's address and words are erased."
    )
    before: JSON | None = column(ACTS.c.before)
    after: JSON | None = column(ACTS.c.after)
    resources = references(ACTS.c.resource_types, ACTS.c.resource_ids, types={name: name for name in RESOURCES})


def _asked(clauses: Sequence[ColumnElement[bool]], since: datetime | None, until: datetime | None) -> Scope:
    months = questions.archived_months(since, until)
    return Scope(where=[*clauses, *questions.between(since, until)], facts={"archivedMonths": months})


def _of_all_times(_context: Context) -> Scope:
    return _asked([], None, None)


@object_type("ArchivedMonths")
class ArchivedMonths:
    """What an answer lacks."""

    archived_months: list[str] = column(
        "archivedMonths",
        description="Months such as 2026-01 of the asked time, or of all where none was, that have left for archives: "
        "`python -m guildhall search-archive` asks those.",
    )


@extend("Query")
class AuditQueries:
    """The audit record."""

    audit_events = connection(
        "AuditEvent",
        filter=AuditFilter,
        scope=_of_all_times,
        facts=ArchivedMonths,
        default_order=NEWEST_FIRST,
        total_count=False,
        permission=PERMISSION,
        description="What was done and refused, newest first.",
    )


def _reads_of(
    _context: Context, *, resource_id: ID, since: datetime | None = None, until: datetime | None = None
) -> Scope:
    about = questions.acts_about(_key(resource_id), since, until)
    asked = _asked(questions.data_reads(about), since, until)
    return replace(asked, rows=about, order_by=[Order(about.c.act_at, descending=True, partitioned=True)])


def _acts_of(_context: Context, *, actor_id: ID, since: datetime | None = None, until: datetime | None = None) -> Scope:
    return _asked(questions.acts_of(*_ref(actor_id)), since, until)


def _without_grant(_context: Context, *, since: datetime | None = None, until: datetime | None = None) -> Scope:
    return _asked(questions.reads_without_grant(), since, until)


def _policy_changes(_context: Context, *, since: datetime | None = None, until: datetime | None = None) -> Scope:
    return _asked(questions.policy_changes(), since, until)


def _policy_at(_context: Context, *, moment: datetime) -> Scope:
    return Scope(rows=questions.policy_at(moment))


def _visible_policy(actor: Actor) -> ColumnElement[bool]:
    return true() if actor.may(PERMISSION, None) else false()


@filters("PolicyLineFilter")
class PolicyLineFilter:
    """Which lines."""

    kind: PolicyLineKind = matches(PolicyHistory.kind)


@node("PolicyLine", table=PolicyHistory, visible=_visible_policy, permission=PERMISSION)
class PolicyLineType:
    """One line of the policy as it was: a role that somebody holds, a rule of a role, or a team in its tree."""

    kind: PolicyLineKind = column(PolicyHistory.kind)
    changed_at: datetime = column(PolicyHistory.changed_at, description="Since when it read so.")
    line: JSON | None = column(PolicyHistory.line, description="Null: it ended then.")


def _question(scope: Callable[..., Scope], description: str) -> Any:  # noqa: ANN401 -- what `connection` returns
    return connection(
        "AuditEvent",
        scope=scope,
        facts=ArchivedMonths,
        default_order=NEWEST_FIRST,
        total_count=False,
        permission=PERMISSION,
        description=description + " Newest first.",
    )


@extend("Query")
class AuditQuestions:
    """What auditors ask most."""

    data_reads = _question(_reads_of, "Who read this data between two moments; a data set covers its versions.")
    acts_of = _question(_acts_of, "Everything that this person or program did, by their jobs as well.")
    reads_without_grant = _question(_without_grant, "Reads of data that no access grant stands behind.")
    policy_changes = _question(_policy_changes, "Every change of who may what.")
    policy_at = connection(
        "PolicyLine",
        name="PolicyAt",
        filter=PolicyLineFilter,
        scope=_policy_at,
        default_order=[PolicyHistory.kind, PolicyHistory.key],
        total_count=False,
        permission=PERMISSION,
        description="What the policy said at that moment.",
    )
    unused_access_grants = connection(
        "AccessGrant",
        name="UnusedAccessGrant",
        where=[~questions.was_used(AccessGrant.id)],
        scope=_of_all_times,
        facts=ArchivedMonths,
        default_order=[AccessGrant.valid_from.desc()],
        total_count=False,
        permission=PERMISSION,
        description="Access grants that nothing was ever read by.",
    )


def _use(*values: ColumnElement[Any]) -> ScalarSelect[Any]:
    """Of the reads that stand on a grant and are in the record."""
    used = questions.used_by(USE, AccessGrant.id, AccessGrant.valid_from, AccessGrant.valid_to)
    return select(*values).where(*used).correlate(AccessGrant).scalar_subquery()


def _archived_use(value: ColumnElement[Any]) -> ScalarSelect[Any]:
    """Of those in months that have left for archives."""
    of_grant = AuditArchivedUse.access_grant_id == AccessGrant.id
    return select(value).where(of_grant).correlate(AccessGrant).scalar_subquery()


_ARCHIVED_TIMES = func.coalesce(_archived_use(func.sum(AuditArchivedUse.times)), 0)


@extend("AccessGrant")
class AccessGrantUse:
    """How long access lasted, beside how long it might have; months that have left for archives count too."""

    first_used_at: datetime | None = column(
        func.least(
            _use(func.min(USE.act_at)),
            _archived_use(func.min(AuditArchivedUse.first_used_at)),
            type_=DateTime(timezone=True),
        ),
        description="Null: never.",
    )
    last_used_at: datetime | None = column(
        func.greatest(
            _use(func.max(USE.act_at)),
            _archived_use(func.max(AuditArchivedUse.last_used_at)),
            type_=DateTime(timezone=True),
        ),
        description="Null: never.",
    )
    times_used: int = column(
        cast(_use(func.count(USE.id)) + _ARCHIVED_TIMES, BigInteger),
        description="How often data was read by it; what was refused is no read.",
    )


@input_type
class ErasePersonalValuesInput(MutationInput):
    """Whose."""

    user_id: ID


@payload
class ErasePersonalValuesPayload:
    """Of how many events; the events themselves and their proof stay."""

    events: int | None = column("events")


@extend("Mutation")
class AuditMutations:
    """What may be taken out of the record: nothing but a person's own values."""

    @mutation(permission=ERASE, payload=ErasePersonalValuesPayload)
    async def erase_personal_values(call: Call, given: ErasePersonalValuesInput) -> Mapping[str, Any]:
        """Erase a person's addresses, words and names from the audit record, for good."""
        key = decode_id(given.user_id, "User", field="userId")
        require(call.actor, ERASE, team_id=None)
        events = await erase_person(call.session, key, at=call.at)
        await record(
            call.session, call.actor, action=ERASE, resources=[ResourceRef("User", key)], rows=events, at=call.at,
            new_id=call.new_id,
        )  # fmt: skip
        return {"events": events}


TYPES = [
    AuditEventType, AuditQueries, PolicyLineType, AuditQuestions, AccessGrantUse, ErasePersonalValuesPayload,
    AuditMutations,
]  # fmt: skip
