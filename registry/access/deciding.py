"""Deciding a request, once: a steward of everything concerned, never the requester, approves, narrows or refuses it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import insert, select

from guildhall.audit.record import record
from guildhall.auth.actor import Actor
from guildhall.auth.authorize import Refused
from guildhall.auth.resources import ResourceRef
from guildhall.clock import IdSource
from guildhall.db.locks import lock_rows
from guildhall.db.transaction import ReadSession, WriteSession
from guildhall.errors import Conflict, Invalid, NotFound
from registry.access.facts import Guarded, load_guarded
from registry.access.naming import KIND_OF, TYPE_OF
from registry.access.needs import ends_at
from registry.access.requests import require_duration
from registry.access.tables import (
    AccessGrant,
    AccessGrantResource,
    AccessRequest,
    AccessRequestResource,
    AccessRequestState,
)
from registry.access.visibility import visible_access_requests
from registry.datasets.stewards import require_steward
from registry.datasets.tables import DatasetVersion
from registry.texts import require_text

DECIDE = "registry:access:decide"
REASON_CHARACTERS_MAX = 5_000


class AlreadyDecided(Conflict):
    """A request is decided once; what comes after is a new request, or a withdrawal."""

    code = "ALREADY_DECIDED"


class RequesterCannotDecide(Refused):
    """Nobody approves what they asked for, or what is for themself."""

    code = "REQUESTER_CANNOT_DECIDE"


class InvalidNarrowing(Invalid):
    """A narrowing that is wider than what was asked for."""

    code = "INVALID_NARROWING"


class NothingLeft(Invalid):
    """An approval that would open nothing."""

    code = "NOTHING_TO_APPROVE"


class DecisionKind(StrEnum):
    """What a steward can say."""

    APPROVE = "APPROVE"
    REFUSE = "REFUSE"


@dataclass(frozen=True, kw_only=True)
class Narrowing:
    """What of a request is approved: less time, only some of its resources (or versions of them), only some columns."""

    duration_seconds: int | None = None
    resources: Sequence[ResourceRef] | None = None
    columns: Sequence[str] | None = None


@dataclass(frozen=True)
class Decided:
    """The request, and the grant where it was approved."""

    access_request_id: UUID
    access_grant_id: UUID | None


async def decide_access(
    session: WriteSession,
    actor: Actor,
    *,
    access_request_id: UUID,
    decision: DecisionKind,
    reason: str | None,
    narrow: Narrowing | None = None,
    at: datetime,
    new_id: IdSource,
) -> Decided:
    """Approve or refuse; a refusal has to give its reason. A grant counts from now, and ends by itself.

    Raises NotFound, RequesterCannotDecide, StewardRequired, AlreadyDecided, InvalidNarrowing, NothingLeft.
    """
    request = await _lock(session, actor, access_request_id)
    named = await _named(session, request.id)
    guarded = await load_guarded(session, named)
    await _require_decider(session, actor, request, guarded.values())
    if request.state != AccessRequestState.PENDING:
        raise AlreadyDecided(f"This request was {request.state.lower()} already.", field="accessRequestId")
    refused = decision is DecisionKind.REFUSE
    text = require_text(reason, "reason", characters_max=REASON_CHARACTERS_MAX, empty_allowed=not refused)
    grant = None if refused else await _grant(session, actor, request, named, narrow, at=at, new_id=new_id)
    request.state = AccessRequestState.REFUSED if refused else AccessRequestState.APPROVED
    request.decided_at = at
    request.decided_by = actor.id
    request.decision_reason = text or None
    await session.flush()
    after: dict[str, object] = {"accessRequestId": request.id, "state": request.state, "reason": text or None}
    if grant is not None:
        after |= {"validTo": grant.valid_to, "columns": grant.columns}
    await record(
        session,
        actor,
        action=DECIDE,
        team_id=request.beneficiary_team_id,
        resources=[*named, *_wholes(guarded.values())],
        purpose=request.purpose,
        justification=request.justification,
        access_grant_id=None if grant is None else grant.id,
        before={"state": AccessRequestState.PENDING},
        after=after,
        at=at,
        new_id=new_id,
    )
    return Decided(request.id, None if grant is None else grant.id)


async def _lock(session: WriteSession, actor: Actor, request_id: UUID) -> AccessRequest:
    """The request, held, so that two stewards decide one after the other; NotFound where the actor cannot see it."""
    statement = select(AccessRequest.id).where(AccessRequest.id == request_id, visible_access_requests(actor))
    if await session.scalar(statement) is None:
        raise NotFound("There is no such access request.", field="accessRequestId")
    (request,) = await lock_rows(session, AccessRequest, [request_id])
    return request


async def _named(session: ReadSession, request_id: UUID) -> list[ResourceRef]:
    statement = (
        select(AccessRequestResource.resource_kind, AccessRequestResource.resource_id)
        .where(AccessRequestResource.request_id == request_id)
        .order_by(AccessRequestResource.resource_kind, AccessRequestResource.resource_id)
    )
    return [ResourceRef(TYPE_OF[kind], resource_id) for kind, resource_id in (await session.execute(statement))]


async def _require_decider(
    session: ReadSession, actor: Actor, request: AccessRequest, guarded: Collection[Guarded]
) -> None:
    """A steward of every data set that the resources come from now, which may be more than when it was asked."""
    dataset_ids = frozenset[UUID]().union(*(facts.deciding_datasets for facts in guarded))
    await require_steward(session, actor, sorted(dataset_ids), permission=DECIDE, team_id=request.beneficiary_team_id)
    if actor.id in {request.requester_id, request.beneficiary_user_id}:
        raise RequesterCannotDecide(
            "Nobody decides about their own request for access: another steward has to.",
            permission=DECIDE,
            resources=[ResourceRef("AccessRequest", request.id), *_wholes(guarded)],
            team_id=request.beneficiary_team_id,
            purpose=request.purpose,
        )


async def _grant(
    session: WriteSession,
    actor: Actor,
    request: AccessRequest,
    named: Sequence[ResourceRef],
    narrow: Narrowing | None,
    *,
    at: datetime,
    new_id: IdSource,
) -> AccessGrant:
    narrow = narrow or Narrowing()
    seconds = request.duration_seconds
    if narrow.duration_seconds is not None:
        require_duration(narrow.duration_seconds, field="narrow.durationSeconds")
        if narrow.duration_seconds > seconds:
            raise InvalidNarrowing(f"Only {seconds} seconds were asked for.", field="narrow.durationSeconds")
        seconds = narrow.duration_seconds
    granted = await _narrowed(session, named, narrow.resources)
    facts = await load_guarded(session, granted)
    columns = await _narrowed_columns(session, granted, narrow.columns)
    valid_to = ends_at(facts.values(), at, seconds)
    _require_something_left(request, facts.values(), valid_to, at)
    grant = AccessGrant(
        id=new_id(),
        basis=request.basis,
        request_id=request.id,
        beneficiary_team_id=request.beneficiary_team_id,
        beneficiary_user_id=request.beneficiary_user_id,
        purpose=request.purpose,
        justification=request.justification,
        columns=columns,
        valid_from=at,
        valid_to=valid_to,
        approved_by=actor.id,
        created_at=at,
    )
    session.add(grant)
    await session.flush()
    rows = [
        {"grant_id": grant.id, "resource_kind": KIND_OF[resource.type], "resource_id": resource.id}
        for resource in granted
    ]
    await session.execute(insert(AccessGrantResource), rows)
    return grant


async def _narrowed(
    session: ReadSession, named: Sequence[ResourceRef], narrowed: Sequence[ResourceRef] | None
) -> list[ResourceRef]:
    """The resources to grant: those asked for, or fewer, or versions of a data set that was asked for as a whole."""
    if narrowed is None:
        return list(named)
    chosen = list(dict.fromkeys(narrowed))
    wholes = [resource.id for resource in named if resource.type == "Dataset"]
    others = [resource.id for resource in chosen if resource.type == "DatasetVersion"]
    statement = select(DatasetVersion.id).where(DatasetVersion.id.in_(others), DatasetVersion.dataset_id.in_(wholes))
    versions = set((await session.scalars(statement)).all())
    for number, resource in enumerate(chosen):
        if resource not in named and resource.id not in versions:
            raise InvalidNarrowing("This was not asked for.", field=f"narrow.resourceIds[{number}]")
    if not chosen:
        raise NothingLeft(
            "An approval opens at least one resource. Refuse the request instead.", field="narrow.resourceIds"
        )
    return chosen


async def _narrowed_columns(
    session: ReadSession, granted: Sequence[ResourceRef], columns: Sequence[str] | None
) -> list[str] | None:
    """The columns to grant, all of which must be in the data; a model's bytes cannot be told apart by column."""
    if columns is None:
        return None
    if any(resource.type == "ModelVersion" for resource in granted):
        raise InvalidNarrowing("A model version cannot be narrowed to columns.", field="narrow.columns")
    ids = [resource.id for resource in granted]
    statement = select(DatasetVersion.columns).where(DatasetVersion.id.in_(ids) | DatasetVersion.dataset_id.in_(ids))
    known = {column["name"] for version in await session.scalars(statement) for column in version}
    for number, name in enumerate(columns):
        if name not in known:
            raise InvalidNarrowing(f"There is no column {name!r} in this data.", field=f"narrow.columns[{number}]")
    if not columns:
        raise NothingLeft("An approval opens at least one column. Refuse the request instead.", field="narrow.columns")
    return sorted(set(columns))


def _require_something_left(
    request: AccessRequest, guarded: Collection[Guarded], valid_to: datetime, at: datetime
) -> None:
    """The legal record may have changed since the request was written."""
    if valid_to <= at:
        raise NothingLeft("The retention of this data has ended: it may not be read any more.", field="accessRequestId")
    for facts in guarded:
        permitted = facts.permitted_purposes
        if request.purpose is not None and permitted is not None and request.purpose not in permitted:
            raise NothingLeft(f"The data does not permit {request.purpose} any more.", field="accessRequestId")


def _wholes(guarded: Collection[Guarded]) -> list[ResourceRef]:
    """The data sets concerned, so that a search of the audit record for one of them finds the decision."""
    ids = frozenset[UUID]().union(*(facts.deciding_datasets for facts in guarded))
    return [
        ResourceRef("Dataset", dataset_id)
        for dataset_id in sorted(ids)
        if all(facts.resource.id != dataset_id for facts in guarded)
    ]
