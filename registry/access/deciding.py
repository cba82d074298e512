"""Deciding a request, once: a steward of everything concerned, never the requester, approves, narrows or refuses it.

RESTRICTED data needs two stewards, and a model of a risk tier with named reviewers one of each kind of them as well.
"""

from collections.abc import Collection, Mapping
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
from guildhall.errors import Conflict, NotFound
from registry.access.approvals import (
    Approver,
    add_approval,
    approved_extent,
    load_approvals,
    still_missing,
)
from registry.access.facts import Guarded, load_guarded
from registry.access.naming import KIND_OF, TYPE_OF
from registry.access.narrowing import Extent, Narrowing, NothingLeft, narrow_extent
from registry.access.needs import ends_at
from registry.access.reviewers import reviews_needed
from registry.access.tables import (
    AccessGrant,
    AccessGrantResource,
    AccessRequest,
    AccessRequestResource,
    AccessRequestState,
    Capacity,
    ReviewSubject,
)
from registry.access.telling import tell_decided
from registry.access.visibility import visible_access_requests
from registry.datasets.stewards import require_steward, stewarded
from registry.texts import require_text

DECIDE = "registry:access:decide"
REASON_CHARACTERS_MAX = 5_000


class AlreadyDecided(Conflict):
    """A request is decided once; what comes after is a new request, or a withdrawal."""

    code = "ALREADY_DECIDED"


class RequesterCannotDecide(Refused):
    """Nobody approves what they asked for, or what is for themself."""

    code = "REQUESTER_CANNOT_DECIDE"


class DecisionKind(StrEnum):
    """What a steward can say."""

    APPROVE = "APPROVE"
    REFUSE = "REFUSE"


@dataclass(frozen=True)
class Decided:
    """The request, and the grant where everybody who has to has approved it."""

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

    Where more than one person has to approve, the grant comes with the last of them; any of them refuses for all.
    Raises NotFound, RequesterCannotDecide, StewardRequired, AlreadyDecided, InvalidNarrowing, NothingLeft.
    """
    request = await _lock(session, actor, access_request_id)
    named = await _named(session, request.id)
    guarded = await load_guarded(session, named)
    reviewed = await reviews_needed(session, named)
    capacity = await _require_decider(session, actor, request, guarded.values(), reviewed)
    if request.state != AccessRequestState.PENDING:
        raise AlreadyDecided(f"This request was {request.state.lower()} already.", field="accessRequestId")
    refused = decision is DecisionKind.REFUSE
    text = require_text(reason, "reason", characters_max=REASON_CHARACTERS_MAX, empty_allowed=not refused)
    before = await load_approvals(session, request.id)
    if not refused and any(approval.user_id == actor.id for approval in before):
        message = "You have approved this request already; it waits for somebody else."
        raise AlreadyDecided(message, field="accessRequestId")
    after: dict[str, object] = {"accessRequestId": request.id, "reason": text or None}
    grant: AccessGrant | None = None
    if refused:
        _close(request, actor, AccessRequestState.REFUSED, text, at)
    else:
        extent = await narrow_extent(session, approved_extent(request, named, before), narrow)
        await add_approval(session, request.id, actor.id, capacity, extent, reason=text or None, at=at)
        missing = still_missing(request, guarded.values(), reviewed, [*before, Approver(actor.id, capacity)])
        after |= {"approvals": len(before) + 1, "missing": missing, **_as_json(extent)}
        if not missing:
            grant = await _grant(session, actor, request, extent, at=at, new_id=new_id)
            _close(request, actor, AccessRequestState.APPROVED, text, at)
            after |= {"validTo": grant.valid_to}
    await session.flush()
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
        after={**after, "state": request.state},
        at=at,
        new_id=new_id,
    )
    if request.state != AccessRequestState.PENDING:
        valid_to = None if grant is None else grant.valid_to
        await tell_decided(session, actor, request, named, valid_to=valid_to, at=at, new_id=new_id)
    return Decided(request.id, None if grant is None else grant.id)


def _close(request: AccessRequest, actor: Actor, state: AccessRequestState, text: str, at: datetime) -> None:
    request.state = state
    request.decided_at = at
    request.decided_by = actor.id
    request.decision_reason = text or None


def _as_json(extent: Extent) -> dict[str, object]:
    limits = extent.sample
    return {
        "durationSeconds": extent.duration_seconds,
        "columns": extent.columns,
        "firstRows": None if limits is None else limits.first_rows,
        "sampleMillionths": None if limits is None else limits.millionths,
    }


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
    session: ReadSession,
    actor: Actor,
    request: AccessRequest,
    guarded: Collection[Guarded],
    reviewed: Mapping[ReviewSubject, Collection[UUID]],
) -> Capacity:
    """A steward of every data set that the resources come from now, or a reviewer whom the risk of a model asks for."""
    dataset_ids = frozenset[UUID]().union(*(facts.deciding_datasets for facts in guarded))
    reviews = actor.shows_token_for(DECIDE) and any(actor.id in people for people in reviewed.values())
    if not reviews or await stewarded(session, actor, dataset_ids) >= dataset_ids:
        team_id = request.beneficiary_team_id
        await require_steward(session, actor, sorted(dataset_ids), permission=DECIDE, team_id=team_id)
        reviews = False
    if actor.id in {request.requester_id, request.beneficiary_user_id}:
        raise RequesterCannotDecide(
            "Nobody decides about their own request for access: another steward has to.",
            permission=DECIDE,
            resources=[ResourceRef("AccessRequest", request.id), *_wholes(guarded)],
            team_id=request.beneficiary_team_id,
            purpose=request.purpose,
        )
    return Capacity.REVIEWER if reviews else Capacity.STEWARD


async def _grant(
    session: WriteSession, actor: Actor, request: AccessRequest, extent: Extent, *, at: datetime, new_id: IdSource
) -> AccessGrant:
    facts = await load_guarded(session, extent.resources)
    valid_to = ends_at(facts.values(), at, extent.duration_seconds)
    _require_something_left(request, facts.values(), valid_to, at)
    grant = AccessGrant(
        id=new_id(),
        basis=request.basis,
        request_id=request.id,
        beneficiary_team_id=request.beneficiary_team_id,
        beneficiary_user_id=request.beneficiary_user_id,
        purpose=request.purpose,
        justification=request.justification,
        columns=None if extent.columns is None else list(extent.columns),
        first_rows=None if extent.sample is None else extent.sample.first_rows,
        sample_millionths=None if extent.sample is None else extent.sample.millionths,
        valid_from=at,
        valid_to=valid_to,
        approved_by=actor.id,
        created_at=at,
    )
    session.add(grant)
    await session.flush()
    rows = [
        {"grant_id": grant.id, "resource_kind": KIND_OF[resource.type], "resource_id": resource.id}
        for resource in extent.resources
    ]
    await session.execute(insert(AccessGrantResource), rows)
    return grant


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
