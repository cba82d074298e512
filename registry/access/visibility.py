"""Which access requests and grants exist for a caller: theirs, their teams', and those about data of theirs."""

from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, exists, false, or_, select, true
from sqlalchemy.orm import aliased

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import team_rows
from guildhall.auth.subjects import ActorKind
from registry.access.tables import (
    AccessApproval,
    AccessGrant,
    AccessGrantResource,
    AccessRequest,
    AccessRequestResource,
    AccessRequestSource,
    AccessRequestState,
    RiskReviewer,
)
from registry.datasets.tables import Dataset, DatasetSteward
from registry.models.tables import Model, ModelVersion

READ = "registry:access:read"
DECIDE = "registry:access:decide"
REQUEST = "registry:access:request"


def visible_access_requests(actor: Actor) -> ColumnElement[bool]:
    """Rows of `access_requests` that the actor wrote, that are for them or their team, or about data of theirs."""
    if actor.teams_where(READ) is None:
        return true()
    about = select(AccessRequestSource.dataset_id).where(AccessRequestSource.request_id == AccessRequest.id)
    rows = or_(
        team_rows(actor, team_column=AccessRequest.beneficiary_team_id, permission=READ),
        answers_for(actor, about.correlate(AccessRequest)),
    )
    if not by_name(actor, READ, REQUEST):
        return rows
    mine = or_(AccessRequest.requester_id == actor.id, AccessRequest.beneficiary_user_id == actor.id)
    return or_(rows, mine, _reviewed_by(actor) if by_name(actor, READ) else false())


def visible_access_grants(actor: Actor) -> ColumnElement[bool]:
    """Rows of `access_grants` that are for the actor or their team, that they asked for, or about data of theirs."""
    if actor.teams_where(READ) is None:
        return true()
    sources = select(AccessRequestSource.dataset_id).where(AccessRequestSource.request_id == AccessGrant.request_id)
    named = select(AccessGrantResource.resource_id).where(AccessGrantResource.grant_id == AccessGrant.id)
    rows = or_(
        team_rows(actor, team_column=AccessGrant.beneficiary_team_id, permission=READ),
        answers_for(actor, sources.correlate(AccessGrant)),
        answers_for(actor, named.correlate(AccessGrant)),
    )
    if not by_name(actor, READ, REQUEST):
        return rows
    request = aliased(AccessRequest)
    asked = exists().where(request.id == AccessGrant.request_id, request.requester_id == actor.id)
    return or_(rows, AccessGrant.beneficiary_user_id == actor.id, asked)


def requests_to_decide(actor: Actor) -> ColumnElement[bool]:
    """Pending rows of `access_requests` that this person may decide and has not: as steward of all, or as reviewer."""
    if not actor.shows_token_for(DECIDE):
        return false()
    source = aliased(AccessRequestSource)
    stewarded = exists().where(DatasetSteward.dataset_id == source.dataset_id, DatasetSteward.user_id == actor.user_id)
    about_data = exists().where(source.request_id == AccessRequest.id)
    approved = exists().where(AccessApproval.request_id == AccessRequest.id, AccessApproval.user_id == actor.user_id)
    return and_(
        AccessRequest.state == AccessRequestState.PENDING,
        AccessRequest.requester_id != actor.id,
        AccessRequest.beneficiary_user_id.is_distinct_from(actor.id),
        ~approved,
        or_(_reviewed_by(actor), and_(about_data, ~about_data.where(~stewarded))),
    )


def by_name(actor: Actor, *permissions: str) -> bool:
    """Whether the caller is a person, and shows no token that is limited to roles that speak of none of these."""
    return actor.kind is ActorKind.USER and any(map(actor.shows_token_for, permissions))


def _reviewed_by(actor: Actor) -> ColumnElement[bool]:
    """Whether a model version that the request names is of a risk tier that this person reviews."""
    version, model = aliased(ModelVersion), aliased(Model)
    return exists().where(
        AccessRequestResource.request_id == AccessRequest.id,
        version.id == AccessRequestResource.resource_id,
        model.id == version.model_id,
        RiskReviewer.risk_tier == model.risk_tier,
        RiskReviewer.user_id == actor.user_id,
    )


def answers_for(actor: Actor, dataset_ids: Select[UUID]) -> ColumnElement[bool]:
    """Whether one of the data sets belongs to a team where the actor may see access, or is stewarded by them."""
    dataset = aliased(Dataset)  # an alias, or a statement that reads data sets itself would be correlated with this
    answering = team_rows(actor, team_column=dataset.team_id, permission=READ)
    if by_name(actor, READ):
        steward = aliased(DatasetSteward)  # as above: a statement may read stewards itself
        answering = or_(answering, exists().where(steward.dataset_id == dataset.id, steward.user_id == actor.id))
    return exists().where(dataset.id.in_(dataset_ids), answering)
