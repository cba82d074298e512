"""Which loosenings exist for a caller: of their team's models, asked for by them, and about data of theirs."""

from sqlalchemy import ColumnElement, and_, exists, false, or_, select, true
from sqlalchemy.orm import aliased

from guildhall.auth.actor import Actor
from guildhall.auth.authorize import team_rows
from registry.access.visibility import READ, answers_for, by_name
from registry.datasets.lookup import visible_datasets
from registry.datasets.tables import Dataset, DatasetSteward
from registry.loosening.tables import Loosening, LooseningApproval, LooseningSource, LooseningState
from registry.models.tables import Model, ModelVersion

DECIDE = "registry:restriction:decide"


def visible_loosenings(actor: Actor) -> ColumnElement[bool]:
    """Rows of `loosenings` of the actor's teams' models, that they asked for, or about data of theirs."""
    if actor.teams_where(READ) is None:
        return true()
    version, model = aliased(ModelVersion), aliased(Model)  # a statement may read both itself
    owned = (
        select(version.id)
        .join(model, model.id == version.model_id)
        .where(team_rows(actor, team_column=model.team_id, permission=READ))
    )
    about = select(LooseningSource.dataset_id).where(LooseningSource.loosening_id == Loosening.id)
    rows = or_(Loosening.model_version_id.in_(owned), answers_for(actor, about.correlate(Loosening)))
    return or_(rows, Loosening.requester_id == actor.id) if by_name(actor, READ) else rows


def visible_sources(actor: Actor) -> ColumnElement[bool]:
    """Rows of `loosening_sources` whose data set exists for the actor, or is stewarded by them."""
    there = exists().where(Dataset.id == LooseningSource.dataset_id, visible_datasets(actor))
    if not by_name(actor, READ):
        return there
    steward = aliased(DatasetSteward)
    return or_(there, exists().where(steward.dataset_id == LooseningSource.dataset_id, steward.user_id == actor.id))


def loosenings_to_decide(actor: Actor) -> ColumnElement[bool]:
    """Pending rows of `loosenings` about data that this person stewards, that they neither wrote nor approved."""
    if not by_name(actor, DECIDE):
        return false()
    source, steward = aliased(LooseningSource), aliased(DatasetSteward)
    stewarded = exists().where(
        source.loosening_id == Loosening.id,
        steward.dataset_id == source.dataset_id,
        steward.user_id == actor.id,
    )
    approved = exists().where(LooseningApproval.loosening_id == Loosening.id, LooseningApproval.user_id == actor.id)
    return and_(Loosening.state == LooseningState.PENDING, Loosening.requester_id != actor.id, ~approved, stewarded)
