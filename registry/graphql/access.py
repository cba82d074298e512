"""Access to data: requests, decisions, grants, and what the caller may read."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Float, cast, func
from strawberry import UNSET

from guildhall.auth.resources import ResourceRef
from guildhall.graphql.context import Call, Context
from guildhall.graphql.declarations import FieldDeclaration
from guildhall.graphql.declare import (
    batched,
    column,
    connection,
    extend,
    json_object,
    many,
    node,
    object_type,
    one,
    payload,
    references,
)
from guildhall.graphql.filters import filters, matches
from guildhall.graphql.ids import decode_id, decode_reference
from guildhall.graphql.inputs import MutationInput, input_type, one_of_input
from guildhall.graphql.mutations import mutation
from guildhall.graphql.scalars import ID, BigInt
from guildhall.graphql.sources import Operand
from registry.access.deciding import DECIDE, DecisionKind, decide_access
from registry.access.decision import READ_PERMISSIONS, decide_reads, reading_person, reading_teams
from registry.access.naming import KIND_OF, TYPE_OF
from registry.access.narrowing import Narrowing, SampleSpec
from registry.access.requests import REQUEST, Beneficiary, request_access
from registry.access.tables import (
    AccessApproval,
    AccessBasis,
    AccessGrant,
    AccessGrantResource,
    AccessRequest,
    AccessRequestResource,
    AccessRequestState,
    Capacity,
)
from registry.access.visibility import requests_to_decide, visible_access_grants, visible_access_requests
from registry.access.withdrawal import WITHDRAW, withdraw_access
from registry.minimisation.filters import MILLIONTHS
from registry.models.tables import ModelVersion

APPROVALS_MAX = 20


ENDS_WITHIN = timedelta(days=7)


def about_to_end(at: datetime) -> list[ColumnElement[bool]]:
    """Grants that still count and will not in a week."""
    return [AccessGrant.withdrawn_at.is_(None), AccessGrant.valid_to > at, AccessGrant.valid_to <= at + ENDS_WITHIN]


@filters("AccessRequestFilter")
class AccessRequestFilter:
    """Which requests."""

    state: AccessRequestState = matches(AccessRequest.state)
    created_at: datetime = matches(AccessRequest.created_at)


@node("AccessRequest", table=AccessRequest, visible=visible_access_requests, permission=REQUEST)
class AccessRequestType:
    """Somebody asks that a team or a person may read data, for one purpose and a time."""

    basis: AccessBasis = column(AccessRequest.basis)
    state: AccessRequestState = column(AccessRequest.state)
    created_at: datetime = column(AccessRequest.created_at)
    requester = one("User", local=AccessRequest.requester_id, nullable=False)
    team = one("Team", local=AccessRequest.beneficiary_team_id, description="The team that is to read, if it is one.")
    person = one(
        "User", local=AccessRequest.beneficiary_user_id, description="The person who is to read, if it is one."
    )
    purpose: str | None = column(AccessRequest.purpose, description="Null: every purpose that the data set permits.")
    justification: str = column(AccessRequest.justification)
    duration_seconds: int = column(AccessRequest.duration_seconds)
    resources = references(
        AccessRequestResource.resource_kind,
        AccessRequestResource.resource_id,
        types=TYPE_OF,
        table=AccessRequestResource,
        local=AccessRequest.id,
        remote=AccessRequestResource.request_id,
        order_by=[AccessRequestResource.resource_kind, AccessRequestResource.resource_id],
    )
    approvals = many(
        "AccessApproval",
        local=AccessRequest.id,
        remote=AccessApproval.request_id,
        order_by=[AccessApproval.approved_at, AccessApproval.user_id],
        maximum=APPROVALS_MAX,
        description="Who has approved so far; restricted data and risky models need more than one.",
    )
    decided_at: datetime | None = column(AccessRequest.decided_at)
    decided_by = one("User", local=AccessRequest.decided_by)
    decision_reason: str | None = column(AccessRequest.decision_reason)
    access_grant = one("AccessGrant", local=AccessRequest.id, remote=AccessGrant.request_id)


@object_type("AccessApproval", table=AccessApproval, key=AccessApproval.user_id, permission=REQUEST)
class AccessApprovalType:
    """One person's approval of a request."""

    person = one("User", local=AccessApproval.user_id, nullable=False)
    capacity: Capacity = column(AccessApproval.capacity)
    approved_at: datetime = column(AccessApproval.approved_at)
    reason: str | None = column(AccessApproval.reason)


@node("AccessGrant", table=AccessGrant, visible=visible_access_grants, permission=REQUEST)
class AccessGrantType:
    """A team or a person may read data, from one moment to another."""

    basis: AccessBasis = column(AccessGrant.basis)
    team = one("Team", local=AccessGrant.beneficiary_team_id)
    person = one("User", local=AccessGrant.beneficiary_user_id)
    purpose: str | None = column(AccessGrant.purpose, description="Null: every purpose that the data set permits.")
    justification: str = column(AccessGrant.justification)
    columns: list[str] | None = column(AccessGrant.columns, description="Null: all of them.")
    first_rows: BigInt | None = column(AccessGrant.first_rows, description="Only so many first rows of each file.")
    sample_fraction: float | None = column(
        cast(AccessGrant.sample_millionths, Float) / MILLIONTHS,
        description="Only this fraction of each file's rows; the same rows at each reading.",
    )
    valid_from: datetime = column(AccessGrant.valid_from)
    valid_to: datetime = column(
        func.least(AccessGrant.valid_to, AccessGrant.withdrawn_at, type_=AccessGrant.valid_to.type),
        description="A withdrawal is an earlier end.",
    )
    approved_by = one("User", local=AccessGrant.approved_by)
    access_request = one("AccessRequest", local=AccessGrant.request_id)
    resources = references(
        AccessGrantResource.resource_kind,
        AccessGrantResource.resource_id,
        types=TYPE_OF,
        table=AccessGrantResource,
        local=AccessGrant.id,
        remote=AccessGrantResource.grant_id,
        order_by=[AccessGrantResource.resource_kind, AccessGrantResource.resource_id],
    )
    created_at: datetime = column(AccessGrant.created_at)
    withdrawn_at: datetime | None = column(AccessGrant.withdrawn_at)
    withdrawn_by = one("User", local=AccessGrant.withdrawn_by)
    withdrawal_reason: str | None = column(AccessGrant.withdrawal_reason)


@object_type("ViewerAccess")
class ViewerAccessType:
    """Whether the caller may read these bytes now, under which grant, and if not, why not and whom to ask."""

    allowed: bool
    reason = json_object("Reason", "reason")
    access_grant = one("AccessGrant", local="access_grant")


def viewer_access(type_name: str, key: Operand) -> FieldDeclaration:
    """A field `viewerAccess` of a data set, its version or a model version: one decision for all objects of a level."""

    async def decided(context: Context, keys: Sequence[UUID]) -> Mapping[UUID, Any]:
        async with context.database.read() as session:
            decisions = await decide_reads(
                session,
                actor_user_id=reading_person(context.actor, READ_PERMISSIONS[type_name]),
                team_ids=reading_teams(context.actor, READ_PERMISSIONS[type_name]),
                resources=[ResourceRef(type_name, key) for key in keys],
                purpose=None,
                at=context.at,
            )
        return {
            resource.id: {
                "allowed": decision.allowed,
                "reason": None
                if decision.reason is None
                else {"code": decision.reason.code, "message": decision.reason.message},
                "access_grant": decision.grant_id,
            }
            for resource, decision in decisions.items()
        }

    declared: FieldDeclaration = batched(
        key=key, returns="ViewerAccess", nullable=False, description="Whether the caller may read it, for some purpose."
    )(decided)
    return declared


@one_of_input
class BeneficiaryInput:
    """Who is to read: the members of a team, or one person."""

    team: str | None = UNSET
    email: str | None = UNSET


@input_type
class RequestAccessInput(MutationInput):
    """`resourceIds`: data sets, their versions, or model versions, which inherit from what they were made from."""

    resource_ids: list[ID]
    beneficiary: BeneficiaryInput
    purpose: str
    justification: str
    duration_seconds: int


@payload
class RequestAccessPayload:
    """The request, which waits for a steward."""

    access_request = one("AccessRequest", local="access_request")


@one_of_input
class SampleInput:
    """Which rows of each file: the first ones, or a fraction between 0 and 1."""

    first_rows: int | None = UNSET
    fraction: float | None = UNSET


@input_type
class NarrowInput:
    """What of the request is approved, where that is not all. `columns` and `sample` are of CSV and Parquet files."""

    duration_seconds: int | None = None
    resource_ids: list[ID] | None = None
    columns: list[str] | None = None
    sample: SampleInput | None = None

    def as_narrowing(self) -> Narrowing:
        """As the domain names it."""
        ids, sample = self.resource_ids, self.sample
        return Narrowing(
            duration_seconds=self.duration_seconds,
            resources=None if ids is None else _resources(ids, "narrow.resourceIds"),
            columns=self.columns,
            sample=None
            if sample is None
            else SampleSpec(
                first_rows=None if sample.first_rows is UNSET else sample.first_rows,
                fraction=None if sample.fraction is UNSET else sample.fraction,
            ),
        )


@input_type
class DecideAccessInput(MutationInput):
    """A refusal needs its reason."""

    access_request_id: ID
    decision: DecisionKind
    reason: str | None = None
    narrow: NarrowInput | None = None


@payload
class DecideAccessPayload:
    """The request as it is now, and the grant where it was approved."""

    access_request = one("AccessRequest", local="access_request")
    access_grant = one("AccessGrant", local="access_grant")


@input_type
class WithdrawAccessInput(MutationInput):
    """Which grant ends now, and why."""

    access_grant_id: ID
    reason: str


@payload
class WithdrawAccessPayload:
    """The grant, ended."""

    access_grant = one("AccessGrant", local="access_grant")


@extend("ModelVersion")
class ModelVersionAccess:
    """Whether the caller may read the model's bytes, or run a job on them."""

    viewer_access = viewer_access("ModelVersion", ModelVersion.id)


@extend("Viewer")
class AccessQueue:
    """What waits for the caller."""

    access_requests_to_decide = connection(
        "AccessRequest",
        where=lambda context: [requests_to_decide(context.actor)],
        default_order=[AccessRequest.created_at],
        permission=REQUEST,
        description="Requests that wait for the caller as a steward of everything concerned, oldest first.",
    )
    access_grants_about_to_end = connection(
        "AccessGrant",
        where=lambda context: about_to_end(context.at),
        default_order=[AccessGrant.valid_to],
        permission=REQUEST,
        description="Grants that the caller may see and that end within a week; renewing one is a new request.",
    )


@extend("Query", permission=REQUEST)
class AccessQueries:
    """Requests and grants that exist for the caller."""

    access_requests = connection(
        "AccessRequest", filter=AccessRequestFilter, default_order=[AccessRequest.created_at.desc()]
    )
    access_grants = connection("AccessGrant", default_order=[AccessGrant.created_at.desc()])


def _beneficiary(given: BeneficiaryInput) -> Beneficiary:
    """An empty text is still the one that was given; what was not is UNSET."""
    return Beneficiary(
        team=None if given.team is UNSET else given.team, email=None if given.email is UNSET else given.email
    )


def _resources(ids: Sequence[str], field: str) -> list[ResourceRef]:
    return [
        ResourceRef(*decode_reference(text, *KIND_OF, field=f"{field}[{number}]")) for number, text in enumerate(ids)
    ]


@extend("Mutation")
class AccessMutations:
    """Asking, deciding and withdrawing."""

    @mutation(permission=REQUEST, payload=RequestAccessPayload)
    async def request_access(call: Call, given: RequestAccessInput) -> Mapping[str, Any]:
        """Ask the stewards of some data that a team or a person may read it."""
        request_id = await request_access(
            call.session,
            call.actor,
            resources=_resources(given.resource_ids, "resourceIds"),
            beneficiary=_beneficiary(given.beneficiary),
            purpose=given.purpose,
            justification=given.justification,
            duration_seconds=given.duration_seconds,
            at=call.at,
            new_id=call.new_id,
        )
        return {"access_request": request_id}

    @mutation(permission=DECIDE, payload=DecideAccessPayload)
    async def decide_access(call: Call, given: DecideAccessInput) -> Mapping[str, Any]:
        """Approve, in whole or narrowed, or refuse; for stewards of everything concerned, never for the requester."""
        decided = await decide_access(
            call.session,
            call.actor,
            access_request_id=decode_id(given.access_request_id, "AccessRequest", field="accessRequestId"),
            decision=given.decision,
            reason=given.reason,
            narrow=None if given.narrow is None else given.narrow.as_narrowing(),
            at=call.at,
            new_id=call.new_id,
        )
        return {"access_request": decided.access_request_id, "access_grant": decided.access_grant_id}

    @mutation(permission=WITHDRAW, payload=WithdrawAccessPayload)
    async def withdraw_access(call: Call, given: WithdrawAccessInput) -> Mapping[str, Any]:
        """End a grant at once; for stewards of the data, who asked, and who has it."""
        grant_id = await withdraw_access(
            call.session,
            call.actor,
            access_grant_id=decode_id(given.access_grant_id, "AccessGrant", field="accessGrantId"),
            reason=given.reason,
            at=call.at,
            new_id=call.new_id,
        )
        return {"access_grant": grant_id}


TYPES = [
    AccessRequestType,
    AccessApprovalType,
    AccessGrantType,
    ViewerAccessType,
    RequestAccessPayload,
    DecideAccessPayload,
    WithdrawAccessPayload,
    ModelVersionAccess,
    AccessQueue,
    AccessQueries,
    AccessMutations,
]
